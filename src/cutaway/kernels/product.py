"""``x Wᵀ + b``, the product of every part, in the way that is fastest for so many rows, this dtype and this machine.

PyTorch's own ``F.linear`` is the plain version, and all there is for gradients, GPUs and compilers. On a CPU

- a few rows times a large matrix read it with :mod:`..compiled.rows`, if Numba is installed: always where it holds
  codes, and while :func:`decoding`, as one pass over a short text is not worth loading a compiler;
- bfloat16 is multiplied as float32 by a processor that has no instructions for it: sums are float32 either way, and
  only the result is rounded."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from threading import Lock
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..compiled.crew import Crew
from ..compiled.pace import Pace
from . import packed
from .packed import Packed
from .widened import widened

ROWS, CODED = 32, 96  # the most rows that :mod:`..compiled.rows` is faster for; the same of a matrix in codes
GROUPS = (32, 64, 128, 256, 512)  # sizes of the groups that it reads
NUMBERS = 2**18  # a smaller matrix stays in a processor's cache, where there is nothing to win
LARGE = 2**24  # bytes of a matrix that take longer than it takes to call the threads of :mod:`..compiled.crew`

Weight = Tensor | Packed
SIMPLE = {Tensor, nn.Parameter}
NO_SCALES, NO_BIAS = np.empty(0, np.uint16), np.empty(0, np.float32)
DECODING: ContextVar[bool] = ContextVar("decoding", default=False)
PACE, CREW, LOCK = Pace(), Crew(), Lock()  # of the whole process: its products share the cores


@contextmanager
def decoding(on: bool = True) -> Iterator[None]:
    """Many passes with few rows are being made."""
    token = DECODING.set(on)
    try:
        yield
    finally:
        DECODING.reset(token)


def product(x: Float[Tensor, "*B I"], weight: Weight, bias: Float[Tensor, " O"] | None = None) -> Float[Tensor, "*B O"]:
    """``x Wᵀ + b`` for a matrix [O, I] of numbers or of codes."""
    free = not plain(x, weight.codes if isinstance(weight, Packed) else weight)
    if free and few(x, weight):
        return by_rows(x, weight, bias)
    if isinstance(weight, Packed):
        if free and (x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and not bfloat16_is_native())):
            known = dense if readable(weight) and numba() else Packed.dense
            return packed.linear(x.float(), weight, None if bias is None else bias.float(), known).to(x.dtype)
        return packed.linear(x, weight, bias)
    return widened(x, weight, bias) if wide(x, weight) else F.linear(x, weight, bias)


def wide(x: Tensor, weight: Tensor) -> bool:
    """Whether a product is to be in bfloat16, by its tensors or by autocast, where float32 is faster."""
    if torch.compiler.is_compiling() or x.device.type != "cpu" or not simple(x, weight) or bfloat16_is_native():
        return False
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16 and x.dtype != torch.float64
    return x.dtype == weight.dtype == torch.bfloat16


def plain(x: Tensor, weight: Tensor) -> bool:
    """Whether only PyTorch may do it: gradients, a weight of another kind, or where ``x`` is."""
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return learns or not simple(weight) or not bare(x)


def simple(*tensors: Tensor) -> bool:
    """Whether these are tensors and nothing more: no shards, no wrappers."""
    return SIMPLE.issuperset(map(type, tensors))


def bare(x: Tensor) -> bool:
    """Whether a tensor is numbers in this machine's memory, and no compiler or autocast is at work."""
    busy = torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")
    return x.device.type == "cpu" and type(x) is Tensor and not busy


def few(x: Tensor, weight: Weight) -> bool:
    """Whether :mod:`..compiled.rows` takes a product: few rows, a large matrix, a width and a dtype that it reads."""
    rows, width = weight.shape
    known, most = (True, CODED) if isinstance(weight, Packed) else (DECODING.get() and x.dtype == weight.dtype, ROWS)
    return known and 0 < x.numel() <= most * width and rows * width >= NUMBERS and readable(weight) and numba()


def readable(weight: Weight) -> bool:
    """Whether :mod:`..compiled.rows` can read a matrix."""
    if weight.shape[1] % 64:
        return False
    if isinstance(weight, Packed):
        return weight.group in GROUPS
    return weight.is_contiguous() and weight.dtype in (torch.float32, torch.bfloat16)


def numbers_of(weight: Weight) -> tuple[tuple[Any, Any, int], int]:
    """A matrix as :mod:`..compiled.step` takes it, ``(numbers, scales, bits of a group)``, and its bytes."""
    if isinstance(weight, Packed):
        scales, bits = flat(weight.scales.view(torch.uint16)), weight.group.bit_length() - 1
        return (flat(weight.codes), scales, bits), weight.codes.nbytes + weight.scales.nbytes
    numbers = flat(weight if weight.dtype == torch.float32 else weight.view(torch.uint16))
    return (numbers, NO_SCALES, 0), weight.nbytes


def by_rows(x: Tensor, weight: Weight, bias: Tensor | None) -> Tensor:
    """The product by :mod:`..compiled.rows`."""
    rows, n = weight.shape
    out, (matrix, size) = torch.empty(*x.shape[:-1], rows), numbers_of(weight)
    added = NO_BIAS if bias is None else flat(bias.float())
    args = flat(x.float().contiguous()), matrix, x.numel() // n, n, added, flat(out)
    helped = lambda threads: CREW.run(compiled("shared"), args, threads, 1)
    run(
        ("rows", size, x.numel()),
        helped if size >= LARGE else lambda threads: pooled(threads, compiled("multiplied"), args),
    )
    return out.to(x.dtype)


def dense(weight: Packed, dtype: torch.dtype) -> Tensor:
    """The numbers of codes by :mod:`..compiled.step`."""
    (rows, n), (matrix, size) = weight.shape, numbers_of(weight)
    out = torch.empty(rows, n)
    args = matrix, rows, n, flat(out)
    run(("dense", size), lambda threads: pooled(threads, compiled("dense"), args))
    return out.to(dtype)


def flat(x: Tensor) -> Any:
    """The numbers of a contiguous tensor as a NumPy array that shares them."""
    return x.detach().view(-1).numpy()


@cache
def compiled(name: str) -> Callable[..., None]:
    """A function of :mod:`..compiled.step`, which Numba compiles when it is first called, and keeps on disk."""
    return cast(Callable[..., None], getattr(import_module("..compiled.step", __package__), name))


def run(kind: Hashable, work: Callable[[int], object]) -> None:
    """Compiled work on as many threads as are worth it; what is of one ``kind`` takes equally long."""
    with LOCK:
        PACE.run(work, kind, torch.get_num_threads())


def pooled(threads: int, work: Callable[..., None], args: tuple[Any, ...]) -> None:
    """A parallel function on so many of Numba's threads."""
    from numba import config, set_num_threads  # here, because loading it takes a while

    set_num_threads(min(threads, vars(config)["NUMBA_NUM_THREADS"]))
    work(*args)


@cache
def numba() -> bool:
    """Whether Numba is installed."""
    return find_spec("numba") is not None


@cache
def bfloat16_is_native() -> bool:
    """Whether this processor multiplies bfloat16."""
    return any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
