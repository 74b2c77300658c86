"""Rotary positions (Su et al., 2021) and the ways to stretch them beyond the length they were trained on."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .context import Context

KINDS = ("linear", "ntk", "dynamic", "yarn", "llama3", "longrope")


@dataclass(frozen=True)
class Scaling:
    """How frequencies are stretched. ``original`` is the length of training, ``factor`` how much longer to go.

    - ``linear`` (Chen et al., 2023): positions / factor;
    - ``ntk``, ``dynamic`` (bloc97, 2023): a larger base, fixed or growing with the length at hand;
    - ``yarn`` (Peng et al., 2023): slow waves stretched, fast ones kept, ``fast`` and ``slow`` turns apart;
    - ``llama3`` (Dubey et al., 2024): the same between wavelengths original / ``high`` and original / ``low``;
    - ``longrope`` (Ding et al., 2024): one factor per wave, ``short`` up to the original length, ``long`` beyond.

    ``attention`` multiplies q and k (both, so scores get its square); None: as the method's paper says."""

    kind: str
    factor: float = 1.0
    original: int = 0
    attention: float | None = None
    fast: float = 32.0
    slow: float = 1.0
    truncate: bool = True
    mscale: float | None = None
    mscale_all: float | None = None
    low: float = 1.0
    high: float = 4.0
    short: tuple[float, ...] = ()
    long: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown rotary scaling {self.kind!r}; known: {', '.join(KINDS)}")
        if self.kind not in ("linear", "ntk") and self.original < 1:
            raise ValueError(f"rotary scaling {self.kind!r} needs the original length, got {self.original}")

    @property
    def gain(self) -> float:
        """What q and k are multiplied by."""
        if self.attention is not None:
            return self.attention
        grow = lambda m: 0.1 * m * math.log(self.factor) + 1.0 if self.factor > 1 else 1.0
        if self.kind == "yarn":
            return grow(self.mscale) / grow(self.mscale_all) if self.mscale and self.mscale_all else grow(1.0)
        if self.kind == "longrope" and self.factor > 1:
            return math.sqrt(1 + math.log(self.factor) / math.log(self.original))
        return 1.0

    def frequencies(self, dim: int, theta: float, length: Int[Tensor, " B"]) -> Float[Tensor, "_ d"]:
        """Turns per position of each pair for rows of ``length`` tokens: the same for all rows, or a line for each."""
        base: float | Tensor = theta
        if self.kind == "ntk":
            base = theta * self.factor ** (dim / (dim - 2))
        if self.kind == "dynamic":
            long = length.clamp(min=self.original)[:, None] / self.original
            base = theta * (self.factor * long - (self.factor - 1)) ** (dim / (dim - 2))
        f = base_frequencies(dim, base, length.device)
        match self.kind:
            case "linear":
                return f / self.factor
            case "yarn":
                keep = self.kept(f, dim, theta)
                return f / self.factor * (1 - keep) + f * keep
            case "llama3":
                turns = self.original * f / (2 * math.pi)
                keep = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
                return f / self.factor * (1 - keep) + f * keep
            case "longrope":
                short, long = torch.tensor([self.short, self.long], device=length.device)
                return f / torch.where(length[:, None] > self.original, long, short)
        return f

    def kept(self, f: Tensor, dim: int, theta: float) -> Tensor:
        """YaRN's ramp: 1 for waves that turn more than ``fast`` times over the original length, 0 below ``slow``."""
        edge = lambda turns: dim * math.log(self.original / (turns * 2 * math.pi)) / (2 * math.log(theta))
        low, high = edge(self.fast), edge(self.slow)
        low, high = (math.floor(low), math.ceil(high)) if self.truncate else (low, high)
        low, high = max(low, 0), min(high, dim - 1)
        steps = torch.arange(dim // 2, device=f.device).float()
        return 1 - ((steps - low) / (high - low or 0.001)).clamp(0, 1)


def base_frequencies(dim: int, theta: float | Tensor, device: torch.device) -> Float[Tensor, "_ d"]:
    """``theta^(-2i/dim)``"""
    return 1.0 / theta ** (torch.arange(0, dim, 2, device=device).float() / dim)[None]


class Rotary(nn.Module):
    """Turn pair ``(i, i + dim/2)`` of each head by ``position · theta^(-2i/dim)``; beyond ``dim`` nothing turns."""

    def __init__(self, dim: int, theta: float = 10_000.0, scaling: Scaling | None = None):
        super().__init__()
        if dim % 2:
            raise ValueError(f"rotary positions turn pairs, so the width must be even, got {dim}")
        if scaling and scaling.kind == "longrope" and not len(scaling.short) == len(scaling.long) == dim // 2:
            told = f"{len(scaling.short)} short and {len(scaling.long)} long"
            raise ValueError(f"longrope needs {dim // 2} factors, one per pair, got {told}")
        self.dim, self.theta, self.scaling = dim, theta, scaling

    def table(self, x: Tensor, ctx: Context) -> tuple[Tensor, Tensor]:
        """Cosines and sines [B, 1, N, dim/2] for tokens ``x`` [B, H, N, d]."""
        if x.shape[-1] < self.dim:
            raise ValueError(f"rotary positions turn {self.dim} channels of each head, but a head has {x.shape[-1]}")
        positions = ctx.places(x[:, 0])
        if self.scaling is None:
            turn, gain = base_frequencies(self.dim, self.theta, x.device), 1.0
        else:
            turn, gain = self.scaling.frequencies(self.dim, self.theta, positions.amax(-1) + 1), self.scaling.gain
        angle = (positions[..., None].float() * turn[:, None])[:, None]
        return (angle.cos() * gain).to(x.dtype), (angle.sin() * gain).to(x.dtype)

    def forward(self, x: Float[Tensor, "B H N d"], ctx: Context) -> Float[Tensor, "B H N d"]:
        key = (Rotary, self.dim, self.theta, self.scaling, x.dtype)
        cos, sin = ctx.once(key, lambda: self.table(x, ctx))
        half = self.dim // 2
        a, b, rest = x.split([half, half, x.shape[-1] - self.dim], -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)

    def extra_repr(self) -> str:
        return f"{self.dim}, theta={self.theta:g}" + (f", {self.scaling}" if self.scaling else "")
