"""Gemma (Gemma Team, 2024): a LLaMA with norm weights stored around 0, embeddings times √width and tanh GELU.

Gemma 2 (Gemma Team, 2024) norms before and after each sublayer, caps scores and logits, and gives every other layer
a window."""

from dataclasses import dataclass, replace

from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Row
from ..parts import Attention, Block, Context, GatedMLP, Network, RMSNorm, Stack, Unembed
from ..parts.blocks import PreNorm, SandwichNorm
from ..parts.rotary import Rotary, Scaling
from . import windows
from .decoders import ATTENTION, BIASED, MLP, THEIRS, frame, projections, published
from .keys import always, words
from .rope import ROPE


@dataclass(frozen=True)
class Config:
    vocab: int = 256_000
    width: int = 3072
    depth: int = 28
    heads: int = 16
    hidden: int = 24_576
    kv_heads: int | None = None
    head_dim: int | None = 256
    bias: str = ""  # the projections of attention that have one
    score_width: int | None = None  # scores are divided by its root; None: head_dim
    score_cap: float | None = None
    logit_cap: float | None = None
    windows: tuple[int | None, ...] = (None,)  # repeated over the layers
    theta: float = 10_000.0
    scaling: Scaling | None = None
    length: int = 8192
    sandwich: bool = False  # a second norm after each sublayer
    act: str = "gelu_tanh"
    eps: float = 1e-6
    tied: bool = True
    attention_dropout: float = 0.0
    std: float = 0.02
    head: str = "lm"


class Gemma(Network):
    kind = "decoder"

    def __init__(self, c: Config):
        super().__init__(c)
        dim = c.head_dim or c.width // c.heads
        norm = lambda: RMSNorm(c.width, c.eps, offset=1.0)
        step = lambda f: SandwichNorm(norm(), f, norm()) if c.sandwich else PreNorm(norm(), f)
        attend = lambda: Attention(
            c.width, c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, bias=c.bias, dropout=c.attention_dropout,
            scale=(c.score_width or dim) ** -0.5, rotary=Rotary(dim, c.theta, c.scaling),
        )  # fmt: skip
        block = lambda: Block(attention=step(attend()), mlp=step(GatedMLP(c.width, c.hidden, c.act)))
        self.embed = nn.Embedding(c.vocab, c.width)
        self.stack = Stack([block() for _ in range(c.depth)], norm(), windows.causal(c.windows, c.depth))
        unembed = lambda: Unembed(c.width, c.vocab, tied=self.embed if c.tied else None, cap=c.logit_cap)
        self.head = unembed() if c.head == "lm" else None

    def forward(self, ids: Int[Tensor, "B N"], ctx: Context | None = None) -> Float[Tensor, "B N D"]:
        ctx, x = ctx or Context.of(), self.embed(ids)
        root = x.new_full((), self.config.width**0.5)  # rounded to the dtype of x, as in training
        return self.stack(x * root, replace(ctx, rule=ctx.rule.capped(self.config.score_cap)))


def rows(c: Config) -> list[Row]:
    if not c.sandwich:
        return frame("input", "post_attention") + projections()
    return [
        *frame("input", "pre_feedforward"),
        *projections(),
        Row(f"{THEIRS}.post_attention_layernorm.weight", f"{ATTENTION}.after.weight"),
        Row(f"{THEIRS}.post_feedforward_layernorm.weight", f"{MLP}.after.weight"),
    ]


TANH = words("act", dict(gelu_pytorch_tanh="gelu_tanh", gelu="gelu_tanh"))  # the first checkpoints said gelu
OFF = dict(use_bidirectional_attention=(None, False))
FORMATS = {
    "gemma": published("Gemma", rows, (ROPE, always(sandwich=False)), BIASED | {"hidden_act": TANH},
        OFF | {"hidden_activation": (None, "gelu_pytorch_tanh")}, num_key_value_heads=16, max_position_embeddings=8192),
    "gemma2": published("Gemma2", rows, (ROPE, windows.MIXED, always(sandwich=True)),
        BIASED | dict(hidden_activation=TANH, query_pre_attn_scalar="score_width", attn_logit_softcapping="score_cap",
            final_logit_softcapping="logit_cap"),
        OFF | dict(hidden_act=("gelu_pytorch_tanh",), cache_implementation=..., sliding_window_size=...),
        hidden_size=2304, num_hidden_layers=26, num_attention_heads=8, intermediate_size=9216, num_key_value_heads=4,
        max_position_embeddings=8192, query_pre_attn_scalar=256, sliding_window=4096, attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0),
}  # fmt: skip
NETWORK = Gemma
