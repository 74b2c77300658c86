"""A residual step of few tokens in one call, in Numba: norm, projections, rotary turns, cache, attention, and back.

What PyTorch does in some thirty calls for a token. ``x`` [m, D] is the residual stream, flat and in float32, and is
changed in place. A matrix is ``(numbers, scales, bits)``: float32, bfloat16 (as uint16) or codes, as in :mod:`.dots`;
its bias and every norm may be empty. A norm is ``(kind, weight, bias, eps)``."""

import math
from typing import Any

import numpy as np
from numba import njit, prange, types
from numba.extending import overload

from . import LAYER, NONE
from .dots import Array, all_pieces, rows_float, rows_int4, rows_int8
from .lanes import add, divide, exponential, fma, load, spread, store, total, zeros

BLOCK = 16  # rows of a matrix that a thread takes at a time
Sizes, Strides = tuple[int, int, int, int, int], tuple[int, int, int]
GELU, GELU_TANH, GELU_QUICK, RELU, SILU, TANH, IDENTITY = range(7)  # as in the table of the plain activations


def prepare(x: Array, matrix: Any, m: int, n: int) -> Any:
    """What all products of ``x`` with matrices of one kind share."""
    raise NotImplementedError  # only compiled code calls it


def columns(x: Array, ready: Any, matrix: Any, first: int, last: int, m: int, n: int, out: Array) -> None:
    """Columns ``first .. last`` of ``out [m, o] = x [m, n] wᵀ`` for a matrix of any kind."""
    raise NotImplementedError  # only compiled code calls it


@overload(prepare, strict=False)
def choose_pieces(x: Any, matrix: Any, m: Any, n: Any) -> Any:
    kind = matrix[0].dtype
    if kind == types.int8:
        return lambda x, matrix, m, n: all_pieces(x, m, n, 128, 0)
    if kind == types.uint8:
        return lambda x, matrix, m, n: all_pieces(x, m, n, 8, 1 << matrix[2] - 1)
    return lambda x, matrix, m, n: (x, x, x, x)


@overload(columns, strict=False)
def choose_rows(x: Any, ready: Any, matrix: Any, first: Any, last: Any, m: Any, n: Any, out: Any) -> Any:
    kind = matrix[0].dtype
    if kind == types.int8:
        return lambda x, ready, matrix, first, last, m, n, out: rows_int8(x, ready, *matrix, first, last, m, n, out)
    if kind == types.uint8:
        return lambda x, ready, matrix, first, last, m, n, out: rows_int4(x, ready, *matrix, first, last, m, n, out)
    return lambda x, ready, matrix, first, last, m, n, out: rows_float(x, matrix[0], first, last, m, n, out)


@njit(parallel=True, cache=True)
def multiply(
    x: Array, m: int, n: int, matrices: tuple[Any, Any, Any], rows: tuple[int, int, int],
    outs: tuple[Array, Array, Array],
) -> None:  # fmt: skip
    """``out [m, o] = x [m, n] wᵀ`` for up to three matrices of one kind, of so many ``rows`` (0: none), at once."""
    p, q, r, t = prepare(x, matrices[0], m, n)  # a parallel loop takes arrays and numbers, no tuples in tuples
    (w0, s0, group), (w1, s1, _), (w2, s2, _) = matrices
    out0, out1, out2 = outs
    one = (rows[0] + BLOCK - 1) // BLOCK
    two = one + (rows[1] + BLOCK - 1) // BLOCK
    for block in prange(two + (rows[2] + BLOCK - 1) // BLOCK):
        if block < one:
            at = block * BLOCK
            columns(x, (p, q, r, t), (w0, s0, group), at, at + BLOCK, m, n, out0)
        elif block < two:
            at = (block - one) * BLOCK
            columns(x, (p, q, r, t), (w1, s1, group), at, at + BLOCK, m, n, out1)
        else:
            at = (block - two) * BLOCK
            columns(x, (p, q, r, t), (w2, s2, group), at, at + BLOCK, m, n, out2)


@njit(cache=True)
def multiplied(x: Array, matrix: Any, m: int, n: int, out: Array) -> None:
    """``out [m, o] = x [m, n] wᵀ``"""
    multiply(x, m, n, (matrix, matrix, matrix), (out.size // m, 0, 0), (out, out, out))


@njit(cache=True)
def project(
    x: Array, m: int, n: int, matrices: tuple[Any, Any, Any], biases: tuple[Array, Array, Array],
    rows: tuple[int, int, int],
) -> tuple[Array, Array, Array]:  # fmt: skip
    """``x wᵀ + b`` [m, o] for up to three matrices."""
    outs = np.empty(m * rows[0], np.float32), np.empty(m * rows[1], np.float32), np.empty(m * rows[2], np.float32)
    multiply(x, m, n, matrices, rows, outs)
    for which in range(3):
        out, bias, o = outs[which], biases[which], rows[which]
        if bias.size:
            for i in range(m):
                for j in range(o):
                    out[i * o + j] += bias[j]
    return outs


@njit(cache=True)
def normed(x: Array, norm: tuple[int, Array, Array, float], m: int, n: int) -> Array:
    """A new array with the norm of every row."""
    kind, weight, bias, eps = norm
    out = x.copy()
    if kind == NONE:
        return out
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
    return out


@njit(cache=True)
def join(x: Array, y: Array, after: Any, final: Any, m: int, n: int) -> None:
    """``x = final(x + after(y))``"""
    y = normed(y, after, m, n)
    for k in range(m * n):
        x[k] += y[k]
    if final[0] != NONE:
        x[:] = normed(x, final, m, n)


@njit(cache=True)
def gated(x: Array, steep: float, cubic: float) -> None:
    """``x σ(steep (x + cubic x³))`` in place: SiLU and both approximations of GELU."""
    one, minus, third = spread(np.float32(1)), spread(np.float32(-steep)), spread(np.float32(cubic))
    for k in range(0, x.size, 16):
        y = load(x, k)
        cube = fma(fma(y, y, zeros()), y, zeros())
        e = exponential(fma(fma(cube, third, y), minus, zeros()))
        store(x, k, divide(y, add(one, e)))


@njit(cache=True)
def activate(x: Array, act: int) -> None:
    """The activation, in place."""
    if act == SILU:
        gated(x, 1.0, 0.0)
    elif act == GELU_QUICK:
        gated(x, 1.702, 0.0)
    elif act == GELU_TANH:
        gated(x, 2 * math.sqrt(2 / math.pi), 0.044715)
    elif act != IDENTITY:
        for k in range(x.size):
            y = x[k]
            if act == GELU:
                x[k] = 0.5 * y * (1 + math.erf(y * math.sqrt(0.5)))
            else:
                x[k] = max(y, np.float32(0)) if act == RELU else math.tanh(y)


@njit(cache=True)
def feed(x: Array, m: int, n: int, hidden: int, norms: Any, matrices: Any, biases: Any, act: int) -> None:
    """``x = final(x + after(down(act(gate(y)) up(y))))`` with ``y = before(x)``; no gate: ``down(act(up(y)))``.

    Matrices and biases are those of up, gate and down."""
    before, after, final = norms
    _, gate, down = matrices
    y = normed(x, before, m, n)
    both = hidden, hidden if gate[0].size else 0, 0
    h, g, _ = project(y, m, n, matrices, biases, both)
    if gate[0].size:
        activate(g, act)
        for k in range(m * hidden):
            h[k] *= g[k]
    else:
        activate(h, act)
    back = project(h, m, hidden, (down, down, down), (biases[2], biases[2], biases[2]), (n, 0, 0))
    join(x, back[0], after, final, m, n)


@njit(cache=True)
def turn(x: Array, heads: int, d: int, m: int, cos: Array, sin: Array, stride: int, half: int) -> None:
    """Rotary positions in place: ``cos`` and ``sin`` [m or 1, half], ``stride`` apart from row to row."""
    for i in range(m):
        for h in range(heads):
            at, t = (i * heads + h) * d, i * stride
            for k in range(half):
                a, b, c, s = x[at + k], x[at + half + k], cos[t + k], sin[t + k]
                x[at + k], x[at + half + k] = a * c - b * s, b * c + a * s


@njit(parallel=True, cache=True)
def attend(
    q: Array, k: Array, v: Array, first: int, keys: int, sizes: Sizes, ks: Strides, vs: Strides, bias: Array,
    bs: Strides, scale: float, out: Array,
) -> None:  # fmt: skip
    """Attention of queries [B, Q, H, d] over ``keys`` slots from ``first`` on.

    ``sizes`` are B, Q, H, the heads of a key head, and d; ``ks`` and ``vs`` the strides of row, head and slot in keys
    and values, ``bs`` those of row, head and query in the numbers that are added to scores (empty: none)."""
    batch, queries, heads, share, d = sizes
    for task in prange(batch * heads):
        b, h = task // heads, task % heads
        kept = b * ks[0] + h // share * ks[1] + first * ks[2]
        values = b * vs[0] + h // share * vs[1] + first * vs[2]
        room = (keys + 15) // 16 * 16
        s = np.empty(room, np.float32)
        for i in range(queries):
            s[keys:] = -np.inf
            at, extra = ((b * queries + i) * heads + h) * d, b * bs[0] + h * bs[1] + i * bs[2]
            most = np.float32(-np.inf)
            for j in range(keys):
                t = zeros()
                for c in range(0, d, 16):
                    t = fma(load(k, kept + j * ks[2] + c), load(q, at + c), t)
                found = np.float32(scale) * total(t)
                if bias.size:
                    found += bias[extra + j]
                s[j] = found
                most = max(most, found)
            if most == -np.inf:  # a query that sees nothing gives 0
                out[at : at + d] = 0
                continue
            weight, shift = zeros(), spread(-most)
            for j in range(0, room, 16):
                e = exponential(add(load(s, j), shift))
                store(s, j, e)
                weight = add(weight, e)
            share_of = np.float32(1) / total(weight)
            for c in range(0, d, 16):
                t = zeros()
                for j in range(keys):
                    t = fma(load(v, values + j * vs[2] + c), spread(s[j]), t)
                store(out, at + c, fma(t, spread(share_of), zeros()))


@njit(cache=True)
def keep(new: Array, cache: Array, strides: Strides, at: int, sizes: tuple[int, int, int, int]) -> None:
    """Write keys or values [B, Q, G, d] into the slots of a cache from ``at`` on; ``sizes`` are B, Q, G and d."""
    batch, queries, heads, d = sizes
    for b in range(batch):
        for i in range(queries):
            for h in range(heads):
                source = ((b * queries + i) * heads + h) * d
                target = b * strides[0] + h * strides[1] + (at + i) * strides[2]
                for c in range(0, d, 16):
                    store(cache, target + c, load(new, source + c))


@njit(cache=True)
def mix(
    x: Array, n: int, sizes: Sizes, norms: Any, matrices: Any, biases: Any, o: Any, o_bias: Array, own: bool,
    scale: float, kept: tuple[Array, Strides, Array, Strides], place: Any, seen: Any,
) -> None:  # fmt: skip
    """``x = final(x + after(attention(before(x))))`` over cached keys and values.

    Matrices and biases are those of q, k and v. ``place`` are cosines and sines, the step from one token's to the
    next, and how many pairs turn. ``seen`` are the slot where new keys are written, if they are its ``own``, the
    first slot that is seen, how many are, and what is added to scores, with its strides."""
    batch, queries, heads, share, d = sizes
    before, after, final = norms
    keys, ks, values, vs = kept
    cos, sin, stride, half = place
    at, first, count, bias, bs = seen
    m, wide, narrow = batch * queries, heads * d, heads // share * d
    rows = wide, narrow if own else 0, narrow if own else 0
    q, k, v = project(normed(x, before, m, n), m, n, matrices, biases, rows)
    if half:
        turn(q, heads, d, m, cos, sin, stride, half)
    if own:
        if half:
            turn(k, heads // share, d, m, cos, sin, stride, half)
        keep(k, keys, ks, at, (batch, queries, heads // share, d))
        keep(v, values, vs, at, (batch, queries, heads // share, d))
    out = np.empty(m * wide, np.float32)
    attend(q, keys, values, first, count, sizes, ks, vs, bias, bs, scale, out)
    back = project(out, m, wide, (o, o, o), (o_bias, o_bias, o_bias), (n, 0, 0))
    join(x, back[0], after, final, m, n)


@njit(cache=True)
def layer(x: Array, n: int, sizes: Sizes, place: Any, mixing: Any, kept: Any, seen: Any, feeding: Any) -> None:
    """A block of an attention and a feed-forward network: what :func:`mix` and :func:`feed` take."""
    mix(x, n, sizes, *mixing, kept, place, seen)
    feed(x, sizes[0] * sizes[1], n, *feeding)


@njit(cache=True)
def reading_layer(
    x: Array, n: int, sizes: Sizes, place: Any, mixing: Any, kept: Any, seen: Any, reading: Any, memory: Any,
    memory_seen: Any, feeding: Any,
) -> None:  # fmt: skip
    """The same with an attention to a memory between the two."""
    mix(x, n, sizes, *mixing, kept, place, seen)
    mix(x, n, sizes, *reading, memory, place, memory_seen)
    feed(x, sizes[0] * sizes[1], n, *feeding)
