"""The decoding loops on small tables of probabilities, against their definitions."""

from itertools import product

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cutaway.generate.processors import NOTHING, chain
from cutaway.generate.search import beam_search, extend, greedy, largest, sampler

V, END = 5, 0
plain = chain([])


class Markov:
    """Logits of the next token from the last two; holds its rows itself, as a model with a cache does."""

    def __init__(self, seed: int, sharpness: float = 2.0):
        generator = torch.Generator().manual_seed(seed)
        self.table = sharpness * torch.randn(V, V, V, generator=generator)
        self.rows: list[list[int]] = []

    def __call__(self, ids: Tensor, rows: Tensor | None = None) -> Tensor:
        before = self.rows or [[] for _ in ids]
        before = before if rows is None else [before[i] for i in rows.tolist()]
        self.rows = [a + b for a, b in zip(before, ids.tolist(), strict=True)]
        return torch.stack([self.logits(row) for row in self.rows])

    def logits(self, row: list[int]) -> Tensor:
        return self.table[row[-2], row[-1]]

    def score(self, start: list[int], new: tuple[int, ...]) -> float:
        """``Σ log p`` of the new tokens."""
        row = [*start, *new]
        places = range(len(start), len(row))
        return sum(self.logits(row[:at]).log_softmax(-1)[row[at]].item() for at in places)


def room_of(prompt: Tensor, n: int) -> Tensor:
    return torch.full((len(prompt),), n)


def ended(ids: Tensor) -> Tensor:
    return ids[:, -1] == END


def completions(room: int) -> list[tuple[int, ...]]:
    """All ways to go on: up to an end, or for the whole room."""
    found = [(*new, END) for n in range(room) for new in product(range(1, V), repeat=n)]
    return found + list(product(range(1, V), repeat=room))


@given(st.integers(0, 200), st.integers(1, 6))
def test_greedy_takes_the_best_next_token(seed: int, room: int):
    step = Markov(seed)
    prompt = torch.tensor([[1, 2], [3, 4], [2, 2]])
    got = torch.stack(list(extend(step, plain, greedy, ended, prompt, room_of(prompt, room))), 1).tolist()
    for start, new in zip(prompt.tolist(), got, strict=True):
        row, expected = start, []
        while len(expected) < room and END not in expected:
            expected.append(int(step.logits(row).argmax()))
            row = [*start, *expected]
        assert new == expected + [NOTHING] * (len(new) - len(expected))
    assert len(got[0]) == max(len([i for i in new if i != NOTHING]) for new in got), "it stops when all rows have"


@settings(max_examples=25)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.5, 1.0, 2.0, -1.0]))
def test_enough_beams_find_the_best_of_all(seed: int, penalty: float):
    room, beams, start = 4, V**3, [1, 2]
    step = Markov(seed)
    prompt = torch.tensor([start] * beams)
    ids, scores = beam_search(step, plain, ended, prompt, room_of(prompt, room), beams, 1, penalty, "never")
    ranked = sorted(((step.score(start, new) / len(new) ** penalty, new) for new in completions(room)), reverse=True)
    for i in range(3):
        assert abs(scores[0, i].item() - ranked[i][0]) < 1e-4
        assert tuple(x for x in ids[0, i, 2:].tolist() if x != NOTHING) == ranked[i][1]


@given(
    st.integers(0, 200), st.integers(1, 4), st.sampled_from([True, False, "never"]), st.sampled_from([0.0, 1.0, -0.5])
)
def test_beam_scores_are_those_of_their_tokens(seed: int, beams: int, early: bool | str, penalty: float):
    step = Markov(seed)
    prompt = torch.tensor([[1, 2], [4, 3]])
    rows = prompt.repeat_interleave(beams, 0)
    ids, scores = beam_search(step, plain, ended, rows, room_of(rows, 5), beams, 1, penalty, early)
    assert (scores.diff(dim=1) <= 0).all()
    for b, i in product(range(2), range(beams)):
        new = tuple(x for x in ids[b, i, 2:].tolist() if x != NOTHING)
        assert END not in new[:-1]
        expected = step.score(prompt[b].tolist(), new) / len(new) ** penalty
        assert abs(scores[b, i].item() - expected) < 1e-4


@settings(max_examples=40)
@given(st.integers(0, 1000), st.integers(2, 4), st.sampled_from([True, False, "never"]))
def test_beams_of_a_prompt_do_not_see_other_prompts(seed: int, beams: int, early: bool | str):
    prompts = torch.tensor([[1, 2], [3, 1], [4, 4]])
    room = torch.tensor([5, 2, 4])

    def search(which: slice) -> tuple[Tensor, Tensor]:
        rows, rooms = (t[which].repeat_interleave(beams, 0) for t in (prompts, room))
        return beam_search(Markov(seed), plain, ended, rows, rooms, beams, 1, 1.0, early)

    together = search(slice(None))
    for b in range(3):
        alone = search(slice(b, b + 1))
        assert torch.equal(together[0][b, :, : 2 + room[b]], alone[0][0])
        assert (together[0][b, :, 2 + room[b] :] == NOTHING).all()
        assert torch.equal(together[1][b], alone[1][0])


@given(st.integers(0, 200))
def test_one_beam_is_greedy(seed: int):
    prompt = torch.tensor([[1, 2]])
    tokens = torch.stack(list(extend(Markov(seed), plain, greedy, ended, prompt, room_of(prompt, 5))), 1)
    ids, _ = beam_search(Markov(seed), plain, ended, prompt, room_of(prompt, 5), 1, early=True)
    assert [i for i in ids[0, 0, 2:].tolist() if i != NOTHING] == tokens[0].tolist()


def test_a_step_is_told_what_the_processors_see():
    """A step that keeps its own rows, as a cache does, has after every reordering the rows that are scored."""
    step, checked = Markov(3), []

    def watch(logits: Tensor, ids: Tensor) -> Tensor:
        checked.append(step.rows == ids.tolist())
        return logits

    prompt = torch.tensor([[1, 2]] * 4 + [[3, 4]] * 4)
    beam_search(step, watch, ended, prompt, room_of(prompt, 8), 4, 1, 1.0, "never")
    assert len(checked) > 3
    assert all(checked)


def test_draws_follow_the_probabilities():
    """Pearson's chi-square over 100,000 draws; 99.99 % of the time it stays below 25.7 for 5 degrees of freedom."""
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0, 0.5, -float("inf"), 0.1])
    n = 100_000
    expected = n * logits.softmax(-1)
    drawn = sampler(torch.Generator().manual_seed(0))(logits.expand(n, -1), 0)
    counts = torch.bincount(drawn, minlength=7).double()
    possible = expected > 0
    assert counts[~possible].sum() == 0
    assert ((counts - expected) ** 2 / expected)[possible].sum() < 25.7
    uniform = torch.full_like(expected, n / 7)
    assert ((counts - uniform) ** 2 / uniform).sum() > 1000, "the test can tell"


@given(st.integers(0, 1000), st.integers(1, 12), st.sampled_from([1, 63, 640, 1000, 4099]))
def test_the_largest_are_what_topk_finds(seed: int, k: int, count: int):
    torch.manual_seed(seed)
    x = torch.randn(3, max(count, k))
    x[0, seed % x.shape[1]] = -torch.inf
    for ours, theirs in zip(largest(x, k), x.topk(k), strict=True):
        assert torch.equal(ours, theirs)
