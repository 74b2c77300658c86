"""A residual step of few tokens in one call, in Numba: norm, projections, rotary turns, cache, attention, and back.

What PyTorch does in some thirty calls for a token. ``x`` [m, D] is the residual stream, flat and in float32, and is
changed in place. A matrix is ``(numbers, scales, bits)``: float32, bfloat16 (as uint16) or codes, as in :mod:`.dots`;
its bias and every norm may be empty. A norm is ``(kind, weight, bias, eps)``."""

import math
from typing import Any

import numpy as np
from numba import njit, prange, types
from numba.extending import overload

from .dots import Array, all_pieces, products, products_int4, products_int8
from .lanes import add, divide, exponential, fma, load, spread, store, total, zeros

NONE, LAYER, RMS = range(3)
GELU, GELU_TANH, GELU_QUICK, RELU, SILU, TANH, IDENTITY = range(7)  # as in the table of the plain activations


def prepare(x: Array, matrix: Any, m: int, n: int) -> Any:
    """What all products of ``x`` with matrices of one kind share."""
    raise NotImplementedError  # only compiled code calls it


def multiply(x: Array, ready: Any, matrix: Any, m: int, n: int, out: Array) -> None:
    """``out [m, o] = x [m, n] wᵀ`` for a matrix of any kind."""
    raise NotImplementedError  # only compiled code calls it


@overload(prepare, strict=False)
def choose_pieces(x: Any, matrix: Any, m: Any, n: Any) -> Any:
    kind = matrix[0].dtype
    if kind == types.int8:
        return lambda x, matrix, m, n: all_pieces(x, m, n, 128, 0)
    if kind == types.uint8:
        return lambda x, matrix, m, n: all_pieces(x, m, n, 8, 1 << matrix[2] - 1)
    return lambda x, matrix, m, n: x


@overload(multiply, strict=False)
def choose_product(x: Any, ready: Any, matrix: Any, m: Any, n: Any, out: Any) -> Any:
    kind = matrix[0].dtype
    if kind == types.int8:
        return lambda x, ready, matrix, m, n, out: products_int8(x, ready, *matrix, m, n, out)
    if kind == types.uint8:
        return lambda x, ready, matrix, m, n, out: products_int4(x, ready, *matrix, m, n, out)
    return lambda x, ready, matrix, m, n, out: products(x, matrix[0], m, n, out)


@njit(cache=True)
def multiplied(x: Array, matrix: Any, m: int, n: int, out: Array) -> None:
    """:func:`multiply`, to be called from Python."""
    multiply(x, prepare(x, matrix, m, n), matrix, m, n, out)


@njit(cache=True)
def project(x: Array, ready: Any, matrix: Any, bias: Array, m: int, n: int, o: int) -> Array:
    """``x wᵀ + b`` [m, o]"""
    out = np.empty(m * o, np.float32)
    multiply(x, ready, matrix, m, n, out)
    if bias.size:
        for i in range(m):
            for j in range(o):
                out[i * o + j] += bias[j]
    return out


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
def feed(
    x: Array, m: int, n: int, hidden: int, norms: Any, up: Any, up_bias: Array, gate: Any, gate_bias: Array, down: Any,
    down_bias: Array, act: int,
) -> None:  # fmt: skip
    """``x = final(x + after(down(act(gate(y)) up(y))))`` with ``y = before(x)``; no gate: ``down(act(up(y)))``."""
    before, after, final = norms
    y = normed(x, before, m, n)
    ready = prepare(y, up, m, n)
    h = project(y, ready, up, up_bias, m, n, hidden)
    if gate[0].size:
        g = project(y, ready, gate, gate_bias, m, n, hidden)
        activate(g, act)
        for k in range(m * hidden):
            h[k] *= g[k]
    else:
        activate(h, act)
    join(x, project(h, prepare(h, down, m, hidden), down, down_bias, m, hidden, n), after, final, m, n)


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
    q: Array, k: Array, v: Array, first: int, keys: int, sizes: tuple[int, int, int, int, int],
    ks: tuple[int, int, int], vs: tuple[int, int, int], bias: Array, bs: tuple[int, int, int], scale: float,
    out: Array,
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
def keep(new: Array, cache: Array, strides: tuple[int, int, int], at: int, sizes: tuple[int, int, int, int]) -> None:
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
    x: Array, n: int, sizes: tuple[int, int, int, int, int], norms: Any, q: Any, q_bias: Array, k: Any, k_bias: Array,
    v: Any, v_bias: Array, o: Any, o_bias: Array, own: bool, cos: Array, sin: Array, stride: int, half: int,
    cached_k: Array, ks: tuple[int, int, int], cached_v: Array, vs: tuple[int, int, int], at: int, first: int,
    keys: int, bias: Array, bs: tuple[int, int, int], scale: float,
) -> None:  # fmt: skip
    """``x = final(x + after(attention(before(x))))`` over cached keys and values.

    If they are its ``own``, those of the new tokens are written from slot ``at`` of the cache on; ``keys`` of them,
    from slot ``first`` on, are seen."""
    batch, queries, heads, share, d = sizes
    before, after, final = norms
    m, wide, narrow = batch * queries, heads * d, heads // share * d
    y = normed(x, before, m, n)
    ready = prepare(y, q, m, n)
    asked = project(y, ready, q, q_bias, m, n, wide)
    if half:
        turn(asked, heads, d, m, cos, sin, stride, half)
    if own:
        new = project(y, ready, k, k_bias, m, n, narrow)
        if half:
            turn(new, heads // share, d, m, cos, sin, stride, half)
        keep(new, cached_k, ks, at, (batch, queries, heads // share, d))
        keep(project(y, ready, v, v_bias, m, n, narrow), cached_v, vs, at, (batch, queries, heads // share, d))
    out = np.empty(m * wide, np.float32)
    attend(asked, cached_k, cached_v, first, keys, sizes, ks, vs, bias, bs, scale, out)
    join(x, project(out, prepare(out, o, m, wide), o, o_bias, m, wide, n), after, final, m, n)
