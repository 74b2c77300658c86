"""Schedules against their formulas, and laws that all of them keep."""

import math
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.train.schedules import Schedule, Shape

SHAPES = get_args(Shape)


def test_the_2017_papers_rate():
    """lrate = width^-0.5 · min(step^-0.5, step · warmup^-1.5), with steps counted from 1."""
    width, warmup = 512, 4000
    peak, schedule = (width * warmup) ** -0.5, Schedule("inverse-sqrt", warmup)
    for step in (1, 10, 3999, 4000, 4001, 100_000):
        paper = width**-0.5 * min(step**-0.5, step * warmup**-1.5)
        assert peak * schedule(step - 1, 100_000) == pytest.approx(paper, rel=1e-12)


def test_linear_cosine_and_stable_decay():
    assert Schedule("linear", 0)(50, 100) == pytest.approx(0.5)
    assert Schedule("cosine", 10)(55, 100) == pytest.approx((1 + math.cos(math.pi / 2)) / 2)
    assert Schedule("wsd", 10, decay=0.2)(79, 100) == 1
    assert Schedule("wsd", 10, decay=0.2)(90, 100) == pytest.approx(1 - math.sqrt(0.5))
    assert Schedule("constant", 5)(99, 100) == 1


@given(st.sampled_from(SHAPES), st.integers(0, 50), st.floats(0, 1), st.floats(0.01, 1), st.integers(51, 400))
def test_laws(shape, warmup, floor, decay, steps):
    """Up to the peak in the warm-up, then never up again, never below the floor, never above 1."""
    schedule = Schedule(shape, warmup, floor, decay)
    values = [schedule(step, steps) for step in range(steps)]
    assert all(0 < v <= 1 + 1e-12 or (v == 0 and floor == 0) for v in values[:-1])
    assert values[:warmup] == sorted(values[:warmup])
    after = values[warmup:]
    assert all(b <= a + 1e-12 for a, b in pairwise(after))
    assert min(after) >= floor - 1e-12


@pytest.mark.parametrize("wrong", [dict(warmup=-1), dict(floor=1.5), dict(decay=0.0)])
def test_refused(wrong):
    with pytest.raises(ValueError, match="schedule has"):
        Schedule(**wrong)
