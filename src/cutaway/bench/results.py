"""What was measured: of one contestant, and of a work."""

from dataclasses import dataclass, field

import numpy as np

from . import bounds
from .agreement import Difference
from .peers import Entry
from .works import Work


@dataclass
class Result:
    """What one contestant did in one work: seconds of every round, alone and ``beside`` a busy process, seconds to
    the first token, bytes of memory at most; or, in ``said``, why not. ``against`` are Cutaway's seconds, plain and
    in the same precision, of the same rounds."""

    entry: Entry
    seconds: list[float] = field(default_factory=list)
    against: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    peak: int = 0
    difference: Difference | None = None
    said: str = ""

    @property
    def comparable(self) -> bool:
        agrees = self.difference is not None and self.difference.within(self.entry.dtype)
        return agrees and bool(self.seconds) and not self.said

    @property
    def ratios(self) -> list[float]:
        """How many times as fast as this contestant Cutaway was, round by round; nothing if they do not compare."""
        if not self.comparable or not self.against:
            return []
        return [theirs / ours for theirs, ours in zip(self.seconds, self.against, strict=True)]

    def extend(self, more: "Result") -> None:
        """The same contestant's rounds with others."""
        self.seconds += more.seconds
        self.against += more.against
        self.first += more.first
        self.beside += more.beside
        self.peak = max(self.peak, more.peak)
        self.said = self.said or more.said


@dataclass
class Measured:
    """All results of a work, and the machine's limits in each of its rounds."""

    work: Work
    results: list[Result]
    limits: list[dict[str, float]]
    stored: int = 0

    @property
    def limit(self) -> dict[str, float]:
        """The median of each limit."""
        names = self.limits[0] if self.limits else ()
        return {name: float(np.median([r[name] for r in self.limits])) for name in names}

    def of_limit(self, result: Result) -> float | None:
        """The share of the speed that the machine's limits allow."""
        found = bounds.bound(self.work, result.entry.dtype, self.stored)
        if found is None or not result.comparable:
            return None
        return found.seconds(self.limit) / float(np.median(result.seconds))
