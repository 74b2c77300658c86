"""Recurrent layers under a rule (Elman, 1990; Hochreiter and Schmidhuber, 1997; Cho et al., 2014).

A rule says which tokens may see each other; a state passes to a token from the nearest real one before it, if that
may be seen. So padding on either side changes nothing, and packed documents each begin anew."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..scores import Rule

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
State = tuple[Tensor, ...]  # h, and c of an LSTM: [B, depth, W] each
Begin = Callable[[Int[Tensor, " R"], Int[Tensor, " R"]], State]  # the first states of rows, at these slots
Step = Callable[[Tensor, State, int], tuple[Tensor, State]]  # (x [B, 1, D], state, slot) -> (y, state)


@dataclass(frozen=True)
class Flow:
    """Which of N slots hold a token (``real``), which of these go on from the real token before (``joined``), and
    ``last``, the slot of each row's last real token so far (-1: none)."""

    real: Bool[Tensor, "B N"]
    joined: Bool[Tensor, "B N"]
    last: Int[Tensor, " B"]
    at: int = 0

    @classmethod
    def of(
        cls, rule: Rule, ids: Int[Tensor, "B N"], at: int = 0, last: Int[Tensor, " B"] | None = None, back: bool = False
    ) -> "Flow":
        """The flow among the slots of ``ids``, from ``at`` on; if states also pass ``back``, both must be seen."""
        rows, slots = (torch.arange(i, i + n, device=ids.device) for i, n in zip((0, at), ids.shape, strict=True))
        see = lambda q, k: rule.mask(rows[:, None], rows.new_zeros(()), q, k).expand(ids.shape)
        real = see(slots, slots)
        none = rows.new_full((len(ids), 1), -1) if last is None else last[:, None]
        so_far = torch.cat([none, torch.where(real, slots, -1)], 1).cummax(1).values
        before = so_far[:, :-1].clamp(min=0)
        joined = real & (so_far[:, :-1] >= 0) & see(slots, before)
        return cls(real, joined & see(before, slots) if back else joined, so_far[:, -1], at)

    def runs(self) -> tuple[Int[Tensor, " T"], Int[Tensor, " S"]]:
        """The real tokens, numbered through all rows, and the lengths of the runs that these fall into.

        Of whole rows only: the first token of a row goes on from none."""
        assert self.at == 0  # with a cache, unroll
        tokens = self.real.flatten().nonzero().flatten()
        return tokens, torch.bincount((~self.joined.flatten()[tokens]).cumsum(0) - 1)


class Recurrent(nn.Module):
    """``h[i] = cell(x[i], h[i - 1])``, layer upon layer; with ``back`` also from the end, side by side in each layer.

    ``kind`` is "rnn", "lstm" or "gru"; ``dropout`` falls between layers. Raises ValueError for another kind."""

    def __init__(self, kind: str, inputs: int, width: int, depth: int = 1, dropout: float = 0.0, back: bool = False):
        super().__init__()
        if kind not in CELLS:
            raise ValueError(f"no cell {kind!r}; there are {', '.join(CELLS)}")
        self.width = width * 2 if back else width
        layers = lambda: nn.ModuleList(
            [CELLS[kind](self.width if i else inputs, width, batch_first=True) for i in range(depth)]
        )
        self.ahead, self.back, self.dropout = layers(), layers() if back else None, nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B N D"], flow: Flow, begin: Begin | None = None) -> Float[Tensor, "B N W"]:
        """All tokens at once, each run of them from ``begin`` (None: from zeros); 0 where there is no token.

        Runs stand below each other, filled up on the right: where a row is one run, that is ``x`` itself."""
        tokens, lengths = flow.runs()
        y = x.new_zeros(x.shape[0] * x.shape[1], self.width)
        if len(tokens) == 0:
            return y.view(*x.shape[:2], -1)
        first = lengths.cumsum(0) - lengths
        state = None if begin is None else begin(tokens[first] // x.shape[1], tokens[first] % x.shape[1])
        if len(lengths) == len(x) and len(tokens) == len(y):
            return self.layers(x, None, state)
        steps = torch.arange(int(lengths.max()), device=x.device)
        there = steps < lengths[:, None]
        slots = tokens[(first[:, None] + steps).clamp(max=len(tokens) - 1)]
        runs = self.layers(x.flatten(0, 1)[slots], lengths, state)
        return y.index_put((slots[there],), runs[there].to(y.dtype)).view(*x.shape[:2], -1)

    def layers(self, x: Tensor, lengths: Tensor | None, state: State | None) -> Tensor:
        """Rows of ``lengths`` (None: all full) through all layers."""
        for i, layer in enumerate(self.ahead):
            x = x if i == 0 else self.dropout(x)
            y = layer(x, None if state is None else given(state, i))[0]
            if self.back is not None:
                y = torch.cat([y, turned(self.back[i](turned(x, lengths))[0], lengths)], -1)
            x = y
        return x

    def step(self, x: Float[Tensor, "B 1 D"], state: State, slot: int = 0) -> tuple[Float[Tensor, "B 1 W"], State]:
        """One token, from the state before it to the state after it."""
        after = []
        for i, layer in enumerate(self.ahead):
            x, new = layer(x if i == 0 else self.dropout(x), given(state, i))
            after.append(new if isinstance(new, tuple) else (new,))
        return x, tuple(torch.cat(kind).transpose(0, 1) for kind in zip(*after, strict=True))


def given(state: State, layer: int) -> Any:
    """A layer's state as PyTorch's modules take it."""
    parts = tuple(s[:, layer][None].contiguous() for s in state)
    return parts if len(parts) > 1 else parts[0]


def turned(x: Float[Tensor, "S L D"], lengths: Int[Tensor, " S"] | None) -> Float[Tensor, "S L D"]:
    """Rows in reverse order, what fills them up left behind them."""
    if lengths is None:
        return x.flip(1)
    steps = torch.arange(x.shape[1], device=x.device)
    source = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return x.gather(1, source[..., None].expand_as(x))


def unroll(
    step: Step, x: Float[Tensor, "B N D"], flow: Flow, begin: Begin, state: State | None
) -> tuple[Float[Tensor, "B N W"], State]:
    """One token after the other, for steps that read what the step before them wrote.

    A token that does not go on from another begins with ``begin``; where there is none, the state stays."""
    rows, stays, found = torch.arange(len(x), device=x.device), flow.joined | ~flow.real, []
    fresh, idle = (~stays).any(0).tolist(), (~flow.real).any(0).tolist()
    for t in range(x.shape[1]):
        if state is None or fresh[t]:
            new = begin(rows, torch.full_like(rows, flow.at + t))
            state = new if state is None else mixed(stays[:, t], state, new)
        y, after = step(x[:, t : t + 1], state, flow.at + t)
        state = mixed(flow.real[:, t], after, state) if idle[t] else after
        found.append(y)
    assert state is not None  # there is at least one token
    return torch.cat(found, 1), state


def mixed(where: Bool[Tensor, " B"], a: State, b: State) -> State:
    return tuple(torch.where(where[:, None, None], x, y) for x, y in zip(a, b, strict=True))
