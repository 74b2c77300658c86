"""Batches are functions of seed and number; in an epoch everything comes once."""

from collections import Counter
from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from data.corpora import Given, Numbers, shards
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cutaway.data import Bucketed, Packed, Shards, Windows, write
from cutaway.data.batches import Batches
from cutaway.data.order import permuted
from cutaway.data.packing import pack

FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
LENGTHS = st.lists(st.integers(0, 25), min_size=1, max_size=40)
PAIRS = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), min_size=1, max_size=60)
MAKE: dict[str, Callable[..., Batches]] = {
    "windows": lambda found, **more: Windows(found, 7, 3, **more),
    "packed": lambda found, **more: Packed(found, 12, 3, **more),
    "bucketed": lambda found, **more: Bucketed(found, 40, **more),
}
each = pytest.mark.parametrize("kind", MAKE)
MANY = [5, 3, 17, 1, 12, 30, 2, 9, 8, 8, 0, 25, 4, 19, 6, 6, 11]


def plain(batch: list[dict[str, torch.Tensor]]) -> list[dict[str, list[int]]]:
    return [{name: tensor.tolist() for name, tensor in row.items()} for row in batch]


@given(st.integers(1, 3000), st.integers(0, 2**63))
def test_a_permutation_has_everything_once(count: int, seed: int):
    found = permuted(np.arange(count), count, seed)
    assert sorted(found.tolist()) == list(range(count))
    some = np.arange(0, count, 7)
    assert np.array_equal(permuted(some, count, seed), found[::7])


def test_permutations_of_different_seeds_look_independent():
    """Of 400 permutations of 20 numbers, each number is at each place about 20 times."""
    places = np.arange(20)
    counts = np.zeros((20, 20))
    for seed in range(400):
        counts[places, permuted(places, 20, seed)] += 1
    chi = ((counts - 20) ** 2 / 20).sum()
    assert chi < 19 * 19 + 6 * (2 * 19 * 19) ** 0.5


def test_a_permutation_of_more_than_memory_could_list():
    found = permuted(np.array([0, 1, 10**15 - 1]), 10**15, 3)
    assert len(set(found.tolist())) == 3
    assert found.max() < 10**15
    with pytest.raises(ValueError, match="places must be from 0 to 4"):
        permuted(np.array([5]), 5, 0)


@each
def test_a_batch_is_a_function_of_seed_and_number(kind: str, tmp_path: Path):
    found = shards(tmp_path, MANY)
    one, two = (MAKE[kind](Shards(tmp_path), seed=4) for _ in range(2))
    first = [plain(batch) for batch in islice(one, 30)]
    assert first[17] == plain(two[17])
    assert first == [plain(two[i]) for i in range(30)]
    assert first != [plain(MAKE[kind](found, seed=5)[i]) for i in range(30)]
    assert first[: one.per_epoch] != first[one.per_epoch : 2 * one.per_epoch]


@given(lengths=LENGTHS, length=st.integers(1, 9), rows=st.integers(1, 5), seed=st.integers(0, 99))
@FOLDER
def test_every_window_once_an_epoch(tmp_path: Path, lengths: list[int], length: int, rows: int, seed: int):
    total = sum(lengths)
    assume(total > length)
    batches = Windows(shards(tmp_path / "s", lengths), length, rows, seed)
    count = (total - 1) // length
    assert (batches.per_epoch, batches.targets) == (-(-count // rows), count * length)
    seen = [row["input"].tolist() for batch in islice(batches, 2 * count) for row in batch]
    assert all(len(batch) == rows for batch in islice(batches, 3))
    expected = [list(range(1 + at * length, 2 + (at + 1) * length)) for at in range(count)]
    for epoch in range(2 * rows):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == expected


@given(lengths=LENGTHS, length=st.integers(1, 9), rows=st.integers(1, 5))
@FOLDER
def test_an_ordered_pass_has_every_target_once(tmp_path: Path, lengths: list[int], length: int, rows: int):
    total = sum(lengths)
    assume(total > 1)
    batches = Windows(shards(tmp_path / "s", lengths), length, rows, ordered=True)
    every = list(batches)
    assert len(every) == batches.per_epoch
    assert all(len({len(row["input"]) for row in batch}) == 1 for batch in every)
    targets = [token for batch in every for row in batch for token in row["input"].tolist()[1:]]
    assert targets == list(range(2, total + 1))
    assert batches.targets == total - 1
    with pytest.raises(IndexError, match=f"no batch {len(every)}; there are {len(every)}"):
        batches[len(every)]


@given(lengths=LENGTHS, length=st.integers(1, 12), rows=st.integers(1, 4), seed=st.integers(0, 99))
@FOLDER
def test_packed_rows_have_every_target_once(tmp_path: Path, lengths: list[int], length: int, rows: int, seed: int):
    assume(max(lengths) > 1)
    found = shards(tmp_path / "s", lengths)
    first = np.cumsum([1, *lengths])
    batches = Packed(found, length, rows, seed, pad=0)
    assert batches.targets == sum(max(n - 1, 0) for n in lengths)
    expected = Counter(t for at, n in zip(first, lengths, strict=False) for t in range(at + 1, at + n))
    seen = [row for batch in islice(batches, batches.units) for row in batch]
    for epoch in range(rows):
        targets: Counter[int] = Counter()
        for row in seen[epoch * batches.units : (epoch + 1) * batches.units]:
            tokens, document = row["input"].tolist(), row["document"].tolist()
            assert len(tokens) == len(document) == length + 1
            assert all((token == 0) == (number == -1) for token, number in zip(tokens, document, strict=True))
            for at in range(length):
                if document[at] == document[at + 1] != -1:
                    assert tokens[at + 1] == tokens[at] + 1
                    targets[tokens[at + 1]] += 1
            starts = [t for at, t in enumerate(tokens) if t and (at == 0 or document[at] != document[at - 1])]
            assert len(starts) == len({*document} - {-1})
        assert targets == expected
    ordered = [plain(batch) for batch in Packed(found, length, rows, seed, ordered=True)]
    key = lambda row: row["input"]
    assert sorted(chain.from_iterable(ordered), key=key) == sorted(plain(seen[: batches.units]), key=key)


def test_each_epoch_has_an_order_of_its_own(tmp_path: Path):
    batches = Windows(shards(tmp_path, [100]), 3, 1, seed=2)
    orders = [[batches.places(epoch * 33 + i)[0] for i in range(33)] for epoch in range(2)]
    assert [{epoch for epoch, _ in order} for order in orders] == [{0}, {1}]
    assert [number for _, number in orders[0]] != [number for _, number in orders[1]]


def test_what_fits_exactly_is_put_there(tmp_path: Path):
    assert pack(np.array([6, 4, 6, 4]), 10, 0).rows.tolist() == [0, 2, 4]
    assert len(Bucketed(shards(tmp_path, [5] * 8), 40)[0]) == 8


def test_packing_leaves_little_padding():
    lengths = np.random.default_rng(0).integers(2, 400, 5000)
    pieces = pack(lengths, 513, 0)
    assert pieces.length.sum() / ((len(pieces.rows) - 1) * 513) > 0.99
    assert not np.array_equal(pieces.document, pack(lengths, 513, 1).document)


@given(pairs=PAIRS, seed=st.integers(0, 9))
@FOLDER
def test_buckets_have_every_document_once_an_epoch(tmp_path: Path, pairs: list[tuple[int, int]], seed: int):
    assume(any(target for _, target in pairs))
    names = ("input", "target")
    records = [
        {name: " ".join([str(number)] * length) for name, length in zip(names, pair, strict=True)}
        for number, pair in enumerate(pairs)
    ]
    found = write(tmp_path / "s", Given(records), Numbers(columns=names), tokens=50)
    batches = Bucketed(found, 40, seed)
    assert batches.targets == found.total("target")
    whole = sorted(plain([found[i] for i in range(len(found))]), key=str)
    for epoch in range(2):
        every = [batches[epoch * batches.per_epoch + i] for i in range(batches.per_epoch)]
        assert sorted((row for batch in every for row in plain(batch)), key=str) == whole
        for batch in every:
            assert len(batch) * max(1, *(len(row[name]) for row in batch for name in names)) <= 40
    assert sorted(chain(*map(plain, Bucketed(found, 40, ordered=True))), key=str) == whole


def test_buckets_are_full_and_meet_anew(tmp_path: Path):
    lengths = np.random.default_rng(0).integers(1, 30, 800).tolist()
    batches = Bucketed(shards(tmp_path, lengths, tokens=10**6), 300)
    real = padded = 0
    for index in range(batches.per_epoch):
        sizes = [len(row["input"]) for row in batches[index]]
        real, padded = real + sum(sizes), padded + len(sizes) * max(sizes)
    assert real == sum(lengths)
    assert real / padded > 0.9
    assert padded / batches.per_epoch > 0.85 * 300
    met = lambda index: frozenset(int(row["input"][0]) for row in batches[index])
    sets = [{met(epoch * batches.per_epoch + i) for i in range(batches.per_epoch)} for epoch in range(2)]
    assert len(sets[0] & sets[1]) < 0.2 * batches.per_epoch


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda found: Windows(found, 99, 3), "there is nothing to make a batch of"),
        (lambda found: Windows(found, 0, 3), "a window of 0 tokens cannot be"),
        (lambda found: Windows(found, 3, 0), "a batch of 0 rows cannot be"),
        (lambda found: Windows(found, 3, 1, column="text"), "no column 'text'; there are input"),
        (lambda found: Packed(found, 0, 1), "a row of 0 tokens cannot be"),
        (lambda found: Bucketed(found, 9), r"document 1 has 10 tokens, a batch at most 9: cut it when encoding"),
    ],
)
def test_what_makes_no_batch_is_refused(make: Callable[[Shards], object], words: str, tmp_path: Path):
    found = shards(tmp_path, [3, 10])
    with pytest.raises(ValueError, match=words):
        make(found)
    with pytest.raises(IndexError, match="no batch -1"):
        Windows(found, 3, 1)[-1]
