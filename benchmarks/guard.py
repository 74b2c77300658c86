#!/usr/bin/env python3
"""Guards speed without a clock on the wall: counts that are the same on every machine, and ratios within one run.

    python benchmarks/guard.py             everything; about two minutes, and one more where Numba compiles first
    python benchmarks/guard.py counts      only the counts: seconds

Counts are calls of Python functions and of PyTorch's operators for one more token. Ratios are the slow, obvious way
over the fast one, medians of runs in turns on this machine. Ends with exit code 1 if one is on the wrong side of its
limit; a limit is there to be moved, in a change that says why."""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import cutaway
from cutaway.generate.step import NetworkStep
from cutaway.kernels import Softmax
from cutaway.kernels.packed import pack
from cutaway.kernels.product import by_rows
from cutaway.kernels.softmax import KERNELS
from cutaway.model import Model
from cutaway.parts.context import plainly
from cutaway.scores import CAUSAL, as_rule, window

ROUNDS = 7


@dataclass
class Found:
    """A figure and the limit that it must keep: at most a count, at least a ratio."""

    name: str
    value: float
    limit: float
    most: bool

    def __str__(self) -> str:
        said = f"{self.value:,.0f}" if self.most else f"{self.value:.2f}x"
        limit = f"at most {self.limit:,.0f}" if self.most else f"at least {self.limit:.2f}x"
        return f"{'ok  ' if self.kept else 'FAIL'}  {self.name:58} {said:>8}   {limit}"

    @property
    def kept(self) -> bool:
        return self.value <= self.limit if self.most else self.value >= self.limit


class Operators(TorchDispatchMode):
    """Counts PyTorch's operators."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def calls(work: Callable[[], object]) -> int:
    """How many functions of Python a piece of work calls."""
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def decoder(depth: int, run: Any = None, family: str = "llama", **more: Any) -> tuple[Model, NetworkStep]:
    """A model of the usual small width, and a step that has read a prompt."""
    model = cutaway.build(family, vocab=4096, width=768, depth=depth, heads=12, hidden=2048, length=1024, **more)
    return model, ready(model, run)


def ready(model: Model, run: Any = None) -> NetworkStep:
    step = NetworkStep(model.network, 512)
    if run is not None:
        step.cache.run = run
    step(torch.randint(2, 4096, (1, 32)), None)
    step(torch.randint(2, 4096, (1, 1)), None)
    return step


def counts() -> list[Found]:
    """What one more token costs in calls, by the modules and in compiled steps."""
    token, found = torch.tensor([[5]]), []
    for name, run, limits in (("modules", plainly, (330, 145)), ("compiled steps", None, (20, 0))):
        functions, operators = [], []
        for depth in (2, 4):
            _, step = decoder(depth, run)
            functions.append(calls(lambda step=step: step(token, None)))  # type: ignore[misc]
            with Operators() as counter:
                step(token, None)
            operators.append(counter.count)
        each = (functions[1] - functions[0]) / 2, (operators[1] - operators[0]) / 2
        found.append(Found(f"functions of Python per layer and token, {name}", each[0], limits[0], most=True))
        found.append(Found(f"operators of PyTorch per layer and token, {name}", each[1], limits[1], most=True))
    return found


def turns(slow: Callable[[], object], fast: Callable[[], object]) -> float:
    """Slow over fast, the median of ratios in turns."""
    seconds: list[list[float]] = []
    for _ in range(ROUNDS + 1):
        pair = []
        for work in (slow, fast):
            begin = time.perf_counter()
            work()
            pair.append(time.perf_counter() - begin)
        seconds.append(pair)
    return median(a / b for a, b in seconds[1:])


def products() -> list[Found]:
    """Products of one row with matrices that no cache holds, against float32 by PyTorch."""
    dense = [torch.randn(4096, 1024) for _ in range(16)]
    x, found = torch.randn(1, 1024), []
    for how, least in (("bfloat16", 1.2), ("int8", 1.7), ("int4", 2.2)):
        weights = [w.bfloat16() if how == "bfloat16" else pack(w, how) for w in dense]
        ratio = turns(
            lambda: [F.linear(x, w) for w in dense],
            lambda weights=weights: [by_rows(x, w, None) for w in weights],  # type: ignore[misc]
        )
        found.append(Found(f"one row with {how} weights, against float32 by PyTorch", ratio, least, most=False))
    return found


def ten(step: NetworkStep) -> None:
    for _ in range(10):
        step(torch.tensor([[5]]), None)


DECODERS: list[tuple[str, str, float, dict[str, Any]]] = [
    ("llama", "float32", 1.05, {}),
    ("llama", "bfloat16", 1.2, {}),
    ("llama", "int8", 1.5, {}),
    ("qwen3", "int8", 1.5, dict(kv_heads=4)),
    ("gpt_neox", "int8", 1.5, {}),
    ("olmo2", "int8", 1.5, {}),
]


def decoding() -> list[Found]:
    """Ten tokens by the modules over ten in compiled steps."""
    found = []
    for family, how, least, more in DECODERS:
        model, _ = decoder(8, family=family, **more)
        model = cutaway.quantize(model, how) if how == "int8" else model.to(getattr(torch, how))
        slow, fast = ready(model, plainly), ready(model)
        ratio = turns(partial(ten, slow), partial(ten, fast))
        found.append(Found(f"ten tokens of {family} in {how}: modules over compiled steps", ratio, least, most=False))
    return found


def blocks() -> list[Found]:
    """Attention in a window, by one dense mask over blocks of queries."""
    q, k, v = torch.randn(3, 1, 12, 4096, 64)
    rule = as_rule(CAUSAL & window(256))
    dense = lambda: KERNELS["sdpa"](q, k, v, rule, 0.125)
    ratio = turns(dense, lambda: Softmax(0.125)(q, k, v, rule))
    return [Found("a window of 256 over 4,096 tokens: dense mask over blocks", ratio, 1.2, most=False)]


WHAT = {"counts": counts, "products": products, "decoding": decoding, "blocks": blocks}


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help=f"of {', '.join(WHAT)}; all of them if none is named")
    what = parser.parse_args().what or list(WHAT)
    if unknown := [name for name in what if name not in WHAT]:
        parser.error(f"no guard {unknown[0]!r}; there are {', '.join(WHAT)}")
    torch.manual_seed(0)
    kept = True
    for name in what:
        for found in WHAT[name]():
            print(found, flush=True)
            kept = kept and found.kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
