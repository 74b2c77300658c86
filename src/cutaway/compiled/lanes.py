"""Sixteen numbers at a time, in Numba: its compiler does not find these instructions in a loop over 8 or 4 bits.

``floats`` are 16 of float32, ``ints`` 16 of int32, ``octets`` 64 of 8 bits. Every operation is a line or two of LLVM's
vectors, which become whatever the processor has. A row is a contiguous 1-D array, ``k`` an index into it."""

import math
from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import (
    FLOATS,
    INTS,
    OCTETS,
    SHORTS,
    Builder,
    Value,
    floats,
    ints,
    loader,
    octets,
    pick,
    place,
    repeat,
    same,
    upper,
    vector,
)  # fmt: skip


def raised(b: Builder, x: Value) -> Value:
    """Numbers of 8 bits + 128, as unsigned ones."""
    return b.xor(x, same(OCTETS, -128))


def nibbles(b: Builder, x: Value) -> Value:
    """64 numbers of 4 bits from 32 bytes: the lower halves of 16 bytes, their upper halves, and so on."""
    twice = b.bitcast(pick(b, x, x, [*range(16)] * 2 + [*range(16, 32)] * 2), vector(16, 32))
    shifted = b.lshr(twice, ir.Constant(twice.type, ([0] * 8 + [4] * 8) * 2))
    return b.and_(b.bitcast(shifted, OCTETS), same(OCTETS, 15))


def two(b: Builder, x: Value) -> Value:
    """Two bfloat16 that lie side by side, eight times each."""
    return upper(b, b.shl(repeat(b, x, 16), ir.Constant(INTS, [16] * 8 + [0] * 8)))


def small(low: int, shift: int, offset: int) -> Callable[[Builder, Value], Value]:
    """Sixteen numbers of 4 bits, the lower or the upper halves of bytes, as floats."""

    def convert(b: Builder, x: Value) -> Value:
        x = b.and_(b.lshr(x, same(x.type, shift)), same(x.type, low))
        return b.sitofp(b.sub(b.zext(x, INTS), same(INTS, offset)), FLOATS)

    return convert


def to_bfloat16(b: Builder, x: Value) -> Value:
    """The bits of sixteen bfloat16, rounded to the nearest."""
    bits = b.bitcast(x, INTS)
    even = b.and_(b.lshr(bits, same(INTS, 16)), same(INTS, 1))
    return b.trunc(b.lshr(b.add(b.add(bits, even), same(INTS, 0x7FFF)), same(INTS, 16)), SHORTS)


def from_bfloat16(b: Builder, x: Value) -> Value:
    return upper(b, b.shl(b.zext(x, INTS), same(INTS, 16)))


@intrinsic
def store(typing: Any, row: Any, k: Any, x: Any) -> Any:
    """Sixteen numbers into a row of float32, or of bfloat16 as uint16."""
    whole = row.dtype == types.float32

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        target = place(context, b, signature.args[0], *args[:2], FLOATS if whole else SHORTS)
        b.store(args[2] if whole else to_bfloat16(b, args[2]), target).align = 1
        return context.get_dummy_value()

    return types.none(row, types.intp, floats), code


plain = lambda b, x: x
load = loader(floats, {types.float32: (FLOATS, plain), types.uint16: (SHORTS, from_bfloat16)})
load_ints = loader(ints, {types.int32: (INTS, plain)})
load_signed = loader(octets, {types.int8: (OCTETS, plain)})
load_codes = loader(octets, {types.int8: (OCTETS, raised), types.uint8: (vector(8, 32), nibbles)})
spread_bfloat16 = loader(
    floats, {types.uint16: (ir.IntType(16), lambda b, x: upper(b, b.bitcast(repeat(b, x, 32), INTS)))}
)
spread_two = loader(floats, {types.uint16: (ir.IntType(32), two)})
load_int8 = loader(floats, {types.int8: (vector(8, 16), lambda b, x: b.sitofp(b.sext(x, INTS), FLOATS))})
load_lower = loader(floats, {types.uint8: (vector(8, 16), small(15, 0, 8))})
load_upper = loader(floats, {types.uint8: (vector(8, 16), small(15, 4, 8))})


def fetcher(lines: Callable[[Any], int]) -> Any:
    """Asks for so many lines of the cache by the kind of a number."""

    @intrinsic
    def fetch(typing: Any, row: Any, k: Any) -> Any:
        """Ask for memory from number ``k`` on, which need not exist, before it is needed."""

        def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
            byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
            f = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
            first = place(context, b, signature.args[0], *args, ir.IntType(8))
            for line in range(lines(row.dtype)):
                b.call(f, [b.gep(first, [number(64 * line)]), number(0), number(3), number(1)])
            return context.get_dummy_value()

        return types.none(row, types.intp), code

    return fetch


fetch = fetcher(lambda number: 1)
fetch_64 = fetcher(lambda number: number.bitwidth // 8)  # of 64 numbers


@intrinsic
def zeros(typing: Any) -> Any:
    return floats(), lambda context, b, signature, args: same(FLOATS, 0.0)


@intrinsic
def spread(typing: Any, x: Any) -> Any:
    """``x`` sixteen times."""
    return floats(types.float32), lambda context, b, signature, args: repeat(b, args[0], 16)


@intrinsic
def add(typing: Any, x: Any, y: Any) -> Any:
    return floats(floats, floats), lambda context, b, signature, args: b.fadd(*args)


@intrinsic
def fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """``x y + z``"""

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
        return b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.fmuladd.v16f32"), args)

    return floats(floats, floats, floats), code


@intrinsic
def total(typing: Any, x: Any) -> Any:
    """The sum of the sixteen."""

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), FLOATS])
        f = cgutils.get_or_insert_function(b.module, kind, "llvm.vector.reduce.fadd.v16f32")
        return b.call(f, [ir.Constant(ir.FloatType(), 0.0), args[0]], fastmath=("reassoc",))

    return types.float32(floats), code


@intrinsic
def top(typing: Any, x: Any) -> Any:
    """The largest of the sixteen."""

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        kind = ir.FunctionType(ir.FloatType(), [FLOATS])
        return b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.vector.reduce.fmax.v16f32"), args)

    return types.float32(floats), code


@intrinsic
def joined(typing: Any, x: Any, y: Any) -> Any:
    """``128 x + y`` of ints, as floats."""

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        return b.sitofp(b.add(b.shl(args[0], same(INTS, 7)), args[1]), FLOATS)

    return floats(ints, ints), code


@intrinsic
def quads(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """``x + y z``: unsigned times signed octets, four products to each of the sixteen ints."""

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        total, left, right = args
        features = binding.get_host_cpu_features()
        if features.get("avx512vnni"):  # one instruction
            kind = ir.FunctionType(INTS, [INTS] * 3)
            f = cgutils.get_or_insert_function(b.module, kind, "llvm.x86.avx512.vpdpbusd.512")
            return b.call(f, [total, b.bitcast(left, INTS), b.bitcast(right, INTS)])
        for first in range(4):
            lanes = list(range(first, 64, 4))
            u, s = (pick(b, side, side, lanes) for side in (left, right))
            total = b.add(total, b.mul(b.zext(u, INTS), b.sext(s, INTS)))
        return total

    return ints(ints, octets, octets), code


@intrinsic
def nearest(typing: Any, x: Any) -> Any:
    """Floats rounded to ints."""

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        rint = cgutils.get_or_insert_function(b.module, ir.FunctionType(FLOATS, [FLOATS]), "llvm.rint.v16f32")
        return b.fptosi(b.call(rint, args), INTS)

    return ints(floats), code


@intrinsic
def split(typing: Any, x: Any, upper: Any, lower: Any, k: Any) -> Any:
    """Write ints of 15 bits as octets, ``x = 128 upper + lower``."""

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        x, *rows, k = args
        high = b.ashr(b.add(x, same(INTS, 64)), same(INTS, 7))
        for row, kind, part in zip(
            rows, signature.args[1:3], (high, b.sub(x, b.shl(high, same(INTS, 7)))), strict=True
        ):
            b.store(b.trunc(part, vector(8, 16)), place(context, b, kind, row, k, vector(8, 16))).align = 1
        return context.get_dummy_value()

    return types.none(ints, upper, lower, types.intp), code


@intrinsic
def store_offset(typing: Any, row: Any, k: Any, offset: Any, x: Any) -> Any:
    """Write ``-offset`` times the sums of four of the signed octets ``x``, sixteen ints."""

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        row, k, offset, x = args
        sums = same(INTS, 0)
        for first in range(4):
            sums = b.add(sums, b.sext(pick(b, x, x, list(range(first, 64, 4))), INTS))
        y = b.mul(sums, repeat(b, b.neg(offset), 16))
        b.store(y, place(context, b, signature.args[0], row, k, INTS)).align = 4
        return context.get_dummy_value()

    return types.none(row, types.intp, types.int32, octets), code


@intrinsic
def divide(typing: Any, x: Any, y: Any) -> Any:
    return floats(floats, floats), lambda context, b, signature, args: b.fdiv(*args)


@intrinsic
def largest(typing: Any, x: Any, y: Any) -> Any:
    """Of each pair, the magnitude that is larger."""

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        x, y = (b.bitcast(b.and_(b.bitcast(v, INTS), same(INTS, 0x7FFFFFFF)), FLOATS) for v in args)
        return b.select(b.fcmp_ordered(">", x, y), x, y)

    return floats(floats, floats), code


@intrinsic
def higher(typing: Any, x: Any, y: Any) -> Any:
    """Of each pair, the one that is more."""
    return floats(floats, floats), lambda context, b, signature, args: b.select(b.fcmp_ordered(">", *args), *args)


@intrinsic
def exponential(typing: Any, x: Any) -> Any:
    """``eˣ`` to 2e-7 of its value, from e⁻⁸⁷ (below: 0) to e⁸⁷: ``2^i p(r)``, ``x = (i + r) ln 2``, ``|r| <= 1/2``."""

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        kind = ir.FunctionType(FLOATS, [FLOATS])
        rint = cgutils.get_or_insert_function(b.module, kind, "llvm.rint.v16f32")
        low = b.fcmp_ordered("<", args[0], same(FLOATS, -87.0))
        y = b.select(low, same(FLOATS, -87.0), args[0])
        y = b.fmul(
            b.select(b.fcmp_ordered(">", y, same(FLOATS, 87.0)), same(FLOATS, 87.0), y), same(FLOATS, 1 / math.log(2))
        )
        whole = b.call(rint, [y])
        r, p = b.fsub(y, whole), same(FLOATS, 0.0)
        for power in range(7, -1, -1):  # Taylor's series of 2^r
            p = b.fadd(b.fmul(p, r), same(FLOATS, math.log(2) ** power / math.factorial(power)))
        scale = b.shl(b.add(b.fptosi(whole, INTS), same(INTS, 127)), same(INTS, 23))
        return b.select(low, same(FLOATS, 0.0), b.fmul(p, b.bitcast(scale, FLOATS)))

    return floats(floats), code
