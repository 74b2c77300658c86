"""Vectors of LLVM as values that Numba knows: sixteen float32, sixteen int32, sixty-four octets."""

from collections.abc import Callable, Mapping
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

Builder, Value = ir.IRBuilder, ir.Value


def vector(bits: int, count: int) -> ir.VectorType:
    return ir.VectorType(ir.IntType(bits), count)


FLOATS, INTS, SHORTS, OCTETS = ir.VectorType(ir.FloatType(), 16), vector(32, 16), vector(16, 16), vector(8, 64)


class Floats(types.Type):
    pass


class Ints(types.Type):
    pass


class Octets(types.Type):
    pass


@register_model(Floats)
class FloatsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any):
        super().__init__(manager, kind, FLOATS)


@register_model(Ints)
class IntsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any):
        super().__init__(manager, kind, INTS)


@register_model(Octets)
class OctetsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any):
        super().__init__(manager, kind, OCTETS)


floats, ints, octets = Floats("floats"), Ints("ints"), Octets("octets")


def same(kind: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(kind, [value] * kind.count)


def pick(b: Builder, x: Value, y: Value, lanes: list[int]) -> Value:
    return b.shuffle_vector(x, y, ir.Constant(vector(32, len(lanes)), lanes))


def repeat(b: Builder, x: Value, count: int) -> Value:
    """A vector of ``count`` times the scalar ``x``."""
    empty = ir.Constant(ir.VectorType(x.type, count), ir.Undefined)
    return pick(b, b.insert_element(empty, x, ir.Constant(ir.IntType(32), 0)), empty, [0] * count)


def upper(b: Builder, x: Value) -> Value:
    """The upper 16 bits of each int32 as the float32 that begins with them: a bfloat16."""
    return b.bitcast(b.and_(x, same(INTS, -65536)), FLOATS)


def place(context: Any, b: Builder, kind: Any, row: Value, k: Value, memory: ir.Type) -> Value:
    """Where number ``k`` of an array lies, as a pointer to ``memory``; in an array of uint8 there are two a byte."""
    k = b.lshr(k, ir.Constant(k.type, int(kind.dtype == types.uint8)))
    return b.bitcast(b.gep(context.make_array(kind)(context, b, row).data, [k]), memory.as_pointer())


def loader(result: types.Type, ways: Mapping[types.Type, tuple[ir.Type, Callable[[Builder, Value], Value]]]) -> Any:
    """``load(row, k)``: what lies in memory from number ``k`` on, converted, in a way for each kind of number."""

    @intrinsic
    def found_in(typing: Any, row: Any, k: Any) -> Any:
        memory, convert = ways[row.dtype]

        def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
            found = b.load(place(context, b, signature.args[0], *args, memory))
            found.align = 1
            return convert(b, found)

        return result(row, types.intp), code

    return found_in
