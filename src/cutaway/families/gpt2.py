"""GPT, GPT-2 (Radford et al., 2018, 2019), GPT-3 (Brown et al., 2020): learned positions, tanh GELU.

GPT is post-norm, the others pre-norm. In GPT-3 every other layer sees a band only, of unpublished width; here
all see all, but for ``model.stack.mask = [CAUSAL, window(256)] * 48``. Checkpoints hold Linears transposed."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Field, Format, Row, flip, thirds
from ..parts import MLP, Attention, Block, Context, Learned, Network, PostNorm, PreNorm, Stack, Unembed
from ..parts.network import scale_outputs
from ..scores import CAUSAL
from .keys import ACT, always, lm_head, words

RESIDUAL = {"pre": PreNorm, "post": PostNorm}


@dataclass(frozen=True)
class Config:
    vocab: int = 50_257
    length: int = 1024
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int | None = None  # None: 4 width
    act: str = "gelu_tanh"
    residual: str = "pre"
    scaled: bool = True  # scores by 1/√head_dim
    layer_scaled: bool = False  # and by 1/layer, counted from 1
    eps: float = 1e-5
    tied: bool = True
    dropout: float = 0.1
    embed_dropout: float = 0.1
    attention_dropout: float = 0.1
    std: float = 0.02
    head: str = "lm"


class GPT2(Network):
    kind = "decoder"

    def __init__(self, c: Config):
        super().__init__(c)
        scale = (c.width // c.heads) ** -0.5 if c.scaled else 1.0
        scales = [scale / layer if c.layer_scaled else scale for layer in range(1, c.depth + 1)]
        norm = lambda: nn.LayerNorm(c.width, c.eps)
        step = lambda sublayer: RESIDUAL[c.residual](norm(), sublayer, c.dropout)
        attend = lambda scale: Attention(c.width, c.heads, scale=scale, dropout=c.attention_dropout)
        feed = lambda: MLP(c.width, c.hidden or 4 * c.width, c.act)
        blocks = [Block(attention=step(attend(scale)), mlp=step(feed())) for scale in scales]
        self.embed, self.place = nn.Embedding(c.vocab, c.width), Learned(c.length, c.width)
        self.dropout = nn.Dropout(c.embed_dropout)
        self.stack = Stack(blocks, norm() if c.residual == "pre" else None, CAUSAL)
        self.head = Unembed(c.width, c.vocab, tied=self.embed if c.tied else None) if c.head == "lm" else None

    def forward(self, ids: Int[Tensor, "B N"], ctx: Context | None = None) -> Float[Tensor, "B N D"]:
        ctx = ctx or Context.of()
        return self.stack(self.dropout(self.embed(ids) + self.place(ctx.places(ids))), ctx)

    def initialise(self) -> None:
        super().initialise()
        if self.config.residual == "pre":  # nothing but the depth bounds the residual stream
            scale_outputs(self.stack, (2 * self.config.depth) ** -0.5)


FIELDS: dict[str, str | Field] = dict(
    vocab_size="vocab", n_positions="length", n_embd="width", n_layer="depth", n_head="heads",
    resid_pdrop="dropout", embd_pdrop="embed_dropout", attn_pdrop="attention_dropout",
    layer_norm_epsilon="eps", initializer_range="std", tie_word_embeddings="tied",
)  # fmt: skip
GPT_FIELDS = FIELDS | {"afn": words("act", dict(gelu="gelu_tanh", relu="relu", silu="silu", swish="silu"))}
GPT2_FIELDS = FIELDS | dict(
    activation_function=ACT, n_inner="hidden", scale_attn_weights="scaled",
    scale_attn_by_inverse_layer_idx="layer_scaled",
)  # fmt: skip
# Keys of a head that is not built, of old, and of the precision (not the value) of the scores.
FIXED = dict.fromkeys(["n_ctx", "n_special", "predict_special_tokens", "reorder_and_upcast_attn", "summary_activation",
    "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj"], ...)  # fmt: skip


def rows(c: Config) -> list[Row]:
    h, ours = "h.{i}", "stack.blocks.{i}"
    return [
        Row("wte.weight", "embed.weight"),
        Row("wpe.weight", "place.weight"),
        Row(f"{h}.ln_1.{{p}}", f"{ours}.attention.norm.{{p}}"),
        Row(f"{h}.attn.c_attn.{{p}}", f"{ours}.attention.sublayer.{{q,k,v}}.{{p}}", flip >> thirds()),
        Row(f"{h}.attn.c_proj.{{p}}", f"{ours}.attention.sublayer.o.{{p}}", flip),
        Row(f"{h}.ln_2.{{p}}", f"{ours}.mlp.norm.{{p}}"),
        Row(f"{h}.mlp.c_fc.{{p}}", f"{ours}.mlp.sublayer.up.{{p}}", flip),
        Row(f"{h}.mlp.c_proj.{{p}}", f"{ours}.mlp.sublayer.down.{{p}}", flip),
        Row("ln_f.{p}", "stack.norm.{p}"),
    ]


def gpt_rows(c: Config) -> list[Row]:
    embeds = [Row("tokens_embed.weight", "embed.weight"), Row("positions_embed.weight", "place.weight")]
    return embeds + [row for row in rows(c) if row.theirs.startswith("h.")]


# Brown et al., table 2.1; 24 heads for XL and width 5140 for 13B contradict their head width and table D.1.
TABLE = [
    ("gpt2", 768, 12, 12), ("gpt2-medium", 1024, 24, 16), ("gpt2-large", 1280, 36, 20),
    ("gpt2-xl", 1600, 48, 25), ("gpt3-small", 768, 12, 12), ("gpt3-medium", 1024, 24, 16),
    ("gpt3-large", 1536, 24, 16), ("gpt3-xl", 2048, 24, 16), ("gpt3-2.7b", 2560, 32, 32),
    ("gpt3-6.7b", 4096, 32, 32), ("gpt3-13b", 5120, 40, 40), ("gpt3-175b", 12_288, 96, 96),
]  # fmt: skip
SIZES = {n: dict(width=w, depth=d, heads=h, length=2048 if "3" in n else 1024) for n, w, d, h in TABLE}
BOTH: dict[str, Any] = dict(prefix="transformer.", fixed=FIXED, ignore=(r".*\.attn\.(masked_)?bias",))
FORMATS = {
    "gpt2": Format(rows, {"GPT2LMHeadModel": "lm", "GPT2Model": "base"}, GPT2_FIELDS, lm_head,
        groups=(always(residual="pre"),), sizes=SIZES, **BOTH),
    "openai-gpt": Format(gpt_rows, {"OpenAIGPTLMHeadModel": "lm", "OpenAIGPTModel": "base"},
        GPT_FIELDS, lm_head, groups=(always(residual="post"),),
        defaults=dict(vocab_size=40_478, n_positions=512), **BOTH),
}  # fmt: skip
NETWORK = GPT2
