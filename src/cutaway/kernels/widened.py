"""Products of bfloat16 by way of float32, for processors that have no instructions for bfloat16."""

from itertools import repeat
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

WIDEST = 2**22  # numbers of a matrix that are float32 at a time


def widened(x: Float[Tensor, "*B I"], weight: Float[Tensor, "O I"], bias: Float[Tensor, " O"] | None) -> Tensor:
    """``x Wᵀ + b`` in bfloat16 of ``x`` in bfloat16: sums are float32, and only the result is rounded."""
    y: Tensor = Widened.apply(x.bfloat16(), weight, bias)
    return y


class Widened(torch.autograd.Function):
    """The product and its gradients. Between the two, inputs are kept in bfloat16."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            full, step = x.float(), max(1, WIDEST // weight.shape[1])
            added = repeat(None) if bias is None else bias.float().split(step)
            parts = [F.linear(full, w.float(), b).bfloat16() for w, b in zip(weight.split(step), added, strict=False)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        x, weight, bias = inputs
        ctx.save_for_backward(x, weight)
        ctx.added = None if bias is None else bias.dtype

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (for_x, for_weight, for_bias) = ctx.saved_tensors, ctx.needs_input_grad
        with torch.autocast("cpu", enabled=False):
            full = grad.float()
            rows = full.reshape(-1, full.shape[-1])
            to_x = (full @ weight.float()).to(x.dtype) if for_x else None
            to_weight = (rows.T @ x.reshape(-1, x.shape[-1]).float()).to(weight.dtype) if for_weight else None
            to_bias = rows.sum(0).to(ctx.added) if for_bias else None
        return to_x, to_weight, to_bias
