"""Where a token stands: added to it (sinusoidal, learned), turned into q and k (rotary), or added to the scores."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..scores import Rule, Slope, Table


class Sinusoidal(nn.Module):
    """``sin(p / 10000^(2i/D))`` and cosines (Vaswani et al., 2017), all sines first or taking turns.

    tensor2tensor and fairseq, hence most checkpoints, divide by D/2 - 1 instead (``ends=True``): the slowest wave
    is then exactly 10,000 times slower."""

    def __init__(self, width: int, *, offset: int = 0, interleaved: bool = True, ends: bool = False):
        super().__init__()
        self.width, self.offset, self.interleaved, self.ends = width, offset, interleaved, ends

    def forward(self, positions: Int[Tensor, "*B N"]) -> Float[Tensor, "*B N D"]:
        half = self.width // 2
        steps = torch.arange(half, device=positions.device, dtype=torch.float64)
        wave = torch.exp(steps * (-math.log(10_000.0) / ((half - 1) if self.ends else half)))
        angle = ((positions + self.offset)[..., None].double() * wave).float()
        pair = torch.stack([angle.sin(), angle.cos()], -1 if self.interleaved else -2)
        return nn.functional.pad(pair.flatten(-2), (0, self.width % 2))

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
        n, base = self.buckets, torch.zeros_like(distance)
        if self.bidirectional:
            n //= 2
            base, distance = n * (distance > 0), distance.abs()
        else:
            distance = (-distance).clamp(min=0)
        near = n // 2
        ratio = torch.log(distance.float().clamp(min=1) / near) / math.log(self.max_distance / near)
        far = near + (ratio * (n - near)).long()
        return base + torch.where(distance < near, distance, far.clamp(max=n - 1))

    def forward(self, rule: Rule, *_: object) -> Rule:
        """The rule with the bias."""
        return rule + Table(self.table.weight, self.bucket)


def log_bucket(distance: Tensor, buckets: int, max_distance: int) -> Tensor:
    """DeBERTa's signed buckets: exact up to ``buckets / 2``, logarithmic beyond (He et al., 2021)."""
    mid = buckets // 2
    size = distance.abs().clamp(min=mid).float()
    far = mid + ((size / mid).log() / math.log((max_distance - 1) / mid) * (mid - 1)).ceil().long()
    return torch.where(distance.abs() <= mid, distance, distance.sign() * far)
