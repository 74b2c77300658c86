"""Falcon (Almazrouei et al., 2023): attention and MLP side by side, rotary positions, key heads shared by many or all.

7B shares one key head and reads one norm, 40B groups its key heads and has two norms. The older RW models are
sequential, with biases and with ALiBi, whose penalties were rounded to bfloat16 when they were trained."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Format, Group, Layout, Row
from ..parts import MLP, ALiBi, Attention, Context, Network, Rotary, Scaling, Stack, Unembed
from ..scores import CAUSAL, Given
from .keys import ACT, spelled
from .parallel import block
from .rope import ROPE


@dataclass(frozen=True)
class Config:
    vocab: int = 65_024
    length: int = 2048
    width: int = 4544
    depth: int = 32
    heads: int = 71
    kv_heads: int = 1
    hidden: int | None = None  # None: 4 width
    residual: str = "shared"  # or "parallel", "sequential"
    alibi: bool = False
    theta: float = 10_000.0
    scaling: Scaling | None = None
    bias: bool = False
    act: str = "gelu"
    eps: float = 1e-5
    tied: bool = True
    dropout: float = 0.0
    attention_dropout: float = 0.0
    std: float = 0.02
    head: str = "lm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", self.hidden or 4 * self.width)


class Falcon(Network):
    kind = "decoder"

    def __init__(self, c: Config):
        super().__init__(c)
        norm = lambda: nn.LayerNorm(c.width, c.eps)
        rotary = lambda: None if c.alibi else Rotary(c.width // c.heads, c.theta, c.scaling)
        attend = lambda: Attention(
            c.width, c.heads, kv_heads=c.kv_heads, bias="qkvo" if c.bias else "", rotary=rotary(),
            dropout=c.attention_dropout,
        )  # fmt: skip
        feed = lambda: MLP(c.width, c.hidden, c.act, c.bias)
        blocks = [block(c.residual, norm, c.dropout, attention=attend(), mlp=feed()) for _ in range(c.depth)]
        self.embed = nn.Embedding(c.vocab, c.width)
        self.stack = Stack(blocks, norm(), CAUSAL)
        self.alibi = RoundedALiBi(c.heads, c.width // c.heads) if c.alibi else None
        self.head = Unembed(c.width, c.vocab, tied=self.embed if c.tied else None) if c.head == "lm" else None

    def forward(self, ids: Int[Tensor, "B N"], ctx: Context | None = None) -> Float[Tensor, "B N D"]:
        ctx = ctx or Context.of()
        x = self.embed(ids)
        return self.stack(x, ctx if self.alibi is None else replace(ctx, rule=self.alibi(ctx, x)))
