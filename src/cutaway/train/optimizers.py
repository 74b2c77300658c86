"""AdamW (Loshchilov and Hutter, 2019), Muon (Jordan et al., 2024) and Adafactor (Shazeer and Stern, 2018), by name."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..parts import Stack
from .muon import Muon
from .ranks.pieces import sharded

# What an optimiser remembers of a parameter, by its word for it: a number for each of its own, or of a row or column.
MEMORY: dict[str, Callable[[Tensor], Tensor]] = {
    "step": lambda p: torch.zeros(()),
    "row_var": lambda p: torch.zeros_like(p.narrow(-1, 0, 1)),
    "col_var": lambda p: torch.zeros_like(p.narrow(-2, 0, 1)),
    **dict.fromkeys(("exp_avg", "exp_avg_sq", "momentum_buffer", "variance"), torch.zeros_like),
}


@dataclass(frozen=True)
class Optimizer:
    """What updates the weights, and how hard.

    ``lr`` is the peak rate, which the schedule scales. Weight decay (AdamW's, decoupled) falls on matrices and
    tables, not on biases and norms. ``muon`` gives the matrices inside of blocks to Muon, its updates scaled to the
    size of AdamW's so that one rate serves both (Liu et al., 2025), and the rest to AdamW."""

    kind: Literal["adamw", "muon", "adafactor"] = "adamw"
    lr: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    momentum: float = 0.95

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.eps <= 0 or self.weight_decay < 0 or not all(0 <= b < 1 for b in self.betas):
            raise ValueError(f"an optimizer has lr > 0, eps > 0, weight_decay >= 0, betas in [0, 1), got {self}")


class Optimizers:
    """The torch optimisers that share a model's parameters, with their state by the parameters' names."""

    def __init__(self, model: nn.Module, how: Optimizer, iterate: torch.dtype = torch.float32):
        self.how = how
        self.names: dict[Tensor, str] = {p: n for n, p in model.named_parameters() if p.requires_grad}
        if not self.names:
            raise ValueError("nothing to train: every parameter is frozen")
        settle(self.names)
        matrices = inner_matrices(model) & set(self.names) if how.kind == "muon" else set()
        rest = [p for p in self.names if p not in matrices]
        self.parts: list[torch.optim.Optimizer] = []
        if matrices:
            inner = [p for p in self.names if p in matrices]
            self.parts.append(Muon(inner, how.lr, how.weight_decay, how.momentum, iterate))
        if how.kind == "adafactor":
            self.parts.append(torch.optim.Adafactor(decaying(rest, how.weight_decay), how.lr))
        else:
            groups = decaying(rest, how.weight_decay)
            self.parts.append(torch.optim.AdamW(groups, how.lr, how.betas, how.eps, fused=fusible(rest)))

    def step(self, factor: float) -> None:
        """One update at ``factor`` of the peak rate."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.how.lr * factor
            part.step()

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the optimisers' memory as ``parameter/word``."""
        return {
            f"{self.names[p]}/{word}": value if isinstance(value, Tensor) else torch.tensor(value)
            for part in self.parts
            for p, memory in part.state.items()
            for word, value in memory.items()
        }

    def blank(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Tensors for the memory of these names, placed as their parameters are, to be filled and loaded.

        Raises KeyError for a parameter that does not train here."""
        known, made = {name: p for p, name in self.names.items()}, {}
        for key in names:
            name, word = key.rsplit("/", 1)
            if name not in known:
                raise KeyError(f"the checkpoint's optimiser trains {name}, which does not train here")
            made[key] = MEMORY[word](known[name].detach())
        return made

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up the memory that :meth:`state` gave."""
        memory: dict[str, dict[str, Any]] = {}
        for key, value in state.items():
            name, word = key.rsplit("/", 1)
            memory.setdefault(name, {})[word] = value
        for part in self.parts:
            part.state.clear()
            for p in (p for group in part.param_groups for p in group["params"]):
                if self.names[p] in memory:
                    part.state[p] = memory[self.names[p]]


def settle(parameters: Iterable[Tensor]) -> None:
    """Give every parameter numbers of its own, in order.

    A checkpoint's may be turned or cut out of a common one, and PyTorch's fused AdamW takes any for ordered: it would
    write the update of one number into another (torch 2.13, on CPUs)."""
    for p in parameters:
        if not p.is_contiguous():
            p.data = p.data.contiguous()


def inner_matrices(model: nn.Module) -> set[Tensor]:
    """The weights of linear maps inside of blocks: what Muon's orthogonal updates are meant for."""
    blocks = [block for m in model.modules() if isinstance(m, Stack) for block in m.blocks]
    return {m.weight for b in blocks for m in b.modules() if isinstance(m, nn.Linear)}


def decaying(parameters: Iterable[Tensor], decay: float) -> list[dict[str, Any]]:
    """Tables and matrices, which decay, and the rest, which does not; sharded ones apart, as one kernel takes no two
    kinds of tensors."""
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for p in parameters:
        groups.setdefault((p.ndim >= 2, sharded(p)), []).append(p)
    return [{"params": some, "weight_decay": decay if wide else 0.0} for (wide, _), some in groups.items()]


def fusible(parameters: Iterable[Tensor]) -> bool:
    """May AdamW run as one kernel? It must be floating-point and on a device that has one."""
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
