"""Where a token stands: added to it (sinusoidal, learned), turned into q and k (rotary), or added to the scores."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..scores import PerToken, Rule, Slope, Table
from .attention import Attention, split
from .context import Context


class Sinusoidal(nn.Module):
    """``sin(p / 10000^(2i/D))`` and cosines (Vaswani et al., 2017), all sines first or taking turns.

    tensor2tensor and fairseq, hence most checkpoints, divide by D/2 - 1 instead (``ends=True``): the slowest wave
    is then exactly 10,000 times slower."""

    def __init__(self, width: int, *, offset: int = 0, interleaved: bool = True, ends: bool = False):
        super().__init__()
        self.width, self.offset, self.interleaved, self.ends = width, offset, interleaved, ends

    def forward(self, positions: Int[Tensor, "*B N"]) -> Float[Tensor, "*B N D"]:
        half = self.width // 2 if self.ends else (self.width + 1) // 2
        last = max(half - 1, 1) if self.ends else self.width / 2
        steps = torch.arange(half, device=positions.device, dtype=torch.float64) / last
        angle = (positions + self.offset)[..., None] * 10_000.0**-steps
        pair = torch.stack([angle.sin(), angle.cos()], -1 if self.interleaved else -2).flatten(-2).float()
        return nn.functional.pad(pair, (0, self.width - pair.shape[-1]))  # an odd width ends with a sine, or with 0

    def extra_repr(self) -> str:
        return f"{self.width}, interleaved={self.interleaved}, ends={self.ends}"


class Learned(nn.Embedding):
    """One learned vector per position; ``offset`` rows come before position 0 (BART's 2, RoBERTa's padding index).

    Raises ValueError for a position beyond the table."""

    def __init__(self, length: int, width: int, *, offset: int = 0):
        super().__init__(length + offset, width)
        self.length, self.offset = length, offset

    def forward(self, input: Int[Tensor, "*B N"]) -> Float[Tensor, "*B N D"]:  # noqa: A002 (nn.Embedding's name)
        return super().forward(input + self.offset)

    def extra_repr(self) -> str:
        return f"{self.length}, {self.embedding_dim}" + (f", offset={self.offset}" if self.offset else "")


class ALiBi(nn.Module):
    """``-slope |q - k|``, slopes falling geometrically over the heads (Press et al., 2022)."""

    def __init__(self, heads: int, steepest: float = 8.0):
        super().__init__()
        self.heads, self.steepest = heads, steepest

    def slopes(self) -> list[float]:
        """One slope per head: a geometric series when heads are a power of two, else two of them interleaved."""
        power = 2 ** math.floor(math.log2(self.heads))
        series: Callable[[int], list[float]] = lambda n: [2 ** (-self.steepest * (i + 1) / n) for i in range(n)]
        return series(power) + series(2 * power)[0::2][: self.heads - power]

    def forward(self, rule: Rule, x: Tensor, *_: object) -> Rule:
        """The rule with the penalty, on the device of ``x``."""
        return rule + Slope(torch.tensor(self.slopes(), device=x.device))


class RelativeBias(nn.Module):
    """A learned number per head and distance bucket: exact near, logarithmic far (T5: Raffel et al., 2020)."""

    def __init__(self, heads: int, buckets: int = 32, max_distance: int = 128, bidirectional: bool = True):
        super().__init__()
        self.table = nn.Embedding(buckets, heads)
        self.buckets, self.max_distance, self.bidirectional = buckets, max_distance, bidirectional

    def bucket(self, distance: Tensor) -> Tensor:
        """``distance = k - q`` of any shape -> its bucket."""
        n = self.buckets // 2 if self.bidirectional else self.buckets  # half of them for keys ahead
        base = n * (distance > 0) if self.bidirectional else 0
        distance, near = distance.abs() if self.bidirectional else (-distance).clamp(min=0), n // 2
        ratio = torch.log(distance.float().clamp(min=1) / near) / math.log(self.max_distance / near)
        far = near + (ratio * (n - near)).long()
        return base + torch.where(distance < near, distance, far.clamp(max=n - 1))

    def forward(self, rule: Rule, *_: object) -> Rule:
        """The rule with the bias."""
        return rule + Table(self.table.weight, self.bucket)


class Disentangled(nn.Module):
    """Content looks at places, places at content: ``q·K[q - k] + k·Q[q - k]`` (DeBERTa: He et al., 2021).

    K and Q are what ``keys`` and ``queries``, or without them the attention's own projections, make of the table of
    places ``ctx.side["relative"]`` [2 span, D]; ``terms`` names what counts, "c2p" and "p2c". Farther than ``span`` all
    is one place; given ``max_distance``, places farther than span / 2 grow with their distance."""

    def __init__(
        self,
        span: int,
        terms: Sequence[str] = ("c2p", "p2c"),
        max_distance: int | None = None,
        keys: nn.Module | None = None,
        queries: nn.Module | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.span, self.near, self.terms, self.max_distance = span, span // 2, terms, max_distance
        if max_distance is not None and not 0 < self.near < max_distance - 1:
            raise ValueError(f"growing places need 2 <= span < 2 (max_distance - 1), got {span} and {max_distance}")
        self.keys, self.queries, self.dropout = keys, queries, nn.Dropout(dropout)

    def bucket(self, distance: Tensor) -> Tensor:
        """``distance = q - k`` of any shape -> its row of the table."""
        if self.max_distance is not None:
            last = torch.tensor((self.max_distance - 1) / self.near).log()  # in float32, as the published places are
            ratio = (distance.abs().clamp(min=self.near) / self.near).log() / last
            far = distance.sign() * (self.near + (ratio * (self.near - 1)).ceil().long())
            distance = torch.where(distance.abs() <= self.near, distance, far)
        return (distance + self.span).clamp(0, 2 * self.span - 1)

    def forward(self, rule: Rule, q: Tensor, k: Tensor, attention: Attention, ctx: Context, start: int) -> Rule:
        """The rule with a bias for each term."""
        if ctx.side is None:
            raise ValueError("disentangled attention needs a table of places: a context with side={'relative': table}")
        places, scale = self.dropout(ctx.side["relative"])[None], attention.kernel.scale
        if "c2p" in self.terms:
            keys = split((self.keys or attention.k)(places), attention.heads)
            rule = rule + PerToken(scale * q @ keys.mT, self.bucket, "query", ctx.at)
        if "p2c" in self.terms:
            queries = split((self.queries or attention.q)(places), attention.heads)
            rule = rule + PerToken(scale * k @ queries.mT, self.bucket, "key", start)
        return rule

    def extra_repr(self) -> str:
        return f"{self.span}, {'+'.join(self.terms)}, max_distance={self.max_distance}"
