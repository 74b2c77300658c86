"""Which way a product goes, in Numba, by its format and its rows: a matrix is ``(numbers, scales, bits)``."""

from typing import Any

from numba import njit, types
from numba.extending import overload

from .dots import ALONE, Array, Pieces, all_pieces, dot_codes
from .tiles import aligned, by_four, by_one, streamed, widen

STREAMED = 2**14  # numbers of activations that stay near while weights of floats stream by


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
                by_one(wide, t * n, x, 0, m, n, out, r + t, rows)


@njit(cache=True)
def rows_float(x: Array, w: Array, first: int, last: int, m: int, n: int, out: Array) -> None:
    """The same with weights of float32."""
    rows, fours = w.size // n, (last - first) // 4 * 4 if m * n > STREAMED else 0
    for r in range(first, first + fours, 4):
        by_four(w, r * n, x, m, n, out, r, rows)
    streamed(w, x, first + fours, last, m, n, out, rows)


@njit(cache=True)
def rows_bfloat16(
    x: Array, w: Array, scales: Array, bits: int, first: int, last: int, m: int, n: int, out: Array
) -> None:
    """The same with weights of bfloat16, as uint16."""
    rows = w.size // n
    if m * n > STREAMED:
        rows_wide(x, w, scales, bits, rows, first, last, m, n, out)
    else:
        streamed(w, x, first, last, m, n, out, rows)


@njit(cache=True)
def rows_coded(
    x: Array, ready: Pieces, codes: Array, scales: Array, bits: int, first: int, last: int, m: int, n: int, out: Array
) -> None:
    """The same with codes of 8 bits [o, n] or of 4 [o, n / 2], and the bits of scales [o, n / group]."""
    rows, parts, step = (scales.size << bits) // n, ready[:3], ready[3]
    if m > ALONE:
        rows_wide(x, codes, scales, bits, rows, first, last, m, n, out)
    else:
        for r in range(first, last):
            for i in range(m):
                out[i * rows + r] = step[i] * dot_codes(codes, scales, bits, r * n, parts, i * n, n)


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
    if kind in (types.int8, types.uint8):
        return lambda x, ready, matrix, first, last, m, n, out: rows_coded(x, ready, *matrix, first, last, m, n, out)
    if kind == types.uint16:
        return lambda x, ready, matrix, first, last, m, n, out: rows_bfloat16(x, *matrix, first, last, m, n, out)
    return lambda x, ready, matrix, first, last, m, n, out: rows_float(x, matrix[0], first, last, m, n, out)
