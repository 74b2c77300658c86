"""Shuffling without a list: a permutation of 0 to n - 1 that is computed at each place by itself.

A Feistel network (Feistel, 1973; Luby and Rackoff, 1988) permutes the numbers of an even count of bits; where it
leaves the range, it goes on until it is back (cycle walking: Black and Rogaway, 2002)."""

from hashlib import blake2b

import numpy as np
from jaxtyping import UInt64

ROUNDS = 6
# The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def key(*numbers: int | str) -> int:
    """64 bits that depend on all of these."""
    return int.from_bytes(blake2b(repr(numbers).encode(), digest_size=8).digest(), "big")


def mixed(values: UInt64[np.ndarray, "*n"]) -> UInt64[np.ndarray, "*n"]:
    """Each number replaced by one that looks random, no two by the same."""
    values = (values ^ (values >> np.uint64(30))) * FIRST
    values = (values ^ (values >> np.uint64(27))) * SECOND
    return values ^ (values >> np.uint64(31))


def permuted(places: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Where the permutation of 0 to ``count - 1`` that belongs to ``seed`` sends these places.

    Raises ValueError for a place that is none."""
    if len(places) and not 0 <= places.min() <= places.max() < count:
        raise ValueError(f"places must be from 0 to {count - 1}")
    half = np.uint64(max(1, ((count - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    keys = np.array([key(seed, number) for number in range(ROUNDS)], np.uint64)
    found = places.astype(np.uint64)
    out = np.ones(len(found), bool)
    while out.any():
        walk = found[out]
        left, right = walk >> half, walk & mask
        for number in keys:
            left, right = right, left ^ (mixed(right + number) & mask)
        found[out] = left << half | right
        out = found >= np.uint64(count)
    return found.astype(np.int64)
