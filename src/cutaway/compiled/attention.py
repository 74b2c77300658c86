"""Attention of few tokens over a cache of keys and values, in Numba: threads of a team take heads.

Queries are [B, Q, H, d], new keys and values [B, Q, G, d], all flat; a cache has strides of its own."""

from typing import Any

import numpy as np
from numba import njit

from .dots import Array
from .lanes import add, divide, exponential, fma, higher, load, spread, store, top, total, zeros
from .team import Team, did, meet, take
from .tiles import four, grown, put

Sizes, Strides = tuple[int, int, int, int, int], tuple[int, int, int]
Kept = tuple[Array, Strides, Array, Strides, int]  # keys, values, strides of row, head and slot; the first slot


@njit(cache=True)
def turn(x: Array, at: int, cos: Array, sin: Array, t: int, half: int) -> None:
    """Rotary positions in place, for one head of one token, whose cosines and sines begin at ``t``."""
    for k in range(half):
        a, b, c, s = x[at + k], x[at + half + k], cos[t + k], sin[t + k]
        x[at + k], x[at + half + k] = a * c - b * s, b * c + a * s


@njit(cache=True)
def keep(team: Team, k: Array, v: Array, kept: Kept, at: int, place: Any, sizes: Sizes) -> None:
    """Turn new keys, and write them and new values into the slots of a cache from ``at`` on."""
    batch, queries, heads, share, d = sizes
    keys, ks, values, vs, begin = kept
    cos, sin, stride, half = place
    groups = heads // share
    task, end = take(team, batch * groups, 1)
    while task < end:
        for b, h in [(i // groups, i % groups) for i in range(task, end)]:
            for i in range(queries):
                source = ((b * queries + i) * groups + h) * d
                turn(k, source, cos, sin, (b * queries + i) * stride, half)
                for c in range(0, d, 16):
                    store(keys, b * ks[0] + h * ks[1] + (at - begin + i) * ks[2] + c, load(k, source + c))
                    store(values, b * vs[0] + h * vs[1] + (at - begin + i) * vs[2] + c, load(v, source + c))
        did(team, end - task)
        task, end = take(team, batch * groups, 1)
    meet(team, batch * groups)


@njit(cache=True)
def attend(team: Team, q: Array, kept: Kept, place: Any, seen: Any, sizes: Sizes, scale: float, out: Array) -> None:
    """Turn queries, and their attention over slots of the cache.

    ``sizes`` are B, Q, H, the heads of a key head, and d. ``seen`` are the first slot that is seen, how many are, what
    scores are capped at (0: nothing), and what is added to them then (empty: nothing), with its strides of row, head
    and query."""
    batch, heads = sizes[0], sizes[2]
    task, end = take(team, batch * heads, 1)
    if task < end:
        s = np.empty((seen[1] + 15) // 16 * 16, np.float32)
        while task < end:
            for i in range(task, end):
                attend_head(q, kept, place, seen, sizes, scale, out, i // heads, i % heads, s)
            did(team, end - task)
            task, end = take(team, batch * heads, 1)
    meet(team, batch * heads)


@njit(cache=True)
def compared(q: Array, at: int, k: Array, begin: int, stride: int, keys: int, d: int, s: Array) -> None:
    """The products of a query with so many keys."""
    none = zeros(), zeros(), zeros(), zeros()
    whole = keys // 16 * 16
    for j in range(0, whole, 16):  # every fourth key is added to one of the four
        w, x, y, z = none, none, none, none
        for c in range(0, d, 16):
            u, row = load(q, at + c), begin + j * stride + c
            w, x = grown(w, u, four(k, row, 4 * stride)), grown(x, u, four(k, row + stride, 4 * stride))
            row += 2 * stride
            y, z = grown(y, u, four(k, row, 4 * stride)), grown(z, u, four(k, row + stride, 4 * stride))
        put((w, x, y, z), s, j, 4)
    for j in range(whole, keys):
        t = zeros()
        for c in range(0, d, 16):
            t = fma(load(k, begin + j * stride + c), load(q, at + c), t)
        s[j] = total(t)


@njit(cache=True)
def summed(s: Array, v: Array, begin: int, stride: int, keys: int, d: int, out: Array, at: int) -> None:
    """The sum of so many values, times their weights: 64 numbers of each at a time, so that all are read once."""
    whole = d // 64 * 64
    for c in range(0, whole, 64):
        t = zeros(), zeros(), zeros(), zeros()
        for j in range(keys):
            t = grown(t, spread(s[j]), four(v, begin + j * stride + c, 16))
        for i in range(4):
            store(out, at + c + 16 * i, t[i])
    for c in range(whole, d, 16):
        one = zeros()
        for j in range(keys):
            one = fma(load(v, begin + j * stride + c), spread(s[j]), one)
        store(out, at + c, one)


@njit(cache=True)
def capped(s: Array, cap: float) -> None:
    """``cap tanh(s / cap)`` in place."""
    one, high, low = spread(np.float32(1)), spread(np.float32(cap)), spread(np.float32(-2 * cap))
    steep = spread(np.float32(2 / cap))
    for j in range(0, s.size, 16):
        e = exponential(fma(load(s, j), steep, zeros()))
        store(s, j, fma(divide(one, add(one, e)), low, high))


@njit(cache=True)
def attend_head(
    q: Array, kept: Kept, place: Any, seen: Any, sizes: Sizes, scale: float, out: Array, b: int, h: int, s: Array
) -> None:
    """The same for head ``h`` of row ``b``; ``s`` is room for scores, a multiple of 16."""
    _, queries, heads, share, d = sizes
    k, ks, v, vs, start = kept
    cos, sin, stride, half = place
    first, keys, cap, bias, bs = seen
    begin = b * ks[0] + h // share * ks[1] + (first - start) * ks[2]
    values = b * vs[0] + h // share * vs[1] + (first - start) * vs[2]
    for i in range(queries):
        at, extra = ((b * queries + i) * heads + h) * d, b * bs[0] + h * bs[1] + i * bs[2]
        turn(q, at, cos, sin, (b * queries + i) * stride, half)
        for c in range(0, d, 16):
            store(q, at + c, fma(load(q, at + c), spread(np.float32(scale)), zeros()))
        compared(q, at, k, begin, ks[2], keys, d, s)
        if cap:
            capped(s, cap)
        s[keys:] = -np.inf
        if bias.size:
            for j in range(keys):
                s[j] += bias[extra + j]
        high = load(s, 0)
        for j in range(16, s.size, 16):
            high = higher(high, load(s, j))
        most = top(high)
        if most == -np.inf:  # a query that sees nothing gives 0
            out[at : at + d] = 0
            continue
        weight, shift = zeros(), spread(-most)
        for j in range(0, s.size, 16):
            e = exponential(add(load(s, j), shift))
            store(s, j, e)
            weight = add(weight, e)
        summed(s, v, values, vs[2], keys, d, out, at)
        part = spread(np.float32(1) / total(weight))
        for c in range(0, d, 16):
            store(out, at + c, fma(load(out, at + c), part, zeros()))
