"""GPT-NeoX (Black et al., 2022) and Pythia (Biderman et al., 2023): attention and MLP side by side, rotary positions
that turn a quarter of each head."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Field, Format, Group, Row, by_head
from ..parts import MLP, Attention, Block, Context, Network, ParallelBlock, PreNorm, Rotary, Scaling, Stack, Unembed
from ..scores import CAUSAL
from .keys import ACT
from .rope import ROPE_KEYS, read_rope, write_rope


@dataclass(frozen=True)
class Config:
    vocab: int = 50_432
    length: int = 2048
    width: int = 6144
    depth: int = 44
    heads: int = 64
    hidden: int = 0  # 0: 4 width
    fraction: float = 0.25  # of each head that turns
    theta: float = 10_000.0
    scaling: Scaling | None = None
    parallel: bool = True
    bias: bool = True  # of the attention's projections
    act: str = "gelu"
    eps: float = 1e-5
    tied: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    std: float = 0.02
    head: str = "lm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", self.hidden or 4 * self.width)


class GPTNeoX(Network):
    kind = "decoder"

    def __init__(self, c: Config):
        super().__init__(c)
        norm = lambda: nn.LayerNorm(c.width, c.eps)
        rotary = lambda: Rotary(int(c.width // c.heads * c.fraction), c.theta, c.scaling)
        bias, block = "qkvo" if c.bias else "", ParallelBlock if c.parallel else Block
        attend = lambda: Attention(c.width, c.heads, bias=bias, rotary=rotary(), dropout=c.attention_dropout)
        feed = lambda: MLP(c.width, c.hidden, c.act)
        step = lambda sublayer: PreNorm(norm(), sublayer, c.dropout)
        blocks = [block(attention=step(attend()), mlp=step(feed())) for _ in range(c.depth)]
        self.embed, self.dropout = nn.Embedding(c.vocab, c.width), nn.Dropout(c.dropout)
        self.stack = Stack(blocks, norm(), CAUSAL)
        self.head = Unembed(c.width, c.vocab, tied=self.embed if c.tied else None) if c.head == "lm" else None

    def forward(self, ids: Int[Tensor, "B N"], ctx: Context | None = None) -> Float[Tensor, "B N D"]:
        return self.stack(self.dropout(self.embed(ids)), ctx)


def read_rotary(theirs: dict[str, Any]) -> dict[str, Any]:
    """Pythia's own words for the usual keys."""
    usual = {"rotary_emb_base": "rope_theta", "rotary_pct": "partial_rotary_factor"}
    return read_rope({usual.get(k, k): v for k, v in theirs.items()})


def write_rotary(c: Config) -> dict[str, Any]:
    return {"rotary_emb_base": c.theta, "rotary_pct": c.fraction, "rope_scaling": write_rope(c)["rope_scaling"]}


ROTARY = Group((*ROPE_KEYS, "rotary_emb_base", "rotary_pct"), read_rotary, write_rotary)
FIELDS: dict[str, str | Field] = dict(
    vocab_size="vocab", hidden_size="width", num_hidden_layers="depth", num_attention_heads="heads",
    intermediate_size="hidden", max_position_embeddings="length", hidden_act=ACT, layer_norm_eps="eps",
    use_parallel_residual="parallel", attention_bias="bias", attention_dropout="attention_dropout",
    hidden_dropout="dropout", initializer_range="std", tie_word_embeddings="tied",
)  # fmt: skip
FIXED = dict(is_decoder=..., classifier_dropout=..., attention_probs_dropout_prob=(0,), hidden_dropout_prob=(0,))


def rows(c: Config) -> list[Row]:
    layer, ours, fused = "layers.{i}", "stack.blocks.{i}", by_head(c.heads)
    return [
        Row("embed_in.weight", "embed.weight"),
        Row(f"{layer}.input_layernorm.{{p}}", f"{ours}.attention.norm.{{p}}"),
        Row(f"{layer}.attention.query_key_value.{{p}}", f"{ours}.attention.sublayer.{{q,k,v}}.{{p}}", fused),
        Row(f"{layer}.attention.dense.{{p}}", f"{ours}.attention.sublayer.o.{{p}}"),
        Row(f"{layer}.post_attention_layernorm.{{p}}", f"{ours}.mlp.norm.{{p}}"),
        Row(f"{layer}.mlp.dense_h_to_4h.{{p}}", f"{ours}.mlp.sublayer.up.{{p}}"),
        Row(f"{layer}.mlp.dense_4h_to_h.{{p}}", f"{ours}.mlp.sublayer.down.{{p}}"),
        Row("final_layer_norm.{p}", "stack.norm.{p}"),
    ]


def head_rows(c: Config) -> list[Row]:
    return [Row("embed_out.weight", "head.weight", also=("lm_head.weight",))]


HEADS = {"GPTNeoXForCausalLM": "lm", "GPTNeoXModel": "base"}
FORMATS = {
    "gpt_neox": Format(rows, HEADS, FIELDS, head_rows, "gpt_neox.", FIXED, groups=(ROTARY,),
        ignore=(r".*\.attention\.(masked_)?bias", r".*\.rotary_emb\.inv_freq")),
}  # fmt: skip
NETWORK = GPTNeoX
