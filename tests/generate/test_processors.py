"""Every processor against its definition in plain Python."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cutaway.generate import processors as P
from cutaway.generate.processors import NOTHING

V = 7
seeds = st.integers(0, 10_000)
token = st.integers(0, V - 1)
row = st.lists(token, min_size=1, max_size=9)
ragged = st.lists(row, min_size=1, max_size=3)


def logits_for(rows: list[list[int]], seed: int) -> Tensor:
    return torch.randn(len(rows), V, generator=torch.Generator().manual_seed(seed))


def batch(rows: list[list[int]], side: str = "left") -> Tensor:
    longest = max(map(len, rows))
    fill = [[NOTHING] * (longest - len(row)) for row in rows]
    return torch.tensor([f + r if side == "left" else r + f for r, f in zip(rows, fill, strict=True)])


def agrees(
    processor: P.Processor, rows: list[list[int]], seed: int, one: Callable[[list[float], list[int]], list[float]]
):
    """The processor on all rows padded to one length does what ``one`` does to each row alone."""
    logits = logits_for(rows, seed)
    given_logits = logits.clone()
    got = processor(logits, batch(rows))
    expected = torch.tensor([one(l, r) for l, r in zip(logits.tolist(), rows, strict=True)])
    torch.testing.assert_close(got, expected)
    assert torch.equal(logits, given_logits), "a processor leaves what it is given as it is"


def without(logits: list[float], banned: set[int]) -> list[float]:
    return [-math.inf if i in banned else l for i, l in enumerate(logits)]


@given(ragged, seeds, st.sampled_from([0.5, 1.2, 2.0]))
def test_repetition(rows, seed, penalty):
    def one(logits, row):
        return [(l * penalty if l < 0 else l / penalty) if i in row else l for i, l in enumerate(logits)]

    agrees(P.repetition(penalty), rows, seed, one)


def completes(row: list[int], text: list[int], n: int) -> set[int]:
    """The tokens that would repeat n tokens of ``text`` at the end of ``row``."""
    if len(row) < n - 1:
        return set()
    grams = [text[i : i + n] for i in range(len(text) - n + 1)]
    return {gram[-1] for gram in grams if gram[:-1] == row[len(row) - n + 1 :]}


@given(ragged, seeds, st.integers(1, 4))
def test_no_repeat_ngram(rows, seed, n):
    agrees(P.no_repeat_ngram(n), rows, seed, lambda l, row: without(l, completes(row, row, n)))


@given(st.lists(st.tuples(row, row), min_size=1, max_size=3), seeds, st.integers(1, 4))
def test_no_repeat_ngram_of_a_source(pairs, seed, n):
    rows, texts = [row for row, _ in pairs], [text for _, text in pairs]
    source = iter(texts)
    processor = P.no_repeat_ngram(n, batch(texts, "right"))
    agrees(processor, rows, seed, lambda l, row: without(l, completes(row, next(source), n)))


@given(ragged, seeds, st.lists(st.lists(token, min_size=1, max_size=3), min_size=1, max_size=6))
def test_bad_words(rows, seed, words):
    def one(logits, row):
        return without(logits, {w[-1] for w in words if w[:-1] == row[len(row) - len(w) + 1 :]})

    agrees(P.bad_words([torch.tensor(word) for word in words]), rows, seed, one)


@pytest.mark.parametrize(("start", "stop"), [(0, math.inf), (0, 3), (2, 3), (4, 9)])
def test_suppress(start, stop):
    for n in range(1, 6):
        banned = {1, 4} if start <= n < stop else set()
        agrees(P.suppress(torch.tensor([1, 4]), start, stop), [[0] * n] * 2, n, lambda l, _, b=banned: without(l, b))


def test_force():
    for n in range(1, 6):
        one = lambda l, row: [0.0 if i in (2, 5) else -math.inf for i in range(V)] if len(row) == 3 else l
        agrees(P.force(torch.tensor([2, 5]), 3), [[0] * n] * 2, n, one)


@given(ragged, seeds, st.floats(0.1, 5))
def test_temperature(rows, seed, t):
    agrees(P.temperature(t), rows, seed, lambda logits, _: [l / t for l in logits])


@given(ragged, seeds, st.integers(1, V + 2))
def test_top_k(rows, seed, k):
    agrees(P.top_k(k), rows, seed, lambda l, _: without(l, set(range(V)) - set(best_first(l)[:k])))


def best_first(logits: list[float]) -> list[int]:
    return sorted(range(len(logits)), key=lambda i: -logits[i])


def test_top_k_keeps_all_that_share_the_last_place():
    logits = torch.tensor([[1.0, 3.0, 1.0, 0.0]])
    assert P.top_k(2)(logits, batch([[0]])).isfinite().tolist() == [[True, True, True, False]]


@given(ragged, seeds, st.floats(0.01, 0.99))
def test_top_p(rows, seed, p):
    def one(logits, _):
        share, kept, total = torch.tensor(logits).double().softmax(-1), set(), 0.0
        for i in best_first(logits):
            if total < p:
                kept.add(i)
            total += share[i].item()
        return without(logits, set(range(V)) - kept)

    agrees(P.top_p(p), rows, seed, one)


def test_top_p_on_a_boundary_takes_no_more_than_needed():
    logits = torch.tensor([[0.5, 0.25, 0.25 / 2, 0.25 / 2]]).log()
    counts = {p: int(P.top_p(p)(logits, batch([[0]])).isfinite().sum()) for p in (0.4, 0.49, 0.6, 0.74, 0.76, 0.99)}
    assert counts == {0.4: 1, 0.49: 1, 0.6: 2, 0.74: 2, 0.76: 3, 0.99: 4}


@given(ragged, seeds, st.floats(0.01, 1))
def test_min_p(rows, seed, p):
    def one(logits, _):
        share = torch.tensor(logits).double().softmax(-1)
        return without(logits, {i for i in range(V) if share[i] < p * share.max() * (1 - 1e-6)})

    agrees(P.min_p(p), rows, seed, one)


@given(ragged, seeds)
def test_normalise(rows, seed):
    def one(logits, _):
        total = math.log(sum(map(math.exp, logits)))
        return [l - total for l in logits]

    agrees(P.normalise, rows, seed, one)


def test_chain_runs_in_order():
    halve, ban = P.temperature(2), P.suppress(torch.tensor([0]))
    logits, ids = torch.tensor([[4.0, 2.0, 1.0]]), batch([[1]])
    assert P.chain([halve, P.repetition(4), ban])(logits, ids).tolist() == [[-math.inf, 0.25, 0.5]]
    assert torch.equal(P.chain([])(logits, ids), logits)
