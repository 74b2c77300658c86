"""Decoders that align: attention before the cell (Bahdanau et al., 2015) or after it (Luong et al., 2015)."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..kernels import Additive, Softmax
from ..scores import Rule
from .keys import pick
from .recurrence import Begin, Flow, Recurrent, State, unroll

Make = Callable[[int, bool], nn.Module]


class Alignment(nn.Module):
    """``Σ softmax(score(s, h)) h``: ``s · h``, ``s · W h`` or ``wᵀ tanh(V s + W h)``, as attention with one head."""

    def __init__(self, c: Any):
        super().__init__()
        dense: Make = lambda n, bias: nn.Linear(n, c.width, bias)
        none: Make = lambda n, bias: nn.Identity()
        q, k = pick(c.score, dot=lambda: (none, none), general=lambda: (none, dense), concat=lambda: (dense, dense))
        self.q, self.k = q(c.width, True), k(c.memory, False)
        self.kernel = Additive(c.width) if c.score == "concat" else Softmax(1.0)

    def keys(self, memory: Float[Tensor, "B M D"]) -> tuple[Tensor, Tensor]:
        return self.k(memory)[:, None], memory[:, None]

    def forward(self, s: Float[Tensor, "B Q W"], k: Tensor, v: Tensor, rule: Rule, at: int) -> Float[Tensor, "B Q D"]:
        return self.kernel(self.q(s)[:, None], k, v, rule, at, 0)[:, 0]


Read = Callable[[Tensor, int], Tensor]  # (states [B, Q, W], slot of the first) -> contexts [B, Q, D]


class Bahdanau(nn.Module):
    """``c = align(s)``, ``s' = cell([y, c], s)``, ``maxout(U [s, c, y])``"""

    def __init__(self, c: Any):
        super().__init__()
        self.cells = Recurrent(c.cell, c.embedding + c.memory, c.width, c.depth, c.dropout)
        self.readout = nn.Linear(c.width + c.memory + c.embedding, c.width)

    def forward(
        self, y: Float[Tensor, "B N E"], read: Read, flow: Flow, begin: Begin, state: State | None, keep: bool
    ) -> tuple[Tensor, State]:
        def step(y: Tensor, state: State, slot: int) -> tuple[Tensor, State]:
            s = state[0][:, -1:]
            context = read(s, slot)
            return torch.cat([s, context], -1), self.cells.step(torch.cat([y, context], -1), state)[1]

        told, state = unroll(step, y, flow, begin, state)
        return self.readout(torch.cat([told, y], -1)).unflatten(-1, (-1, 2)).amax(-1), state


class Luong(nn.Module):
    """``s = cell(y)``, ``c = align(s)``, ``tanh(W [c, s])``; with ``feeding`` the cell reads the last of these, too."""

    def __init__(self, c: Any):
        super().__init__()
        self.cells = Recurrent(c.cell, c.embedding + (c.width if c.feeding else 0), c.width, c.depth, c.dropout)
        self.combine, self.feeding = nn.Linear(c.memory + c.width, c.width, bias=False), c.feeding

    def forward(
        self, y: Float[Tensor, "B N E"], read: Read, flow: Flow, begin: Begin, state: State | None, keep: bool
    ) -> tuple[Tensor, State]:
        attend = lambda s, slot: torch.tanh(self.combine(torch.cat([read(s, slot), s], -1)))
        if not self.feeding and not keep:
            return attend(self.cells(y, flow, begin), flow.at), ()
        if not self.feeding:
            s, state = unroll(self.cells.step, y, flow, begin, state)
            return attend(s, flow.at), state

        def step(y: Tensor, state: State, slot: int) -> tuple[Tensor, State]:
            s, new = self.cells.step(torch.cat([y, state[-1]], -1), state[:-1])
            made = attend(s, slot)
            return made, (*new, made)

        nothing = lambda rows: y.new_zeros(len(rows), 1, self.combine.out_features)
        return unroll(step, y, flow, lambda rows, slots: (*begin(rows, slots), nothing(rows)), state)
