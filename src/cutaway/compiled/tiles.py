"""Products of several rows in Numba: what is read of a matrix meets all of them, and what is loaded is used again.

Sixteen sums of sixteen numbers stay in registers while two rows of weights meet eight of activations, or four meet
four. A sum is made in one order wherever it is made, so it changes nothing who takes which rows."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from .dots import AHEAD, Array, dot
from .lanes import fetch, fetch_64, fma, load, load_int8, load_lower, load_upper, spread_bfloat16, store, zeros
from .vectors import Builder, Value, pick, place

Four = tuple[Any, Any, Any, Any]  # of sixteen numbers


@njit(cache=True)
def four(x: Array, at: int, n: int) -> Four:
    """Sixteen numbers of four rows."""
    return load(x, at), load(x, at + n), load(x, at + 2 * n), load(x, at + 3 * n)


@njit(cache=True)
def grown(sums: Four, v: Any, rows: Four) -> Four:
    """Four sums and the products of sixteen numbers with each of four rows."""
    return fma(v, rows[0], sums[0]), fma(v, rows[1], sums[1]), fma(v, rows[2], sums[2]), fma(v, rows[3], sums[3])


@intrinsic
def put(typing: Any, sums: Any, out: Any, at: Any, step: Any) -> Any:
    """Write the totals of four or sixteen sums, that of ``sums[t][i]`` to ``out[at + i step + t]``.

    Pairs of sums are added lane by lane until each lane is a total: a third of the work of one total after another."""
    rows, columns = len(sums), len(sums[0])

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        sums, out, at, step = args
        parts, size = [b.extract_value(sums, [t, i]) for i in range(columns) for t in range(rows)], 16
        while size > 1:  # so many lanes in a row belong to one sum
            first = [lane for lane in range(32) if lane % size < size // 2]
            second = [lane + size // 2 for lane in first]
            pairs = zip(parts[::2], parts[1::2] or parts, strict=True)
            parts, size = [b.fadd(pick(b, x, y, first), pick(b, x, y, second)) for x, y in pairs], size // 2
        for i in range(columns):
            some = pick(b, parts[0], parts[0], list(range(i * rows, i * rows + rows)))
            target = b.add(at, b.mul(step, ir.Constant(step.type, i)))
            b.store(some, place(context, b, signature.args[1], out, target, some.type)).align = 4
        return context.get_dummy_value()

    return types.none(sums, out, types.intp, types.intp), code


@njit(cache=True)
def one_by_four(one: Array, at: int, x: Array, i: int, n: int, out: Array, q: int, step: int) -> None:
    """A row of one kind times four of the other."""
    a = zeros(), zeros(), zeros(), zeros()
    for k in range(0, n, 16):
        fetch(one, at + k + AHEAD // 2)
        a = grown(a, load(one, at + k), four(x, i + k, n))
    put((a,), out, q, step)


@njit(cache=True)
def two_by_eight(w: Array, at: int, x: Array, i: int, n: int, out: Array, q: int, step: int) -> None:
    """Two rows of weights, as they come from memory, times eight of activations."""
    none = zeros(), zeros(), zeros(), zeros()
    a, b, c, d = none, none, none, none
    for first in range(0, n, 64):
        fetch_64(w, at + 2 * (n + first))
        fetch_64(w, at + 2 * (n + first) + 64)
        for k in range(first, first + 64, 16):
            u, v, y = load(w, at + k), load(w, at + n + k), four(x, i + k, n)
            a, b = grown(a, u, y), grown(b, v, y)
            y = four(x, i + 4 * n + k, n)
            c, d = grown(c, u, y), grown(d, v, y)
    put((a + c, b + d), out, q, step)


@njit(cache=True)
def four_by_four(w: Array, at: int, x: Array, i: int, n: int, out: Array, q: int, step: int) -> None:
    """Four rows of weights times four of activations: what is loaded is used four times."""
    none = zeros(), zeros(), zeros(), zeros()
    a, b, c, d = none, none, none, none
    for k in range(0, n, 16):
        y = four(x, i + k, n)
        a, b = grown(a, load(w, at + k), y), grown(b, load(w, at + n + k), y)
        c, d = grown(c, load(w, at + 2 * n + k), y), grown(d, load(w, at + 3 * n + k), y)
    put((a, b, c, d), out, q, step)


@njit(cache=True)
def by_one(w: Array, at: int, x: Array, i: int, m: int, n: int, out: Array, r: int, rows: int) -> None:
    """A row of weights with rows ``i .. m`` of ``x``."""
    while i + 4 <= m:
        one_by_four(w, at, x, i * n, n, out, i * rows + r, rows)
        i += 4
    while i < m:
        out[i * rows + r] = dot(w, at, x, i * n, n)
        i += 1


@njit(cache=True)
def streamed(w: Array, x: Array, first: int, last: int, m: int, n: int, out: Array, rows: int) -> None:
    """Rows of weights, as they come from memory, with each of the ``m`` rows of ``x``."""
    eights, end = m // 8 * 8, first + (last - first) // 2 * 2
    for r in range(first, end, 2):
        for i in range(0, eights, 8):
            two_by_eight(w, r * n, x, i * n, n, out, i * rows + r, rows)
        by_one(w, r * n, x, eights, m, n, out, r, rows)
        by_one(w, (r + 1) * n, x, eights, m, n, out, r + 1, rows)
    if end < last:
        by_one(w, end * n, x, 0, m, n, out, end, rows)


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
        scale = spread_bfloat16(scales, at + k >> bits)
        for j in range(0, half, 16):
            store(out, k + j, fma(load_lower(w, at + k + 2 * j), scale, zeros()))
            store(out, k + half + j, fma(load_upper(w, at + k + 2 * j), scale, zeros()))


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
