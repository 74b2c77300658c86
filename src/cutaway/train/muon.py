"""Muon (Jordan et al., 2024): momentum whose update of a matrix is made orthogonal by Newton and Schulz's iteration.

PyTorch has one that iterates in bfloat16, matrix by matrix. This one takes matrices of one shape together, and
iterates in float32 where the processor has no fast bfloat16: several times faster there."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # steep at 0: singular values end near 1 after five rounds


def orthogonal(updates: Float[Tensor, "S M N"], dtype: torch.dtype, rounds: int = 5) -> Float[Tensor, "S M N"]:
    """``U Vᵀ`` of each ``U Σ Vᵀ``, roughly: ``X ← aX + (bA + cA²)X`` with ``A = XXᵀ``, from ``X / |X|``."""
    a, b, c = COEFFICIENTS
    x = updates.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + torch.baddbmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal, scaled to the size of AdamW's updates: ``0.2 √max(M, N)`` (Liu et al., 2025).

    For matrices only. ``dtype`` is what the iteration runs in."""

    def __init__(
        self,
        matrices: Iterable[Tensor],
        lr: float,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__(list(matrices), dict(lr=lr, weight_decay=weight_decay, momentum=momentum))
        self.dtype = dtype
        if odd := [p.shape for group in self.param_groups for p in group["params"] if p.ndim != 2]:
            raise ValueError(f"Muon updates matrices, got a tensor of shape {list(odd[0])}")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[tuple[torch.Size, torch.device], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault((p.shape, p.device), []).append(p)
            for (shape, _), matrices in alike.items():
                update = torch.stack([self.momentum(p, group["momentum"]) for p in matrices])
                update = orthogonal(update, self.dtype)
                size = 0.2 * max(shape) ** 0.5
                for p, u in zip(matrices, update, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(u, alpha=-group["lr"] * size)

    def momentum(self, p: Tensor, share: float) -> Tensor:
        """The gradient's running mean, looked at one step ahead."""
        state, grad = self.state[p], p.grad
        assert grad is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p)
        mean = state["momentum_buffer"].lerp_(grad, 1 - share)
        return grad.lerp(mean, share)


def iterating(precision: str) -> torch.dtype:
    """What to iterate in: bfloat16 where products in it are fast, which the probe of the precision found out."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32
