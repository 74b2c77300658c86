"""Dot products in Numba: a row of weights with a row of activations, at the speed of memory.

Where one row is multiplied with a large matrix, reading the matrix is all of the time. Weights are float32, bfloat16
(its bits as uint16), or codes of 8 or 4 bits with bfloat16 scales, as in :mod:`..kernels.packed`. For codes,
activations become integers of 15 bits, two octets each: sums are exact, and nothing but the weights is rounded
visibly. Matrices are flat here, because a view of a row costs as much as a short row; ``n`` is their width, a multiple
of 64, and a group of codes has ``2^bits`` columns, 32 or more."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .lanes import (
    add,
    fetch,
    fetch_64,
    fma,
    joined,
    largest,
    load,
    load_codes,
    load_ints,
    load_signed,
    nearest,
    quads,
    split,
    spread,
    spread_bfloat16,
    spread_two,
    store_offset,
    top,
    total,
    zeros,
)  # fmt: skip

Array = NDArray[np.generic]
Pieces = tuple[Array, Array, Array, Array]  # the upper and lower octets, what takes out the offset, and scales
ALONE = 2  # so many rows of activations meet the weights as they are; for more, weights are made float32 first
AHEAD = 4096  # codes that are asked for before they are read; half as many numbers of bfloat16 or float32
LARGEST = np.float32(127 * 128)  # of an integer of 15 bits


@njit(cache=True)
def dot(w: Array, at: int, x: Array, i: int, n: int) -> float:
    """``n`` weights from ``at`` on, times activations from ``i`` on."""
    a, b, c, d = zeros(), zeros(), zeros(), zeros()
    for k in range(0, n, 64):
        fetch_64(w, at + k + AHEAD // 2)
        a = fma(load(w, at + k), load(x, i + k), a)
        b = fma(load(w, at + k + 16), load(x, i + k + 16), b)
        c = fma(load(w, at + k + 32), load(x, i + k + 32), c)
        d = fma(load(w, at + k + 48), load(x, i + k + 48), d)
    return total(add(add(a, b), add(c, d)))


@njit(cache=True)
def dot_codes(w: Array, scales: Array, bits: int, at: int, x: tuple[Array, Array, Array], i: int, n: int) -> float:
    """The same with codes of 8 or 4 bits, and with pieces of activations."""
    upper, lower, start = x
    t = zeros()
    for k in range(0, n, 64):
        u, j = load_codes(w, at + k), i + k >> 1
        fetch(w, at + k + AHEAD)
        high = quads(load_ints(start, j), u, load_signed(upper, i + k))
        low = quads(load_ints(start, j + 16), u, load_signed(lower, i + k))
        g = at + k >> bits
        scale = spread_two(scales, g) if bits == 5 else spread_bfloat16(scales, g)
        t = fma(joined(high, low), scale, t)
    return total(t)


@njit(cache=True)
def pieces(x: Array, at: int, n: int, offset: int, half: int, upper: Array, lower: Array, start: Array) -> float:
    """``x ≈ scale (128 upper + lower)``, octets in the order of the codes; ``start`` takes out the codes' offset.

    ``half`` is how many codes lie in lower halves of bytes before those in their upper halves; 0: codes are bytes."""
    most = zeros()
    for k in range(at, at + n, 16):
        most = largest(load(x, k), most)
    bound = max(top(most), np.float32(1e-30))
    inverse = spread(LARGEST / bound)
    for k in range(0, n, 16):
        column = k
        if half:
            byte = (k >> 6 << 5) + (k >> 1 & 16)
            column = byte + byte // half * half + (half if k & 16 else 0)
        split(nearest(fma(load(x, at + column), inverse, zeros())), upper, lower, at + k)
    for k in range(at, at + n, 64):
        store_offset(start, k >> 1, np.int32(offset), load_signed(upper, k))
        store_offset(start, (k >> 1) + 16, np.int32(offset), load_signed(lower, k))
    return bound / LARGEST


@njit(cache=True)
def all_pieces(x: Array, m: int, n: int, offset: int, half: int) -> Pieces:
    """The pieces of so few rows that they meet the codes as they are, and their scales; of more rows nothing."""
    m = m if m <= ALONE else 0
    parts = np.empty(m * n, np.int8), np.empty(m * n, np.int8), np.empty(m * n // 2, np.int32)
    scales = np.empty(m, np.float32)
    for i in range(m):
        scales[i] = pieces(x, i * n, n, offset, half, *parts)
    return *parts, scales
