"""The yardsticks against their definitions, written out slowly."""

import lzma
import math
import random
from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.train.yardsticks import ngrams, xz

FEW = st.text("ab\0", min_size=1).map(str.encode)
TEXTS = st.lists(st.binary(min_size=1, max_size=12) | FEW, min_size=1, max_size=4)


def slowly(train: Sequence[bytes], texts: Sequence[bytes], order: int) -> float:
    """Counts in dictionaries, one byte at a time; texts begin after zeros."""
    counts: defaultdict[bytes, Counter[int]] = defaultdict(Counter)
    for text in (bytes(order) + text for text in train):
        for i in range(order, len(text)):
            for length in range(order):
                counts[text[i - length : i]][text[i]] += 1
    bits = []
    for text in (bytes(order) + text for text in texts):
        for i in range(order, len(text)):
            p = 1 / 256
            for length in range(order):
                if (seen := counts.get(text[i - length : i])) is not None:
                    p = (seen[text[i]] + len(seen) * p) / (seen.total() + len(seen))
            bits.append(-math.log2(p))
    return sum(bits) / len(bits)


@settings(max_examples=60)
@given(TEXTS, TEXTS, st.integers(1, 6))
def test_counts_are_those_of_dictionaries(train: list[bytes], texts: list[bytes], order: int) -> None:
    assert ngrams(train, texts, order) == pytest.approx(slowly(train, texts, order), rel=1e-9)


@settings(max_examples=20)
@given(TEXTS, st.integers(1, 5))
def test_probabilities_sum_to_one(train: list[bytes], order: int) -> None:
    """Of the first byte of a text, over all 256: what is written out here is a model of text."""
    assert sum(2 ** -slowly(train, [bytes([b])], order) for b in range(256)) == pytest.approx(1)


@pytest.mark.parametrize("measure", [xz, lambda texts: ngrams(texts, texts)], ids=["xz", "ngrams"])
def test_what_repeats_costs_little_and_noise_all_of_it(measure) -> None:
    assert measure([b"abcdefgh" * 2000]) < 0.1
    noise = random.Random(0).randbytes(2000)
    assert xz([noise]) > 8
    assert 8 < ngrams([b"abcdefgh" * 100], [noise]) < 20


def test_nothing_is_learned_from_what_is_asked() -> None:
    assert ngrams([b"some text"], [b"another", b"another"]) == pytest.approx(ngrams([b"some text"], [b"another"]))


def test_more_context_helps_where_there_is_structure() -> None:
    words = random.Random(1).choices(["window", "wonder", "winter", "water"], k=3000)
    text = " ".join(words).encode()
    figures = [ngrams([text[:12000]], [text[12000:]], order) for order in (1, 2, 3, 5)]
    assert figures == sorted(figures, reverse=True)
    assert figures[-1] < 0.7 < 2.5 < figures[0]


def test_xz_is_the_mean_over_bytes_of_texts_by_themselves() -> None:
    texts = [b"def f(x):\n    return x\n" * 5, b"import os\n", b""]
    packed = [len(lzma.compress(text, format=lzma.FORMAT_XZ, preset=9)) for text in texts]
    assert xz(texts) == 8 * sum(packed) / sum(map(len, texts))
    assert xz([texts[0]] * 2) == xz([texts[0]]) > xz([texts[0] * 2])
