"""Where numbers stop being numbers: step, batch and the first part of the model that is to blame."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .objectives import Batch
from .precision import autocast


class DivergedError(ArithmeticError):
    """The loss or a gradient is NaN or infinite."""


def culprit(learner: nn.Module, batches: Sequence[Batch], step: int, device: torch.device, precision: str) -> str:
    """What went wrong at a step, found by running its batches again with an eye on every part."""
    where = f"step {step + 1}"
    if bad := [name for name, p in learner.named_parameters() if not p.isfinite().all()]:
        return f"{where}: the weights {bad[0]} hold NaN or infinity" + (f", and {len(bad) - 1} more" if bad[1:] else "")
    for number, batch in enumerate(batches):
        found = first_part(learner, batch, device, precision)
        if found is not None:
            return f"{where}, micro-batch {number}: the first NaN or infinity comes out of {found}"
    if bad := [name for name, p in learner.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]:
        return f"{where}: all activations are finite, but the gradient of {bad[-1]} is not"
    return f"{where}: the gradient's norm is not finite, though every part of it is: the numbers are too large"


def first_part(learner: nn.Module, batch: Batch, device: torch.device, precision: str) -> str | None:
    """The name of the first module whose output is not finite."""
    names = {module: name or "the loss" for name, module in learner.named_modules()}
    found: list[str] = []

    def look(module: nn.Module, args: Any, output: Any) -> None:
        tensors = [t for t in (output if isinstance(output, tuple) else (output,)) if isinstance(t, Tensor)]
        if not found and any(t.is_floating_point() and not t.isfinite().all() for t in tensors):
            found.append(names[module])

    hooks = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad(), autocast(device, precision):
            learner(batch.inputs, batch.targets)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None
