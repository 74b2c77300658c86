"""Axes of a picture: from values to places, and the round numbers to write beside them."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high`` from ``begin`` to ``end``, evenly or, if ``log``, by their logarithms."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where a value lies."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.begin + (value - low) / (high - low) * (self.end - self.begin)

    def ticks(self, most: int) -> list[float]:
        """At most ``most`` round values in order: multiples of 1, 2 or 5 times a power of ten."""
        return powers(self.low, self.high, most) if self.log else rounds(self.low, self.high, most)


def rounds(low: float, high: float, most: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, as close as ``most`` allows."""
    unit = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (unit, 2 * unit, 5 * unit, 10 * unit, 20 * unit):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            break
    return [round(n * step, 12) for n in range(first, last + 1)]


def powers(low: float, high: float, most: int) -> list[float]:
    """Powers of ten with 2 and 5 between them, or only every so many powers; linear ticks where that leaves one."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits, every in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 3)):
        found = [d * 10.0**e for e in exponents if e % every == 0 for d in digits]
        inside = [v for v in found if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
        if len(inside) <= most:
            break
    return inside if len(inside) > 1 else rounds(low, high, most)


def labels(ticks: Sequence[float]) -> list[str]:
    """The ticks in digits, with as many decimals as tell them apart."""
    step = min((b - a for a, b in itertools.pairwise(ticks) if b > a), default=1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{tick:,.{decimals}f}" for tick in ticks]


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels, as near as can be to those asked for: in order, ``gap`` apart, inside while there is room."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    found = list(places)
    at = low - gap
    for i in order:
        at = found[i] = max(places[i], at + gap)
    at = high + gap
    for i in reversed(order):
        at = found[i] = min(found[i], at - gap)
    return found
