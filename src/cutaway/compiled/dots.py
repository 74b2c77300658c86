"""Products with few rows, in Numba: a matrix is read once, at the speed of memory, and never copied.

Where one row or a few are multiplied with a large matrix, reading the matrix is all of the time. Weights are float32,
bfloat16 (its bits as uint16), or codes of 8 or 4 bits with bfloat16 scales, as in :mod:`..kernels.packed`. For codes,
activations become integers of 15 bits, two octets each: sums are exact, and nothing but the weights is rounded
visibly. Matrices are flat here, because a view of a row costs as much as a short row; ``n`` is their width, a multiple
of 64, and a group of codes has ``2^bits`` columns, 32 or more."""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from .lanes import (
    add,
    fetch,
    fma,
    joined,
    largest,
    load,
    load_int8,
    load_ints,
    load_lower,
    load_nibbles,
    load_raised,
    load_signed,
    load_upper,
    nearest,
    quads,
    split,
    spread,
    spread_bfloat16,
    spread_two_by_4,
    spread_two_by_8,
    store,
    store_offset,
    top,
    total,
    zeros,
)  # fmt: skip

Array = NDArray[np.generic]
Four = tuple[Any, Any, Any, Any]  # of sixteen numbers
Pieces = tuple[Array, Array, Array, Array]  # the upper and lower octets, what takes out the offset, and scales
STREAMED = 2**13  # numbers of activations that stay near while weights of floats stream by
ALONE = 2  # so many rows of activations meet the weights as they are; for more, weights are made float32 first
AHEAD = 2048  # bytes of codes that are asked for before they are read
LARGEST = np.float32(127 * 128)  # of an integer of 15 bits


@njit(cache=True)
def dot(w: Array, at: int, x: Array, i: int, n: int) -> float:
    """``n`` weights from ``at`` on, times activations from ``i`` on."""
    a, b, c, d = zeros(), zeros(), zeros(), zeros()
    for k in range(0, n, 64):
        fetch(w, at + k + AHEAD // 2)
        fetch(w, at + k + AHEAD // 2 + 32)
        a = fma(load(w, at + k), load(x, i + k), a)
        b = fma(load(w, at + k + 16), load(x, i + k + 16), b)
        c = fma(load(w, at + k + 32), load(x, i + k + 32), c)
        d = fma(load(w, at + k + 48), load(x, i + k + 48), d)
    return total(add(add(a, b), add(c, d)))


@njit(cache=True)
def dot_int8(w: Array, scales: Array, bits: int, at: int, x: tuple[Array, Array, Array], i: int, n: int) -> float:
    upper, lower, start = x
    t = zeros()
    for k in range(0, n, 64):
        u, j = load_raised(w, at + k), i + k >> 1
        fetch(w, at + k + AHEAD)
        high = quads(load_ints(start, j), u, load_signed(upper, i + k))
        low = quads(load_ints(start, j + 16), u, load_signed(lower, i + k))
        g = at + k >> bits
        scale = spread_two_by_8(scales, g) if bits == 5 else spread_bfloat16(scales, g)
        t = fma(joined(high, low), scale, t)
    return total(t)


@njit(cache=True)
def dot_int4(w: Array, scales: Array, bits: int, at: int, x: tuple[Array, Array, Array], i: int, n: int) -> float:
    upper, lower, start = x
    t = zeros()
    for k in range(0, n, 64):
        u, j = load_nibbles(w, at + k >> 1), i + k >> 1
        fetch(w, (at + k >> 1) + AHEAD)
        high = quads(load_ints(start, j), u, load_signed(upper, i + k))
        low = quads(load_ints(start, j + 16), u, load_signed(lower, i + k))
        g = at + k >> bits
        scale = spread_two_by_4(scales, g) if bits == 5 else spread_bfloat16(scales, g)
        t = fma(joined(high, low), scale, t)
    return total(t)


@njit(cache=True)
def four(x: Array, at: int, n: int) -> Four:
    """Sixteen numbers of four rows."""
    return load(x, at), load(x, at + n), load(x, at + 2 * n), load(x, at + 3 * n)


@njit(cache=True)
def grown(sums: Four, v: Any, rows: Four) -> Four:
    """Four sums and the products of sixteen numbers with each of four rows."""
    return fma(v, rows[0], sums[0]), fma(v, rows[1], sums[1]), fma(v, rows[2], sums[2]), fma(v, rows[3], sums[3])


@njit(cache=True)
def put(sums: Four, out: Array, at: int, step: int) -> None:
    out[at], out[at + step] = total(sums[0]), total(sums[1])
    out[at + 2 * step], out[at + 3 * step] = total(sums[2]), total(sums[3])


@njit(cache=True)
def one_by_eight(w: Array, at: int, x: Array, i: int, n: int, out: Array, q: int, step: int) -> None:
    """A row of weights, as it comes from memory, times eight of activations."""
    none = zeros(), zeros(), zeros(), zeros()
    a, b = none, none
    for k in range(0, n, 16):
        fetch(w, at + k + AHEAD // 2)
        v = load(w, at + k)
        a, b = grown(a, v, four(x, i + k, n)), grown(b, v, four(x, i + 4 * n + k, n))
    put(a, out, q, step)
    put(b, out, q + 4 * step, step)


@njit(cache=True)
def one_by_four(one: Array, at: int, x: Array, i: int, n: int, out: Array, q: int, step: int) -> None:
    """A row of one kind times four of the other."""
    a = zeros(), zeros(), zeros(), zeros()
    for k in range(0, n, 16):
        fetch(one, at + k + AHEAD // 2)
        a = grown(a, load(one, at + k), four(x, i + k, n))
    put(a, out, q, step)


@njit(cache=True)
def four_by_four(w: Array, at: int, x: Array, i: int, n: int, out: Array, q: int, step: int) -> None:
    """Four rows of weights times four of activations: what is loaded is used four times."""
    none = zeros(), zeros(), zeros(), zeros()
    a, b, c, d = none, none, none, none
    for k in range(0, n, 16):
        y = four(x, i + k, n)
        a, b = grown(a, load(w, at + k), y), grown(b, load(w, at + n + k), y)
        c, d = grown(c, load(w, at + 2 * n + k), y), grown(d, load(w, at + 3 * n + k), y)
    put(a, out, q, step)
    put(b, out, q + 1, step)
    put(c, out, q + 2, step)
    put(d, out, q + 3, step)


@njit(cache=True)
def by_one(w: Array, at: int, x: Array, m: int, n: int, out: Array, r: int, rows: int) -> None:
    """A row of weights with each of the ``m`` rows of ``x``."""
    i = 0
    while i + 8 <= m:
        one_by_eight(w, at, x, i * n, n, out, i * rows + r, rows)
        i += 8
    while i + 4 <= m:
        one_by_four(w, at, x, i * n, n, out, i * rows + r, rows)
        i += 4
    while i < m:
        out[i * rows + r] = dot(w, at, x, i * n, n)
        i += 1


@njit(cache=True)
def by_four(w: Array, at: int, x: Array, m: int, n: int, out: Array, r: int, rows: int) -> None:
    """Four rows of weights with each of the ``m`` rows of ``x``."""
    i = 0
    while i + 4 <= m:
        four_by_four(w, at, x, i * n, n, out, i * rows + r, rows)
        i += 4
    while i < m:
        one_by_four(x, i * n, w, at, n, out, i * rows + r, 1)
        i += 1


@njit(cache=True)
def aligned(size: int) -> Array:
    """Room for so many numbers, where lines of the cache begin."""
    room = np.empty(size + 16, np.float32)
    first = -room.ctypes.data // 4 % 16
    return room[first : first + size]


@njit(cache=True)
def widen_bfloat16(w: Array, at: int, out: Array, n: int) -> None:
    for k in range(0, n, 16):
        fetch(w, at + k + AHEAD // 2)
        store(out, k, load(w, at + k))


@njit(cache=True)
def widen_int8(w: Array, scales: Array, bits: int, at: int, out: Array, n: int) -> None:
    for k in range(0, n, 32):
        scale = spread_bfloat16(scales, at + k >> bits)
        fetch(w, at + k + AHEAD)
        store(out, k, fma(load_int8(w, at + k), scale, zeros()))
        store(out, k + 16, fma(load_int8(w, at + k + 16), scale, zeros()))


@njit(cache=True)
def widen_int4(w: Array, scales: Array, bits: int, at: int, out: Array, n: int) -> None:
    half = 1 << bits - 1
    for k in range(0, n, 2 * half):
        scale, byte = spread_bfloat16(scales, at + k >> bits), at + k >> 1
        for j in range(0, half, 16):
            store(out, k + j, fma(load_lower(w, byte + j), scale, zeros()))
            store(out, k + half + j, fma(load_upper(w, byte + j), scale, zeros()))


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
            byte = (k >> 6 << 5) + (k & 31)
            column = byte + byte // half * half + (half if k & 32 else 0)
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


def widen(w: Array, scales: Array, bits: int, at: int, out: Array, n: int) -> None:
    """``n`` weights from ``at`` on, as float32."""
    raise NotImplementedError  # only compiled code calls it


@overload(widen, strict=False)
def choose_widen(w: Any, scales: Any, bits: Any, at: Any, out: Any, n: Any) -> Any:
    if w.dtype == types.int8:
        return lambda w, scales, bits, at, out, n: widen_int8(w, scales, bits, at, out, n)
    if w.dtype == types.uint8:
        return lambda w, scales, bits, at, out, n: widen_int4(w, scales, bits, at, out, n)
    return lambda w, scales, bits, at, out, n: widen_bfloat16(w, at, out, n)


@njit(cache=True)
def rows_wide(
    x: Array, w: Array, scales: Array, bits: int, rows: int, first: int, last: int, m: int, n: int, out: Array
) -> None:
    """Columns ``first .. last`` of ``out [m, rows] = x [m, n] wᵀ``, by way of weights of float32."""
    wide = aligned(4 * n)
    for r in range(first, last, 4):
        have = min(4, last - r)
        widen(w, scales, bits, r * n, wide, have * n)
        if have == 4:
            by_four(wide, 0, x, m, n, out, r, rows)
        else:
            for t in range(have):
                by_one(wide, t * n, x, m, n, out, r + t, rows)


@njit(cache=True)
def rows_float(x: Array, w: Array, first: int, last: int, m: int, n: int, out: Array) -> None:
    """The same with weights of float32."""
    rows, r = w.size // n, first
    while m * n > STREAMED and r + 4 <= last:
        by_four(w, r * n, x, m, n, out, r, rows)
        r += 4
    while r < last:
        by_one(w, r * n, x, m, n, out, r, rows)
        r += 1


@njit(cache=True)
def rows_bfloat16(
    x: Array, w: Array, scales: Array, bits: int, first: int, last: int, m: int, n: int, out: Array
) -> None:
    """The same with weights of bfloat16, as uint16."""
    rows = w.size // n
    if m * n > STREAMED:
        rows_wide(x, w, scales, bits, rows, first, last, m, n, out)
    else:
        for r in range(first, last):
            by_one(w, r * n, x, m, n, out, r, rows)


@njit(cache=True)
def rows_int8(
    x: Array, ready: Pieces, codes: Array, scales: Array, bits: int, first: int, last: int, m: int, n: int, out: Array
) -> None:
    """The same with codes of 8 bits [o, n] and the bits of scales [o, n / group]."""
    rows, parts, step = codes.size // n, ready[:3], ready[3]
    if m > ALONE:
        rows_wide(x, codes, scales, bits, rows, first, last, m, n, out)
    else:
        for r in range(first, last):
            for i in range(m):
                out[i * rows + r] = step[i] * dot_int8(codes, scales, bits, r * n, parts, i * n, n)


@njit(cache=True)
def rows_int4(
    x: Array, ready: Pieces, codes: Array, scales: Array, bits: int, first: int, last: int, m: int, n: int, out: Array
) -> None:
    """The same with codes of 4 bits [o, n / 2]."""
    rows, parts, step = 2 * codes.size // n, ready[:3], ready[3]
    if m > ALONE:
        rows_wide(x, codes, scales, bits, rows, first, last, m, n, out)
    else:
        for r in range(first, last):
            for i in range(m):
                out[i * rows + r] = step[i] * dot_int4(codes, scales, bits, r * n, parts, i * n, n)
