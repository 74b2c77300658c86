"""Parts with a matrix in 8 or 4 bits in the place of their weight."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..kernels.packed import BITS, Packed
from ..kernels.product import product

WORDS = {bits: how for how, bits in BITS.items()}


class Quantized(nn.Module):
    """``part`` with its matrix as ``codes`` and ``scales``; ``weight`` is made of them anew when it is asked for.

    A cast to another dtype changes what it computes in, never what it holds."""

    codes: Tensor
    scales: Tensor

    def __init__(self, part: nn.Module, packed: Packed):
        nn.Module.__init__(self)
        vars(self).update({name: value for name, value in vars(part).items() if name not in vars(self)})
        parameters = dict(part.named_parameters(recurse=False))
        self.dtype = parameters.pop("weight").dtype
        self.bias = parameters.get("bias")
        self.group, self.bits, self.how = packed.group, packed.bits, WORDS[packed.bits]
        self.register_buffer("codes", packed.codes)
        self.register_buffer("scales", packed.scales)
        self.train(part.training)

    @property
    def packed(self) -> Packed:
        return Packed(self.codes, self.scales, self.group, self.bits)

    @property
    def weight(self) -> Float[Tensor, "O I"]:
        return self.packed.dense(self.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Quantized":
        scales = self.scales
        super()._apply(fn, recurse)
        if self.scales.dtype != scales.dtype:
            self.scales = scales.to(self.scales.device)
        self.dtype = fn(torch.empty(0, dtype=self.dtype)).dtype
        return self

    def extra_repr(self) -> str:
        return f"{', '.join(map(str, reversed(self.packed.shape)))}, {self.how} in groups of {self.group}"


class QuantizedLinear(Quantized, nn.Linear):  # type: ignore[misc, override]
    """``y = W x + b``"""

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        return product(x, self.packed, self.bias)


class QuantizedEmbedding(Quantized, nn.Embedding):  # type: ignore[override]
    """Rows of the matrix by id."""

    def forward(self, ids: Int[Tensor, "*B"]) -> Float[Tensor, "*B D"]:
        return self.packed[ids].dense(self.dtype)


def coded(module: nn.Module) -> int:
    """Numbers of this module's own matrix, if it is quantised."""
    return math.prod(module.packed.shape) if isinstance(module, Quantized) else 0


def numbers(module: nn.Module) -> int:
    """How many numbers a module has learned; each is counted once, whatever it is stored in."""
    return sum(p.numel() for p in module.parameters()) + sum(map(coded, module.modules()))
