"""Attention of few tokens over a cache of keys and values, in Numba: threads of a team take heads.

Queries are [B, Q, H, d], new keys and values [B, Q, G, d], all flat; a cache has strides of its own."""

from typing import Any

import numpy as np
from numba import njit

from .dots import Array
from .lanes import add, exponential, fma, load, spread, store, total, zeros
from .team import Team, did, meet, take

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

    ``sizes`` are B, Q, H, the heads of a key head, and d. ``seen`` are the first slot that is seen, how many are, and
    what is added to scores (empty: nothing), with its strides of row, head and query."""
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
def attend_head(
    q: Array, kept: Kept, place: Any, seen: Any, sizes: Sizes, scale: float, out: Array, b: int, h: int, s: Array
) -> None:
    """The same for head ``h`` of row ``b``; ``s`` is room for scores, a multiple of 16."""
    _, queries, heads, share, d = sizes
    k, ks, v, vs, start = kept
    cos, sin, stride, half = place
    first, keys, bias, bs = seen
    begin = b * ks[0] + h // share * ks[1] + (first - start) * ks[2]
    values = b * vs[0] + h // share * vs[1] + (first - start) * vs[2]
    for i in range(queries):
        s[keys:] = -np.inf
        at, extra = ((b * queries + i) * heads + h) * d, b * bs[0] + h * bs[1] + i * bs[2]
        turn(q, at, cos, sin, (b * queries + i) * stride, half)
        most = np.float32(-np.inf)
        for j in range(keys):
            t = zeros()
            for c in range(0, d, 16):
                t = fma(load(k, begin + j * ks[2] + c), load(q, at + c), t)
            found = np.float32(scale) * total(t)
            if bias.size:
                found += bias[extra + j]
            s[j] = found
            most = max(most, found)
        if most == -np.inf:  # a query that sees nothing gives 0
            out[at : at + d] = 0
            continue
        weight, shift = zeros(), spread(-most)
        for j in range(0, s.size, 16):
            e = exponential(add(load(s, j), shift))
            store(s, j, e)
            weight = add(weight, e)
        part = np.float32(1) / total(weight)
        for c in range(0, d, 16):
            t = zeros()
            for j in range(keys):
                t = fma(load(v, values + j * vs[2] + c), spread(s[j]), t)
            store(out, at + c, fma(t, spread(part), zeros()))
