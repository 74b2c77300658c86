"""How many threads: all of them, unless other processes make them wait for each other.

Threads that share a product meet at its end. Where another process has taken a core, the one that was put aside is
missed for milliseconds, many times the product, and one thread alone is faster than all. The sum of a row never
crosses threads, so how many there are changes no result."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

FIRST, LAST = 16, 4096  # products between two looks at the other way: the rarer, the longer it has been worse
SHARE = 0.1  # of a new measurement in the mean
MARGIN = 1.2  # what is not this much better is not worth a change


@dataclass
class Pace:
    """Chooses between all threads and one by the seconds that each takes to read a byte."""

    clock: Callable[[], float] = time.perf_counter
    costs: dict[bool, float] = field(default_factory=dict)  # alone or not -> seconds a byte
    alone: bool = False
    wait: int = FIRST
    left: int = FIRST

    def run(self, work: Callable[[int], object], size: int, threads: int) -> None:
        """``work(n)`` on one or on all ``threads``; it reads ``size`` bytes."""
        look = threads > 1 and self.left <= 0
        alone = self.alone != look
        begin = self.clock()
        work(1 if alone else threads)
        cost = (self.clock() - begin) / size
        mean = cost if look else self.costs.get(alone, cost)
        self.costs[alone] = mean + SHARE * (cost - mean)
        if look:
            better = MARGIN * cost < self.costs.get(not alone, cost)
            self.alone, self.wait = (alone, FIRST) if better else (self.alone, min(2 * self.wait, LAST))
            self.left = self.wait
        else:
            worse = self.costs[alone] > MARGIN * self.costs.get(not alone, self.costs[alone])
            self.left = 0 if worse else self.left - 1
