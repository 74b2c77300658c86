"""How many threads: all of them, unless other processes make them wait for each other.

Threads that share a product meet at its end. Where another process has taken a core, the one that was put aside is
missed for milliseconds, many times the product, and one thread alone is faster than all. The sum of a row never
crosses threads, so how many there are changes no result."""

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

FIRST, LAST = 16, 4096  # products between two looks at the other way: the rarer, the longer it has been worse
SHARE = 0.1  # of a new measurement in the mean
MARGIN = 1.2  # what is not this much better is not worth a change


@dataclass
class Pace:
    """Chooses between all threads and one by the seconds that each takes for work of a kind."""

    clock: Callable[[], float] = time.perf_counter
    costs: dict[tuple[Hashable, bool], float] = field(default_factory=dict)  # of a kind, alone or not, lately
    alone: bool = False
    wait: int = FIRST
    left: int = FIRST

    def run(self, work: Callable[[int], object], kind: Hashable, threads: int) -> None:
        """``work(n)`` on one or on all ``threads``; what is of one ``kind`` takes equally long."""
        look = threads > 1 and self.left <= 0 and (kind, self.alone) in self.costs
        alone = self.alone != look
        begin = self.clock()
        work(1 if alone else threads)
        cost = self.clock() - begin
        mean = cost if look else self.costs.get((kind, alone), cost)
        self.costs[kind, alone] = min(cost, mean + SHARE * (cost - mean))  # the first time may have compiled
        other = self.costs.get((kind, not alone), math.inf)
        if look:
            better = MARGIN * cost < other
            self.alone, self.wait = (alone, FIRST) if better else (self.alone, min(2 * self.wait, LAST))
            self.left = self.wait
        else:
            self.left = 0 if self.costs[kind, alone] > MARGIN * other else self.left - 1
