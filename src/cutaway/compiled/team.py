"""Threads that do one thing together, in Numba: phase by phase, each takes pieces that nobody has, until none is left.

Every thread calls the same function with the same arguments. Nobody waits for a thread that has not begun or was put
aside between two pieces: what it would have done, others do, and it goes on where they are. So outside of its pieces a
thread reads and writes nothing that others write. A team is ``(threads, counts, phase)``: how many; of each phase, how
many pieces are taken and how much of it is done, int64 that begin with 0; and the phase that this thread is in, an
array of its own."""

import platform
from collections.abc import Iterator
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import Builder, Value, place

COUNT = ir.IntType(64)
Team = tuple[int, Any, Any]


@intrinsic
def raised(typing: Any, row: Any, k: Any, by: Any) -> Any:
    """Add to a number of a row, at once for all threads; what it was before."""

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        row, k, by = args
        return b.atomic_rmw("add", place(context, b, signature.args[0], row, k, COUNT), by, "seq_cst")

    return types.int64(row, types.intp, types.int64), code


@intrinsic
def current(typing: Any, row: Any, k: Any) -> Any:
    """A number of a row as other threads left it."""

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        return b.load_atomic(place(context, b, signature.args[0], *args, COUNT), "acquire", 8)

    return types.int64(row, types.intp), code


@intrinsic
def rest(typing: Any) -> Any:
    """Tell the processor that this thread waits for another."""

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        if platform.machine() in ("x86_64", "AMD64"):
            kind = ir.FunctionType(ir.VoidType(), [])
            b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.none(), code


@njit(cache=True)
def take(team: Team, count: int, step: int) -> tuple[int, int]:
    """A piece of ``0 .. count`` that nobody has, in whole steps: its first, and the one after its last.

    Pieces become smaller, so that all end at once; the two are the same when none is left."""
    threads, counts, phase = team
    first, size = 0, 0
    for _ in range(raised(counts, 2 * phase[0], 1) + 1):
        first += size
        size = min(max(7 * (count - first) // (8 * threads * step), 1) * step, count - first)
        if size == 0:
            break
    return first, first + size


@njit(cache=True)
def did(team: Team, size: int) -> None:
    """So much of this phase is done."""
    _, counts, phase = team
    raised(counts, 2 * phase[0] + 1, size)


@njit(cache=True)
def meet(team: Team, count: int) -> None:
    """Wait until all of this phase is done, and go to the next."""
    _, counts, phase = team
    while current(counts, 2 * phase[0] + 1) < count:
        rest()
    phase[0] += 1


def leaves(kind: Any) -> int:
    """How many arrays and numbers there are in a type that may be a tuple of tuples."""
    return sum(map(leaves, kind)) if isinstance(kind, types.BaseTuple) else 1


def unowned(context: Any, b: Builder, kind: Any, value: Value, address: Value | None = None) -> Value:
    """Arrays in a value without their owner; an array, perhaps, at another address."""
    if isinstance(kind, types.BaseTuple):
        parts = [unowned(context, b, part, b.extract_value(value, i)) for i, part in enumerate(kind)]
        return context.make_tuple(b, kind, parts)
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, b, value)
    if address is not None:
        array.data = b.inttoptr(address, array.data.type)
    array.meminfo, array.parent = (ir.Constant(v.type, None) for v in (array.meminfo, array.parent))
    return array._getvalue()


@intrinsic
def lent(typing: Any, value: Any) -> Any:
    """The same arrays, which the caller keeps: calls count the uses of others, and for a count that threads share a
    processor finishes all reads first."""
    return value(value), lambda context, b, signature, args: unowned(context, b, signature.args[0], args[0])


def read(context: Any, b: Builder, kind: Any, like: Value, numbers: Iterator[Value]) -> Value:
    """A value like this one: arrays of its sizes where ``numbers`` says, and what else they say, in order."""
    if isinstance(kind, types.BaseTuple):
        parts = [read(context, b, part, b.extract_value(like, i), numbers) for i, part in enumerate(kind)]
        return context.make_tuple(b, kind, parts)
    number = next(numbers)
    if isinstance(kind, types.Array):
        return unowned(context, b, kind, like, number)
    if isinstance(kind, types.Float):
        return b.bitcast(number, ir.DoubleType())
    return b.icmp_signed("!=", number, COUNT(0)) if isinstance(kind, types.Boolean) else number


@intrinsic
def elsewhere(typing: Any, like: Any, table: Any, row: Any) -> Any:
    """Arrays and numbers in tuples, like these, as row ``row`` of a table says: where arrays lie, and the numbers.

    So any number of layers of one kind is one argument, which is compiled once."""
    count = leaves(like)

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        value, table, row = args
        begin = b.mul(row, COUNT(count))
        at = (place(context, b, signature.args[1], table, b.add(begin, COUNT(i)), COUNT) for i in range(count))
        return read(context, b, signature.args[0], value, map(b.load, at))

    return like(like, table, types.intp), code


@intrinsic
def rows_of(typing: Any, table: Any, like: Any) -> Any:
    """How many rows a table has for values like this one."""
    count = leaves(like)

    def code(context: Any, b: Builder, signature: Any, args: Any) -> Value:
        return b.sdiv(context.make_array(signature.args[0])(context, b, args[0]).nitems, COUNT(count))

    return types.intp(table, like), code
