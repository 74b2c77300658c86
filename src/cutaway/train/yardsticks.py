"""What text costs without a Transformer: a general compressor, and counts of what followed the last few bytes."""

import lzma
from collections.abc import Iterable, Sequence

import numpy as np

BYTES, BITS = 256, np.uint64(8)


def xz(texts: Iterable[bytes]) -> float:
    """Bits per byte of ``xz -9``, each text compressed by itself."""
    sizes = [(len(text), len(lzma.compress(text, preset=9))) for text in texts]
    return 8 * sum(packed for _, packed in sizes) / sum(size for size, _ in sizes)


def ngrams(train: Sequence[bytes], texts: Sequence[bytes], order: int = 5) -> float:
    """Bits per byte of a byte n-gram model that has read ``train``.

    ``p(b | c) = (n(cb) + d(c) p(b | shorter c)) / (n(c) + d(c))`` where ``d(c)`` is how many different bytes were seen
    after the context ``c`` (Witten and Bell, 1991), for contexts of up to ``order - 1`` bytes. Nothing is learned from
    ``texts``."""
    known, asked = joined(train, order), joined(texts, order)
    probability = np.full(len(asked), 1 / BYTES)
    there = real(train, order)
    for length in range(order):
        grams, times = counted(windows(known, length)[there], length)
        contexts, first, different = np.unique(grams >> BITS, return_index=True, return_counts=True)
        totals = np.add.reduceat(times, first)
        wanted = windows(asked, length)
        seen, d = looked_up(contexts, totals, wanted >> BITS), looked_up(contexts, different, wanted >> BITS)
        share = (looked_up(grams, times, wanted) + d * probability) / np.maximum(seen + d, 1)
        probability = np.where(seen > 0, share, probability)
    return float(-np.log2(probability[real(texts, order)]).mean())


def joined(texts: Sequence[bytes], order: int) -> np.ndarray:
    """All texts, each behind ``order`` zero bytes, so that no context reaches over a border."""
    return np.frombuffer(b"".join(bytes(order) + text for text in texts), np.uint8).astype(np.uint64)


def real(texts: Sequence[bytes], order: int) -> np.ndarray:
    """Which bytes of the joined ones are of a text."""
    return np.concatenate([np.r_[np.zeros(order, bool), np.ones(len(text), bool)] for text in texts])


def windows(data: np.ndarray, length: int) -> np.ndarray:
    """Each byte with the ``length`` bytes before it, as one number whose lowest bits are the byte."""
    grams = data.copy()
    for back in range(1, length + 1):
        grams[back:] |= data[:-back] << np.uint64(8 * back)
    return grams


def counted(grams: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The different grams in order, and how often each comes."""
    if length > 2:
        return np.unique(grams, return_counts=True)
    times = np.bincount(grams.astype(np.int64))
    (there,) = times.nonzero()
    return there.astype(np.uint64), times[there]


def looked_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The value of each wanted key; 0 where there is none."""
    place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)
