"""Masks and biases as values: what they mean, how they combine, print and draw themselves."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cutaway.scores import (
    CAUSAL,
    FULL,
    OPEN,
    Band,
    Blocks,
    Documents,
    Given,
    Global,
    Mask,
    Padding,
    PerToken,
    Predicate,
    Prefix,
    Rule,
    Slope,
    Table,
    as_rule,
    dense,
    draw,
    window,
)

DOCUMENT = torch.tensor([[0, 0, 1, 1, 1]])
TOKEN = torch.tensor([[True, False, False, False, False]])
KEEP = torch.tensor([[True, True, True, False, False]])
CHECKER = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 1]]).bool()

GOLDEN = {
    "full": (FULL, "■■■■■ ■■■■■ ■■■■■ ■■■■■ ■■■■■"),
    "causal": (CAUSAL, "■···· ■■··· ■■■·· ■■■■· ■■■■■"),
    "window": (window(2), "■···· ■■··· ·■■·· ··■■· ···■■"),
    "two-sided": (Band(1, 1), "■■··· ■■■·· ·■■■· ··■■■ ···■■"),
    "prefix": (CAUSAL | Prefix(3), "■■■·· ■■■·· ■■■·· ■■■■· ■■■■■"),
    "padding": (CAUSAL & Padding(KEEP), "■···· ■■··· ■■■·· ■■■·· ■■■··"),
    "documents": (CAUSAL & Documents(DOCUMENT), "■···· ■■··· ··■·· ··■■· ··■■■"),
    "global": (Band(1, 1) | Global(TOKEN), "■■■■■ ■■■·· ■■■■· ■·■■■ ■··■■"),
    "blocks": (Blocks(CHECKER, 2), "■■··· ■■··· ■■■■· ■■■■· ··■■■"),
    "predicate": (Predicate(lambda b, h, q, k: (q + k) % 2 == 0), "■·■·■ ·■·■· ■·■·■ ·■·■· ■·■·■"),
    "negation": (~window(2), "·■■■■ ··■■■ ■··■■ ■■··■ ■■■··"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_every_mask_draws_what_it_means(name: str) -> None:
    mask, picture = GOLDEN[name]
    assert draw(mask, 5).replace(" ", "") == picture.replace(" ", "\n")


@pytest.mark.parametrize("name", GOLDEN)
def test_allows_agrees_with_the_picture(name: str) -> None:
    mask, picture = GOLDEN[name]
    for q, row in enumerate(picture.split()):
        for k, cell in enumerate(row):
            assert as_rule(mask).allows(q, k) == (cell == "■")


def grid(mask: Mask, n: int = 6) -> torch.Tensor:
    slots = torch.arange(n)
    return dense(mask, slots, slots, 1, 1).expand(1, 1, n, n)[0, 0]


edges = st.one_of(st.integers(0, 7), st.just(math.inf))
bands = st.builds(Band, edges, edges)
masks = st.recursive(
    st.one_of(bands, st.builds(Prefix, st.integers(0, 6))),
    lambda m: st.one_of(
        st.tuples(m, m).map(lambda p: p[0] & p[1]),
        st.tuples(m, m).map(lambda p: p[0] | p[1]),
        m.map(lambda x: ~x),
    ),
    max_leaves=4,
)


@given(bands, bands)
def test_bands_are_closed_under_intersection(a: Band, b: Band) -> None:
    assert isinstance(a & b, Band)
    assert torch.equal(grid(a & b), grid(a) & grid(b))


@given(masks, masks)
def test_masks_form_the_usual_algebra(a: Mask, b: Mask) -> None:
    assert torch.equal(grid(a & b), grid(a) & grid(b))
    assert torch.equal(grid(a | b), grid(a) | grid(b))
    assert torch.equal(grid(~a), ~grid(a))


@given(masks)
def test_reach_is_never_too_short(mask: Mask) -> None:
    slots = torch.arange(6)
    distance = slots[:, None] - slots
    assert not (grid(mask) & (distance > mask.reach)).any()


@given(bands, st.integers(0, 5), st.integers(1, 5), st.integers(0, 5), st.integers(1, 8))
def test_within_drops_only_edges_that_cut_nothing(band: Band, at: int, queries: int, start: int, keys: int) -> None:
    rows, cols = torch.arange(at, at + queries), torch.arange(start, start + keys)
    small = band.within(at, queries, start, keys)
    assert torch.equal(
        dense(band, rows, cols, 1, 1).expand(1, 1, queries, keys),
        dense(small, rows, cols, 1, 1).expand(1, 1, queries, keys),
    )
    if dense(band, rows, cols, 1, 1).all():
        assert small == FULL


def test_left_padding_moves_what_reads_positions_and_nothing_else() -> None:
    positions = torch.tensor([[0, 0, 0, 1, 2]])  # two slots of padding, then three tokens
    moved = (CAUSAL | Prefix(2)).placed(positions)
    assert draw(moved, 5).split("\n")[2].replace(" ", "")[2:] == "■■·"
    assert CAUSAL.placed(positions) is CAUSAL
    keep = Padding(KEEP)
    assert (CAUSAL & keep).placed(positions) == CAUSAL & keep


def test_rules_print_themselves() -> None:
    rule = CAUSAL & Padding(KEEP) & Documents(DOCUMENT) + Slope(torch.ones(2))
    assert repr(rule.mask) == "((Band(before=inf, after=0) & Padding(keep=[1, 5])) & Documents(document=[1, 5]))"
    assert repr(rule.biases) == "(Slope(slope=[2]),)"
    assert repr(CAUSAL & window(4)) == "Band(before=3, after=0)"
    assert FULL & CAUSAL == CAUSAL
    assert CAUSAL | FULL == FULL


def test_biases_draw_their_numbers() -> None:
    assert draw(CAUSAL + Slope(torch.tensor([0.5])), 3) == "  -0    ·    ·\n-0.5   -0    ·\n  -1 -0.5   -0"


def test_each_bias_reads_its_own_table() -> None:
    slots = torch.arange(4)
    table = Table(torch.arange(14.0).view(7, 2), lambda d: d + 3)
    assert dense(table, slots, slots, 1, 2)[1, 2, 0] == table.table[-2 + 3, 1]
    scores = torch.randn(2, 3, 4, 8)
    by_query = dense(PerToken(scores, lambda d: d + 3), slots, slots, 2, 3)
    by_key = dense(PerToken(scores, lambda d: d + 3, "key"), slots, slots, 2, 3)
    assert by_query[1, 2, 3, 1] == scores[1, 2, 3, 3 - 1 + 3]
    assert by_key[1, 2, 3, 1] == scores[1, 2, 1, 3 - 1 + 3]
    later = PerToken(scores, lambda d: d + 3, "query", first=2)
    assert dense(later, torch.tensor([4]), slots, 2, 3)[1, 2, 0, 1] == scores[1, 2, 2, 4 - 1 + 3]
    pair = torch.randn(2, 3, 4, 4)
    assert torch.equal(dense(Given(pair), slots, slots, 2, 3), pair)


def test_rules_combine() -> None:
    a, b = CAUSAL + Slope(torch.ones(2)), window(3) + Slope(torch.zeros(2))
    both = a & b
    assert both.mask == window(3)
    assert both.biases == (*a.biases, *b.biases)
    assert (OPEN.capped(5.0) & CAUSAL).cap == 5.0
    with pytest.raises(ValueError, match=r"two soft caps cannot be combined: 5.0 and 3.0"):
        OPEN.capped(5.0) & OPEN.capped(3.0)
    with pytest.raises(ValueError, match=r"window\(0\)"):
        window(0)


def test_a_rule_is_a_value() -> None:
    assert Rule(CAUSAL) == as_rule(CAUSAL)
    assert {Rule(window(3)): 1}[Rule(CAUSAL & window(3))] == 1
