"""LLaMA (Touvron et al., 2023): pre-norm decoder, RMSNorm, rotary positions, gated SiLU, shared key heads."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Format, Row
from ..parts import (
    Attention,
    Block,
    Context,
    GatedMLP,
    Network,
    PreNorm,
    RMSNorm,
    Rotary,
    Scaling,
    Stack,
    Unembed,
)
from ..scores import CAUSAL
from .keys import ROPE


@dataclass(frozen=True)
class Config:
    vocab: int = 32_000
    width: int = 4096
    depth: int = 32
    heads: int = 32
    hidden: int = 11_008
    kv_heads: int | None = None
    head_dim: int | None = None
    theta: float = 10_000.0
    scaling: Scaling | None = None
    length: int = 2048
    eps: float = 1e-6
    tied: bool = False
    dropout: float = 0.0
    std: float = 0.02
    head: str = "lm"


class LLaMA(Network):
    kind = "decoder"

    def __init__(self, c: Config):
        super().__init__(c)
        dim = c.head_dim or c.width // c.heads
        norm = lambda: RMSNorm(c.width, c.eps)
        attend = lambda: Attention(
            c.width,
            c.heads,
            kv_heads=c.kv_heads,
            head_dim=dim,
            bias="",
            rotary=Rotary(dim, c.theta, c.scaling),
            dropout=c.dropout,
        )
        feed = lambda: GatedMLP(c.width, c.hidden, "silu")
        block = lambda: Block(attention=PreNorm(norm(), attend()), mlp=PreNorm(norm(), feed()))
        self.embed = nn.Embedding(c.vocab, c.width)
        self.stack = Stack([block() for _ in range(c.depth)], norm(), CAUSAL)
        self.head = Unembed(c.width, c.vocab, tied=self.embed if c.tied else None) if c.head == "lm" else None

    def forward(self, ids: Int[Tensor, "B N"], ctx: Context | None = None) -> Float[Tensor, "B N D"]:
        return self.stack(self.embed(ids), ctx)


FIELDS = dict(
    vocab_size="vocab", hidden_size="width", num_hidden_layers="depth", num_attention_heads="heads",
    intermediate_size="hidden", num_key_value_heads="kv_heads", head_dim="head_dim",
    max_position_embeddings="length", rms_norm_eps="eps", tie_word_embeddings="tied", attention_dropout="dropout",
    initializer_range="std",
)  # fmt: skip
FIXED = dict(hidden_act="silu", attention_bias=False, mlp_bias=False, pretraining_tp=...)


def rows(c: Config) -> list[Row]:
    layer, ours = "layers.{i}", "stack.blocks.{i}"
    return [
        Row("embed_tokens.weight", "embed.weight"),
        Row(f"{layer}.input_layernorm.weight", f"{ours}.attention.norm.weight"),
        Row(f"{layer}.self_attn.{{x:q|k|v|o}}_proj.weight", f"{ours}.attention.sublayer.{{x}}.weight"),
        Row(f"{layer}.post_attention_layernorm.weight", f"{ours}.mlp.norm.weight"),
        Row(f"{layer}.mlp.{{x:gate|up|down}}_proj.weight", f"{ours}.mlp.sublayer.{{x}}.weight"),
        Row("norm.weight", "stack.norm.weight"),
    ]


def head_rows(c: Config) -> list[Row]:
    return [Row("lm_head.weight", "head.weight")]


HEADS = {"LlamaForCausalLM": "lm", "LlamaModel": "base"}
FORMATS = {"llama": Format(rows, HEADS, FIELDS, head_rows, "model.", FIXED, groups=(ROPE,),
    ignore=(r".*rotary_emb\.inv_freq",))}  # fmt: skip
NETWORK = LLaMA
