"""A residual step of few tokens in one call, in Numba: norm, projections, rotary turns, cache, attention, and back.

What PyTorch does in some thirty calls for a token and layer. ``x`` [m, D] is the residual stream, flat and in float32;
it is changed in place. ``room`` is where threads find what others made. A matrix is ``(numbers, scales, bits)``:
float32, bfloat16 (as uint16) or codes, as in :mod:`.rows`; its bias and every norm may be empty. A norm is ``(kind,
weight, bias, eps)``."""

import math
from typing import Any

import numpy as np
from numba import njit, prange

from . import LAYER, NONE
from .attention import Kept, Sizes, attend, keep
from .dots import Array
from .lanes import add, divide, exponential, fma, load, spread, store, total, zeros
from .rows import columns, prepare
from .team import Team, did, elsewhere, lent, meet, rows_of, take
from .tiles import widen

BLOCK = 16  # rows of a matrix that stay with one thread
GELU, GELU_TANH, GELU_QUICK, RELU, SILU, TANH, IDENTITY = range(7)  # as in the table of the plain activations


@njit(cache=True)
def some(
    x: Array, ready: Any, matrix: Any, bias: Array, m: int, n: int, rows: int, first: int, last: int, out: Array
) -> None:
    """Columns ``first .. last``, as far as there are so many ``rows``, of ``out [m, rows] = x wᵀ + b``."""
    first, last = max(first, 0), min(last, rows)
    if first < last:
        columns(x, ready, matrix, first, last, m, n, out)
        if bias.size:
            for i in range(m):
                for j in range(first, last):
                    out[i * rows + j] += bias[j]


@njit(cache=True)
def product(team: Team, x: Array, matrix: Any, bias: Array, m: int, n: int, rows: int, out: Array) -> None:
    """``out [m, rows] = x [m, n] wᵀ + b``"""
    first, last = take(team, rows, BLOCK)
    if first < last:
        ready = prepare(x, matrix, m, n)
        while first < last:
            some(x, ready, matrix, bias, m, n, rows, first, last, out)
            did(team, last - first)
            first, last = take(team, rows, BLOCK)
    meet(team, rows)


@njit(cache=True, nogil=True)
def shared(crew: Any, x: Array, matrix: Any, m: int, n: int, bias: Array, out: Array) -> None:
    """The same by itself."""
    x, matrix, bias, out = lent((x, matrix, bias, out))
    product((*crew, np.zeros(1, np.int64)), x, matrix, bias, m, n, out.size // m, out)


@njit(parallel=True, cache=True)
def multiplied(x: Array, matrix: Any, m: int, n: int, bias: Array, out: Array) -> None:
    """The same by itself, by Numba's own threads: they are there sooner than others can be called, but wait for all."""
    rows, (w, s, group) = out.size // m, matrix
    p, q, r, t = prepare(x, matrix, m, n)  # a parallel loop takes arrays and numbers, no tuples in tuples
    for block in prange((rows + BLOCK - 1) // BLOCK):
        at = block * BLOCK
        some(x, (p, q, r, t), (w, s, group), bias, m, n, rows, at, at + BLOCK, out)


@njit(parallel=True, cache=True)
def dense(matrix: Any, rows: int, n: int, out: Array) -> None:
    """The numbers ``out [rows, n]`` of a matrix in codes."""
    w, s, bits = matrix
    for block in prange((rows + BLOCK - 1) // BLOCK):
        at, end = block * BLOCK * n, min((block + 1) * BLOCK, rows) * n
        widen(w, s, bits, at, out[at:end], end - at)


@njit(cache=True)
def normed(x: Array, norm: tuple[int, Array, Array, float], m: int, n: int, out: Array) -> None:
    """The norm of every row; ``out`` may be ``x``."""
    kind, weight, bias, eps = norm
    if kind == NONE:
        out[: m * n] = x[: m * n]
        return
    for i in range(m):
        at, mean = i * n, np.float32(0)
        if kind == LAYER:
            s = zeros()
            for k in range(0, n, 16):
                s = add(s, load(x, at + k))
            mean = total(s) / np.float32(n)
        s, shift = zeros(), spread(-mean)
        for k in range(0, n, 16):
            d = add(load(x, at + k), shift)
            s = fma(d, d, s)
        scale = spread(np.float32(1 / math.sqrt(total(s) / n + eps)))
        for k in range(0, n, 16):
            y = fma(add(load(x, at + k), shift), scale, zeros())
            y = fma(y, load(weight, k), load(bias, k) if bias.size else zeros())
            store(out, at + k, y)


@njit(cache=True)
def enter(team: Team, x: Array, before: Any, m: int, n: int, y: Array) -> None:
    """``y = before(x)``"""
    first, last = take(team, 1, 1)
    if first < last:
        normed(x, before, m, n, y)
        did(team, 1)
    meet(team, 1)


@njit(cache=True)
def norm_parts(team: Team, x: Array, norm: Any, size: int) -> None:
    """The norm of every part of so many numbers, heads or rows, in place; nothing where there is none."""
    if norm[0] != NONE:
        n = norm[1].size
        enter(team, x, norm, size // n, n, x)


@njit(cache=True)
def join(team: Team, x: Array, y: Array, after: Any, final: Any, m: int, n: int) -> None:
    """``x = final(x + after(y))``"""
    first, last = take(team, 1, 1)
    if first < last:
        normed(y, after, m, n, y)
        for k in range(0, m * n, 16):
            store(x, k, add(load(x, k), load(y, k)))
        normed(x, final, m, n, x)
        did(team, 1)
    meet(team, 1)


@njit(cache=True)
def gated(x: Array, first: int, last: int, steep: float, cubic: float) -> None:
    """``x σ(steep (x + cubic x³))`` in place: SiLU and both approximations of GELU."""
    one, minus, third = spread(np.float32(1)), spread(np.float32(-steep)), spread(np.float32(cubic))
    for k in range(first, last, 16):
        y = load(x, k)
        cube = fma(fma(y, y, zeros()), y, zeros())
        e = exponential(fma(fma(cube, third, y), minus, zeros()))
        store(x, k, divide(y, add(one, e)))


@njit(cache=True)
def activate(x: Array, first: int, last: int, act: int) -> None:
    """The activation, in place."""
    if act == SILU:
        gated(x, first, last, 1.0, 0.0)
    elif act == GELU_QUICK:
        gated(x, first, last, 1.702, 0.0)
    elif act == GELU_TANH:
        gated(x, first, last, 2 * math.sqrt(2 / math.pi), 0.044715)
    elif act != IDENTITY:
        for k in range(first, last):
            y = x[k]
            if act == GELU:
                x[k] = 0.5 * y * (1 + math.erf(y * math.sqrt(0.5)))
            else:
                x[k] = max(y, np.float32(0)) if act == RELU else math.tanh(y)


@njit(cache=True)
def feed(
    team: Team, x: Array, m: int, n: int, hidden: int, norms: Any, matrices: Any, biases: Any, act: int, room: Array
) -> None:
    """``x = final(x + after(down(act(gate(y)) up(y))))``, ``room`` begins with y; no gate: ``down(act(up(y)))``.

    Matrices and biases are those of up, gate and down."""
    (after, final), (up, gate, down), (up_bias, gate_bias, down_bias) = norms, matrices, biases
    y, h, g = room[: m * n], room[m * n :], room[m * (n + hidden) :]
    first, last = take(team, hidden, BLOCK)
    if first < last:
        ready = prepare(y, up, m, n)
        while first < last:
            some(y, ready, up, up_bias, m, n, hidden, first, last, h)
            if gate[0].size:
                some(y, ready, gate, gate_bias, m, n, hidden, first, last, g)
            for i in range(m):
                at, end = i * hidden + first, i * hidden + last
                if gate[0].size:
                    activate(g, at, end, act)
                    for k in range(at, end):
                        h[k] *= g[k]
                else:
                    activate(h, at, end, act)
            did(team, last - first)
            first, last = take(team, hidden, BLOCK)
    meet(team, hidden)
    product(team, h, down, down_bias, m, hidden, n, y)
    join(team, x, y, after, final, m, n)


@njit(cache=True)
def mix(
    team: Team, x: Array, n: int, sizes: Sizes, norms: Any, matrices: Any, biases: Any, own: bool, scale: float,
    kept: Kept, place: Any, at: int, seen: Any, room: Array,
) -> None:  # fmt: skip
    """``x = final(x + after(attention(before(x))))`` over cached keys and values.

    Matrices and biases are those of q, k, v and o; the last two norms are of q and k. ``place`` are cosines and sines,
    the step from one token's to the next, and how many pairs turn. ``at`` is the slot of the first new key, if they
    are its ``own``; ``seen`` is what :func:`attend` takes."""
    batch, queries, heads, share, d = sizes
    (wq, wk, wv, wo), (bq, bk, bv, bo), (before, after, final, q_norm, k_norm) = matrices, biases, norms
    m, wide, narrow = batch * queries, heads * d, heads // share * d
    y, q, mixed = room[: m * n], room[m * n :], room[m * (n + wide) :]
    k, v = room[m * (n + 2 * wide) :], room[m * (n + 2 * wide + narrow) :]
    enter(team, x, before, m, n, y)
    rows = wide + 2 * narrow if own else wide
    first, last = take(team, rows, BLOCK)
    if first < last:
        ready = prepare(y, wq, m, n)
        while first < last:
            some(y, ready, wq, bq, m, n, wide, first, last, q)
            some(y, ready, wk, bk, m, n, narrow, first - wide, last - wide, k)
            some(y, ready, wv, bv, m, n, narrow, first - wide - narrow, last - wide - narrow, v)
            did(team, last - first)
            first, last = take(team, rows, BLOCK)
    meet(team, rows)
    norm_parts(team, q, q_norm, m * wide)
    norm_parts(team, k, k_norm, m * narrow)
    if own:
        keep(team, k, v, kept, at, place, sizes)
    attend(team, q, kept, place, seen, sizes, scale, mixed)
    product(team, mixed, wo, bo, m, wide, n, y)
    join(team, x, y, after, final, m, n)


@njit(cache=True, nogil=True)
def layers(
    crew: Any, x: Array, n: int, sizes: Sizes, place: Any, at: int, seen: Any, block: Any, blocks: Array,
    kept: Kept, keeps: Array, room: Array,
) -> None:  # fmt: skip
    """Blocks of an attention and a feed-forward network, on the residual stream [m, n], in place; some blocks have the
    two side by side, so both read the same.

    ``block`` and ``kept`` are one of them and what it keeps, ``blocks`` and ``keeps`` all, for :func:`elsewhere`."""
    crew, x, place, seen, block, kept, room = lent((crew, x, place, seen, block, kept, room))
    team, m = (*crew, np.zeros(1, np.int64)), sizes[0] * sizes[1]
    for i in range(rows_of(blocks, block)):
        mixing, before, feeding, apart = elsewhere(block, blocks, i)
        if apart:
            enter(team, x, before, m, n, room)
        mix(team, x, n, sizes, *mixing, elsewhere(kept, keeps, i), place, at, seen, room[m * n :])
        if not apart:
            enter(team, x, before, m, n, room)
        feed(team, x, m, n, *feeding, room)


@njit(cache=True, nogil=True)
def reading_layers(
    crew: Any, x: Array, n: int, sizes: Sizes, place: Any, at: int, seen: Any, block: Any, blocks: Array,
    kept: Any, keeps: Array, room: Array,
) -> None:  # fmt: skip
    """The same with an attention to a memory between the two; ``kept`` and ``seen`` are two of each."""
    crew, x, place, seen, block, kept, room = lent((crew, x, place, seen, block, kept, room))
    team, m = (*crew, np.zeros(1, np.int64)), sizes[0] * sizes[1]
    for i in range(rows_of(blocks, block)):
        mixing, reading, before, feeding, _ = elsewhere(block, blocks, i)
        own, memory = elsewhere(kept, keeps, i)
        mix(team, x, n, sizes, *mixing, own, place, at, seen[0], room[m * n :])
        mix(team, x, n, sizes, *reading, memory, (place[0], place[1], 0, 0), at, seen[1], room[m * n :])
        enter(team, x, before, m, n, room)
        feed(team, x, m, n, *feeding, room)
