"""Which keys a query may see, and what is added to their score.

A mask answers yes or no for (batch, head, query slot, key slot), a bias answers with a number. Both are plain
values: print them, draw them, compare them, combine them with ``&  |  ~  +``, and *lower* them to what a kernel
wants. One definition serves every kernel, because lowering is only a choice of index tensors to call it with.

Axes, here and everywhere: B batch, N tokens, Q queries, K keys, H heads, G key heads, D width, d head width.
A *slot* is an index into the keys, a *position* is what position embeddings see; padding makes them differ.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

INF = math.inf


class Value(ABC):
    """A mask or bias: one definition on index tensors that broadcast together."""

    @abstractmethod
    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor: ...

    def __repr__(self) -> str:
        shown = (
            (f.name, v.shape if torch.is_tensor(v := self.__dict__[f.name]) else v) for f in fields(self)
        )  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(f'{n}={list(v) if isinstance(v, torch.Size) else v!r}' for n, v in shown)})"


class Mask(Value):
    """``mask(b, h, q, k) -> bool``: may query slot q see key slot k?"""

    def placed(self, positions: Tensor) -> "Mask":
        """The same mask where slot ``s`` of row ``b`` stands at ``positions[b, s]`` (left padding, say)."""
        return Placed(self, positions)

    @property
    def reach(self) -> float:
        """How many slots back a query may look at most: what a cache has to keep."""
        return INF

    def __and__(self, other: "Mask | Rule") -> "Mask | Rule":
        if isinstance(other, Rule):
            return replace(other, mask=self & other.mask)
        return other if self == FULL else self if other == FULL else Both(self, other)

    def __or__(self, other: "Mask") -> "Mask":
        return FULL if FULL in (self, other) else Either(self, other)

    def __invert__(self) -> "Mask":
        return Not(self)

    def __add__(self, bias: "Bias") -> "Rule":
        return Rule(self) + bias


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

    def __and__(self, other: "Mask | Rule") -> "Mask | Rule":
        if isinstance(other, Band):  # bands are closed under intersection
            return Band(min(self.before, other.before), min(self.after, other.after))
        return super().__and__(other)

    def placed(self, positions: Tensor) -> Mask:
        return self  # only differences count, and padding at either end keeps them

    @property
    def reach(self) -> float:
        return self.before

    def within(self, at: int, queries: int, start: int, keys: int) -> "Band":
        """The same band for query slots ``at ..`` and key slots ``start ..``: an edge that cuts nothing is gone."""
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
    """Block-sparse: position block ``q // size`` sees block ``k // size`` where ``pattern[Q', K']`` is true."""

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


@dataclass(frozen=True, eq=False, repr=False)
class Global(SlotMask):
    """Tokens that see everybody and are seen by everybody (Longformer): ``token[B, N]``."""

    token: Tensor

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return self.token[b, q] | self.token[b, k]


class Bias(Value):
    """``bias(b, h, q, k) -> number`` added to the scaled score."""


@dataclass(frozen=True, eq=False, repr=False)
class Slope(Bias):
    """ALiBi's penalty: ``-slope[h] |q - k|``."""

    slope: Tensor

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return -self.slope[h] * (q - k).abs()


@dataclass(frozen=True, eq=False, repr=False)
class Table(Bias):
    """One learned number per relative bucket and head: ``table[R, H]`` (T5)."""

    table: Tensor
    bucket: Callable[[Tensor], Tensor]

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return self.table[self.bucket(k - q), h]


@dataclass(frozen=True, eq=False, repr=False)
class PerToken(Bias):
    """A number per query (or per key) and relative bucket: ``score[B, H, N, R]`` (DeBERTa, Shaw, Transformer-XL).

    ``first`` is the slot of the first of the N tokens."""

    score: Tensor
    bucket: Callable[[Tensor], Tensor]
    by: str = "query"
    first: int = 0

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return self.score[b, h, (q if self.by == "query" else k) - self.first, self.bucket(q - k)]


@dataclass(frozen=True, eq=False, repr=False)
class Given(Bias):
    """A whole score map handed in: ``scores[B, H, Q, K]`` (AlphaFold's pair bias)."""

    scores: Tensor

    def __call__(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return self.scores[b, h, q, k]


@dataclass(frozen=True)
class Rule:
    """A mask, the biases added to the scores under it, and an optional soft cap: ``cap tanh(score / cap)``."""

    mask: Mask = FULL
    biases: tuple[Bias, ...] = ()
    cap: float | None = None
    memo: dict | None = field(default=None, repr=False, compare=False)  # lowered forms, for one forward pass

    def __and__(self, other: "Mask | Rule") -> "Rule":
        if isinstance(other, Rule):
            if self.cap is not None and other.cap is not None and self.cap != other.cap:
                raise ValueError(f"two soft caps cannot be combined: {self.cap} and {other.cap}")
            cap = other.cap if self.cap is None else self.cap
            return Rule(self.mask & other.mask, (*self.biases, *other.biases), cap)  # type: ignore[arg-type]
        return self if other == FULL else replace(self, mask=self.mask & other, memo=None)

    def __add__(self, bias: Bias) -> "Rule":
        return replace(self, biases=(*self.biases, bias), memo=None)

    def capped(self, cap: float | None) -> "Rule":
        return self if cap == self.cap else replace(self, cap=cap, memo=None)

    def placed(self, positions: Tensor) -> "Rule":
        return replace(self, mask=self.mask.placed(positions), memo=None)

    def allows(self, q: int, k: int, b: int = 0, h: int = 0) -> bool:
        """Whether query slot ``q`` may see key slot ``k`` in row ``b`` and head ``h``."""
        return bool(self.mask(*(torch.tensor(i) for i in (b, h, q, k))))

    def bias(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        """The sum of the biases; there must be one."""
        total, *others = (f(b, h, q, k) for f in self.biases)
        for other in others:
            total = total + other
        return total


OPEN = Rule(FULL)


def as_rule(value: Rule | Mask | Bias) -> Rule:
    """A rule from a rule, a mask or a bias."""
    return value if isinstance(value, Rule) else Rule(value) if isinstance(value, Mask) else OPEN + value


# ---- lowerings -----------------------------------------------------------------------------------------------


def dense(f: Callable[..., Tensor], rows: Tensor, cols: Tensor, batch: int, heads: int) -> Tensor:
    """A mask or bias on a grid of query slots ``rows`` and key slots ``cols``; broadcasts to [B, H, rows, cols].

    All slots for a dense kernel, one row or a tile for somebody who looks."""
    b, h = torch.arange(batch, device=rows.device), torch.arange(heads, device=rows.device)
    return f(b[:, None, None, None], h[:, None, None], rows[:, None], cols)


def mods(rule: Rule, at: int = 0, start: int = 0) -> tuple[Callable | None, Callable | None]:
    """``(mask_mod, score_mod)`` for FlexAttention, whose indices count from slots ``at`` and ``start``."""

    def mask_mod(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return rule.mask(b, h, q + at, k + start)

    def score_mod(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        score = score + rule.bias(b, h, q + at, k + start) if rule.biases else score
        return score if rule.cap is None else rule.cap * torch.tanh(score / rule.cap)

    return None if rule.mask == FULL else mask_mod, score_mod if rule.biases or rule.cap is not None else None


def draw(value: Rule | Mask | Bias, n: int = 8, b: int = 0, h: int = 0) -> str:
    """A picture of row ``b``, head ``h`` over ``n`` slots, queries down, keys across: ``■`` seen, ``·`` hidden,
    or the number that is added to the score of a key that is seen."""
    rule, slots = as_rule(value), torch.arange(n)
    at = (torch.tensor(b), torch.tensor(h), slots[:, None], slots)
    seen = rule.mask(*at).expand(n, n).tolist()
    if not rule.biases:
        return "\n".join(" ".join("■" if s else "·" for s in row) for row in seen)
    numbers = rule.bias(*at).expand(n, n).tolist()
    cells = [
        [f"{x:.2g}" if s else "·" for s, x in zip(*row, strict=True)]
        for row in zip(seen, numbers, strict=True)
    ]
    wide = max(len(cell) for row in cells for cell in row)
    return "\n".join(" ".join(cell.rjust(wide) for cell in row) for row in cells)
