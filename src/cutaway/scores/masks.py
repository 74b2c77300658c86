"""Which keys a query may see: values that answer yes or no for (batch, head, query slot, key slot)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

INF = math.inf


class Value(ABC):
    """A mask or bias: one definition on index tensors that broadcast together."""

    @abstractmethod
    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor: ...

    def __repr__(self) -> str:
        values = {f.name: self.__dict__[f.name] for f in fields(self)}  # type: ignore[arg-type]
        shown = (f"{n}={list(v.shape) if torch.is_tensor(v) else repr(v)}" for n, v in values.items())
        return f"{type(self).__name__}({', '.join(shown)})"


class Mask(Value):
    """``mask(b, h, q, k) -> bool``: may query slot q see key slot k?"""

    def placed(self, positions: Tensor) -> "Mask":
        """The same mask where slot ``s`` of row ``b`` stands at ``positions[b, s]`` (left padding, say)."""
        return Placed(self, positions)

    @property
    def reach(self) -> float:
        """How many slots back a query may look at most: what a cache has to keep."""
        return INF

    def span(self, at: int, queries: int, start: int, keys: int) -> tuple[int, int]:
        """Of the key slots ``start ..``, the first that queries ``at ..`` may see, and the one after the last."""
        return start, start + keys

    def __and__(self, other: Any) -> Any:  # another mask gives a mask, a rule a rule: see Rule.__rand__
        if not isinstance(other, Mask):
            return NotImplemented
        return other if self == FULL else self if other == FULL else Both(self, other)

    def __or__(self, other: "Mask") -> "Mask":
        return FULL if FULL in (self, other) else Either(self, other)

    def __invert__(self) -> "Mask":
        return Not(self)


@dataclass(frozen=True, repr=False)
class Band(Mask):
    """Keys from ``before`` slots back to ``after`` slots ahead. Full, causal and windowed masks are bands."""

    before: float = INF
    after: float = INF

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        low = k >= q - self.before if self.before < INF else None
        high = k <= q + self.after if self.after < INF else None
        if low is None:
            return k - q < INF if high is None else high
        return low if high is None else low & high

    def __and__(self, other: Any) -> Any:
        if isinstance(other, Band):  # bands are closed under intersection
            return Band(min(self.before, other.before), min(self.after, other.after))
        return super().__and__(other)

    def placed(self, positions: Tensor) -> Mask:
        return self  # only differences count, and padding at either end keeps them

    @property
    def reach(self) -> float:
        return self.before

    def span(self, at: int, queries: int, start: int, keys: int) -> tuple[int, int]:
        return int(max(start, at - self.before)), int(min(start + keys, at + queries + self.after))

    def within(self, at: int, queries: int, start: int, keys: int) -> "Band":
        """The band for query slots ``at ..`` and key slots ``start ..``: an edge that cuts nothing is gone."""
        return Band(
            INF if self.before >= at + queries - 1 - start else self.before,
            INF if at + self.after >= start + keys - 1 else self.after,
        )


FULL = Band()
CAUSAL = Band(after=0)


def window(n: int) -> Band:
    """Causal, the last ``n`` keys including the query's own (Mistral's sliding window)."""
    if n < 1:
        raise ValueError(f"a window must hold at least the query's own key, got window({n})")
    return Band(before=n - 1, after=0)


@dataclass(frozen=True, repr=False)
class Both(Mask):
    a: Mask
    b: Mask

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return self.a(b, h, q, k) & self.b(b, h, q, k)

    def placed(self, positions: Tensor) -> Mask:
        return Both(self.a.placed(positions), self.b.placed(positions))

    @property
    def reach(self) -> float:
        return min(self.a.reach, self.b.reach)

    def span(self, at: int, queries: int, start: int, keys: int) -> tuple[int, int]:
        (first, stop), (other, end) = (m.span(at, queries, start, keys) for m in (self.a, self.b))
        return max(first, other), min(stop, end)

    def __repr__(self) -> str:
        return f"({self.a} & {self.b})"


@dataclass(frozen=True, repr=False)
class Either(Mask):
    a: Mask
    b: Mask

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return self.a(b, h, q, k) | self.b(b, h, q, k)

    def placed(self, positions: Tensor) -> Mask:
        return Either(self.a.placed(positions), self.b.placed(positions))

    @property
    def reach(self) -> float:
        return max(self.a.reach, self.b.reach)

    def span(self, at: int, queries: int, start: int, keys: int) -> tuple[int, int]:
        (first, stop), (other, end) = (m.span(at, queries, start, keys) for m in (self.a, self.b))
        return min(first, other), max(stop, end)

    def __repr__(self) -> str:
        return f"({self.a} | {self.b})"


@dataclass(frozen=True, repr=False)
class Not(Mask):
    a: Mask

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return ~self.a(b, h, q, k)

    def placed(self, positions: Tensor) -> Mask:
        return Not(self.a.placed(positions))

    def __repr__(self) -> str:
        return f"~{self.a}"


@dataclass(frozen=True, repr=False)
class Prefix(Mask):
    """The first ``n`` positions, which everybody may read (prefix language models)."""

    n: int

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k < self.n) & (q >= 0)


@dataclass(frozen=True, repr=False)
class Predicate(Mask):
    """Any question about (batch, head, query position, key position)."""

    asks: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return self.asks(b, h, q, k)


@dataclass(frozen=True, eq=False, repr=False)
class Blocks(Mask):
    """Block-sparse: block ``q // size`` of positions sees block ``k // size`` where ``pattern`` says so."""

    pattern: Tensor
    size: int

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return self.pattern[q // self.size, k // self.size]


class SlotMask(Mask):
    """A mask whose tensors are already laid out by slot."""

    def placed(self, positions: Tensor) -> Mask:
        return self


@dataclass(frozen=True, eq=False, repr=False)
class Placed(SlotMask):
    """A mask on positions, read through ``positions[B, N]``."""

    mask: Mask
    positions: Tensor

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return self.mask(b, h, self.positions[b, q], self.positions[b, k])


@dataclass(frozen=True, eq=False, repr=False)
class Padding(SlotMask):
    """Keys that are real tokens: ``keep[B, K]``."""

    keep: Tensor

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return self.keep[b, k]


@dataclass(frozen=True, eq=False, repr=False)
class Documents(SlotMask):
    """Query and key lie in the same document of a packed row: ``document[B, N]``."""

    document: Tensor

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return self.document[b, q] == self.document[b, k]

    def span(self, at: int, queries: int, start: int, keys: int) -> tuple[int, int]:
        low, high = self.document[:, at : at + queries].aminmax(dim=1, keepdim=True)
        there = self.document[:, start : start + keys]
        near = ((low <= there) & (there <= high)).any(0).nonzero().flatten().tolist() or [0, -1]
        return start + near[0], start + near[-1] + 1


@dataclass(frozen=True, eq=False, repr=False)
class Global(SlotMask):
    """Tokens that see everybody and are seen by everybody (Longformer): ``token[B, N]``."""

    token: Tensor

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return self.token[b, q] | self.token[b, k]
