"""GPT-J (Wang and Komatsuzaki, 2021), GPT-NeoX (Black et al., 2022), Pythia (Biderman et al., 2023).

Attention and MLP side by side, in GPT-J behind one norm, and rotary positions that turn a part of each head. GPT-J's
checkpoints turn neighbours instead of halves: their rows of q and k are put in our order."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Field, Format, Group, Layout, Row, by_head
from ..parts import MLP, Attention, Block, Context, Network, ParallelBlock, PreNorm, Rotary, Scaling, Stack
from ..parts import Unembed
from ..scores import CAUSAL
from .keys import ACT, always, words
from .rope import ROPE_KEYS, read_rope, write_rope


@dataclass(frozen=True)
class Config:
    vocab: int = 50_432
    length: int = 2048
    width: int = 6144
    depth: int = 44
    heads: int = 64
    hidden: int | None = 24_576  # None: 4 width
    fraction: float = 0.25  # of each head turns
    theta: float = 10_000.0
    scaling: Scaling | None = None
    residual: str = "parallel"  # or "sequential", or "shared": parallel behind one norm
    bias: bool = True  # of the attention's projections
    act: str = "gelu"
    eps: float = 1e-5
    tied: bool = False
    head_bias: bool = False
    dropout: float = 0.0
    embed_dropout: float = 0.0
    attention_dropout: float = 0.0
    std: float = 0.02
    head: str = "lm"

    @property
    def turned(self) -> int:
        """Channels of a head that turn. Rounded first: 2/98 of 98 falls just short of 2."""
        return int(round(self.width // self.heads * self.fraction, 6))


class GPTNeoX(Network):
    kind = "decoder"

    def __init__(self, c: Config):
        super().__init__(c)
        norm = lambda: nn.LayerNorm(c.width, c.eps)
        step = lambda f: PreNorm(nn.Identity() if c.residual == "shared" else norm(), f, c.dropout)
        attend = lambda: Attention(
            c.width, c.heads, bias="qkvo" if c.bias else "", rotary=Rotary(c.turned, c.theta, c.scaling),
            dropout=c.attention_dropout,
        )  # fmt: skip
        feed = lambda: MLP(c.width, c.hidden or 4 * c.width, c.act)
        block = BLOCKS[c.residual]
        self.embed, self.dropout = nn.Embedding(c.vocab, c.width), nn.Dropout(c.embed_dropout)
        self.stack = Stack([block(c)(attention=step(attend()), mlp=step(feed())) for _ in range(c.depth)], norm(), CAUSAL)
        tied = self.embed if c.tied else None
        self.head = Unembed(c.width, c.vocab, tied=tied, bias=c.head_bias) if c.head == "lm" else None

    def forward(self, ids: Int[Tensor, "B N"], ctx: Context | None = None) -> Float[Tensor, "B N D"]:
        return self.stack(self.dropout(self.embed(ids)), ctx)
