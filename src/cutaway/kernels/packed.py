"""Matrices in 8 or 4 bits, a scale per group of inputs (llama.cpp's Q8_0 and Q4_0, Gerganov et al., 2023), plainly."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import BFloat16, Float, Int8, UInt8
from torch import Tensor

BITS = {"int8": 8, "int4": 4}
GROUPS = {"int8": 64, "int4": 32}
# What a group's extreme number is divided by for its scale; of several, the one with the smallest squared error.
DIVISORS = {8: (127.0,), 4: (-8.0, 7.0, -8.5, 7.5)}
RANGE = {8: (-127, 127), 4: (-8, 7)}
NUMBERS = 2**22  # of a matrix that are dense at a time


@dataclass(frozen=True)
class Packed:
    """``w[o, i] = scales[o, i // group] · code[o, i]``.

    In 4 bits byte j of a group holds the code of its input j in the low half and of input j + group / 2 in the high
    half, each plus 8."""

    codes: Int8[Tensor, "*O I"] | UInt8[Tensor, "*O _"]
    scales: BFloat16[Tensor, "*O G"]
    group: int
    bits: int

    @property
    def shape(self) -> tuple[int, ...]:
        return *self.scales.shape[:-1], self.scales.shape[-1] * self.group

    def __getitem__(self, at: Any) -> "Packed":
        """Some rows: a slice, or ids of any shape."""
        return replace(self, codes=self.codes[at], scales=self.scales[at])

    def dense(self, dtype: torch.dtype = torch.float32) -> Float[Tensor, "*O I"]:
        """The numbers: exact in float32, rounded once to any other ``dtype``."""
        codes = self.codes.unflatten(-1, (self.scales.shape[-1], -1))
        if self.bits == 4:
            codes = torch.cat([codes & 15, codes >> 4], -1).to(torch.int8) - 8
        return (codes * self.scales.float()[..., None]).to(dtype).flatten(-2)

    def pieces(self) -> Iterator[slice]:
        """Rows that are made dense together."""
        step = max(1, NUMBERS // self.shape[1])
        return (slice(i, min(i + step, self.shape[0])) for i in range(0, self.shape[0], step))


Dense = Callable[[Packed, torch.dtype], Tensor]


def blank(shape: tuple[int, ...], how: str, group: int | None = None, device: torch.device | None = None) -> Packed:
    """Room for a matrix [out, in]. Raises ValueError for a ``how`` that is not built and a group that does not fit."""
    if how not in BITS:
        raise ValueError(f"no quantisation {how!r}; there are {', '.join(BITS)}")
    (rows, width), group = shape, GROUPS[how] if group is None else group
    if group < 1 or width % group or (how == "int4" and group % 2):
        even = " and be even" if how == "int4" else ""
        raise ValueError(f"a group must divide the input's width{even}: {width} and {group} do not go together")
    codes = torch.empty(rows, width * BITS[how] // 8, dtype=torch.int8 if how == "int8" else torch.uint8, device=device)
    return Packed(codes, torch.empty(rows, width // group, dtype=torch.bfloat16, device=device), group, BITS[how])


def pack(weight: Float[Tensor, "O I"], how: str, group: int | None = None) -> Packed:
    """A matrix in groups of ``group`` inputs (64 in 8 bits, 32 in 4); of one on the meta device, the shapes.

    Raises ValueError for NaN and infinity, and as :func:`blank` does."""
    packed = blank(tuple(weight.shape), how, group, weight.device)
    for rows in () if weight.is_meta else packed.pieces():
        x = weight[rows].detach().float().unflatten(-1, (-1, packed.group))
        if not x.isfinite().all():
            raise ValueError("it holds NaN or infinity, which have no code")
        codes, packed.scales[rows] = rounded(x, packed.bits)
        low, high = (codes + 8).to(torch.uint8).chunk(2, -1)
        packed.codes[rows] = (codes if packed.bits == 8 else low | high << 4).flatten(-2)
    return packed


def rounded(x: Float[Tensor, "O G g"], bits: int) -> tuple[Int8[Tensor, "O G g"], BFloat16[Tensor, "O G"]]:
    """The codes of each group, and its scale."""
    extreme = x.gather(-1, x.abs().argmax(-1, keepdim=True))
    found: list[Tensor] = []
    for divisor in DIVISORS[bits]:
        scale = ((extreme.abs() if bits == 8 else extreme) / divisor).bfloat16()
        codes = (x / torch.where(scale == 0, 1.0, scale.float())).round_().clamp_(*RANGE[bits])
        error = (x - codes * scale).square_().sum(-1, keepdim=True)
        new = [error, codes.to(torch.int8), scale]
        better = error < found[0] if found else torch.ones_like(error, dtype=torch.bool)
        found = [torch.where(better, a, b) for a, b in zip(new, found or new, strict=True)]
    return found[1], found[2][..., 0]


class Product(torch.autograd.Function):
    """``x Wᵀ``, some rows of W dense at a time, on the way back, too; codes have no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: Packed, dense: Dense) -> Tensor:
        ctx.packed = packed
        parts = [F.linear(x, dense(packed[rows], x.dtype)) for rows in packed.pieces()]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        parts = (grad[..., rows] @ ctx.packed[rows].dense(grad.dtype) for rows in ctx.packed.pieces())
        return sum(parts, torch.zeros((), dtype=grad.dtype, device=grad.device)), None, None


def linear(
    x: Float[Tensor, "*B I"], packed: Packed, bias: Float[Tensor, " O"] | None = None, dense: Dense = Packed.dense
) -> Float[Tensor, "*B O"]:
    """``x Wᵀ + b`` in the dtype of ``x``; ``dense`` makes numbers of codes."""
    y: Tensor = Product.apply(x, packed, dense)
    return y if bias is None else y + bias
