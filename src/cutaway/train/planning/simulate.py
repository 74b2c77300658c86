"""Ranks that are not there: a model is sharded and run as one of many ranks would, on tensors without numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ... import families
from ...hub import Undrawn
from ...parts import Attention, Context, Network, Stack
from ...scores import OPEN
from ..ranks.parallel import parts, prepare
from ..ranks.pieces import held
from ..ranks.world import GATHERED, Parallel, World, leave


@contextmanager
def pretended(how: Parallel, size: int) -> Iterator[World]:
    """A world of ``size`` ranks of which only the first exists; nothing is sent.

    Raises ValueError inside of a real process group."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if dist.is_initialized():
        raise ValueError("ranks cannot be simulated by a process that is one of several: plan before torchrun starts")
    how.rows(size)
    if size == 1:
        yield World(how)
        return
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=size)
    try:
        yield World.of(how, 0, size, torch.device("cpu"))
    finally:
        leave()


def shapes(network: Network, how: Parallel, size: int) -> list[tuple[int, ...]]:
    """The shapes that the first of ``size`` ranks holds of a network on the meta device: of every tensor the largest
    share, as uneven ones are larger at the front. Copies are as large with one rank as with many."""
    if how.data == "ddp":
        how, size = Parallel(tensor=how.tensor), how.tensor
    with pretended(how, size) as world:
        prepare(network, world)
        return [tuple(held(p).shape) for p in network.parameters()]


@dataclass
class Kept:
    """What a forward pass keeps for the way back, in bytes: by block, and outside of blocks; what blocks are given."""

    blocks: list[int] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outside: int = 0

    def total(self, recompute: bool) -> int:
        """All of it; or with blocks computed again what they are given, and the largest of them at work."""
        if recompute:
            return self.outside + sum(self.inputs) + max(self.blocks, default=0)
        return self.outside + sum(self.blocks)


class Watch:
    """Adds up what autograd keeps of a network's forward passes, storage by storage; weights do not count."""

    def __init__(self, network: nn.Module):
        self.kept, self.inside = Kept(), False
        self.seen: dict[int, Tensor] = {key(p): p for p in network.parameters()}
        self.blocks = [block for stack in parts(network, Stack) for block in stack.blocks]

    def enter(self, block: nn.Module, args: tuple[Any, ...]) -> None:
        self.inside = True
        self.kept.blocks.append(0)
        self.kept.inputs.append(args[0].untyped_storage().nbytes())

    def leave(self, *_: object) -> None:
        self.inside = False

    def keep(self, tensor: Tensor) -> Tensor:
        if key(tensor) not in self.seen:
            self.seen[key(tensor)] = tensor  # held on to, so that no other gets its address
            size = held(tensor).untyped_storage().nbytes()
            if self.inside:
                self.kept.blocks[-1] += size
            else:
                self.kept.outside += size
        return tensor

    @contextmanager
    def watching(self) -> Iterator[Kept]:
        """What is kept of the calls inside."""
        hooks = [
            h
            for b in self.blocks
            for h in (b.register_forward_pre_hook(self.enter), b.register_forward_hook(self.leave))
        ]
        try:
            with torch.autograd.graph.saved_tensors_hooks(self.keep, lambda tensor: tensor):
                yield self.kept
        finally:
            for hook in hooks:
                hook.remove()


def key(tensor: Tensor) -> int:
    """What tensors that share memory have in common."""
    return held(tensor).untyped_storage()._cdata


def run(network: Network, rows: int, length: int, dtype: torch.dtype) -> Kept:
    """What a training forward pass of ``rows`` rows keeps, on whatever tensors the network has."""
    ids = torch.zeros(rows, length, dtype=torch.long)
    inputs = (ids, ids) if network.kind == "encoder-decoder" else (ids,)
    half = dtype != torch.float32
    with Watch(network.train()).watching() as kept, torch.autocast("cpu", dtype if half else torch.bfloat16, half):
        network(*inputs, Context(OPEN))
    return kept


@dataclass(frozen=True)
class Work:
    """What ``rows`` rows keep beside copies of weights in 16 bits, and those copies; numbers in a whole block and
    outside of blocks, as a tensor parallel rank has them."""

    activations: int
    copies: int
    block: int
    blocks: int
    outside: int


def work(
    model_type: str, config: Any, how: Parallel, rows: int, length: int, dtype: torch.dtype, gpu: bool, recompute: bool
) -> Work:
    """One rank's share of a forward pass, run without numbers.

    Deep stacks of one kind are run with as many blocks as any pattern of layers repeats after, and twice as many:
    what the further blocks add, all others add too."""
    at = lambda c: measured(model_type, c, how, rows, length, dtype, gpu, recompute)
    if (
        "depth" not in vars(config)
        or config.depth <= 2 * PATTERN
        or families.module(model_type).NETWORK.kind not in ONE_STACK
    ):
        return at(config)
    few, more = (at(replace(config, depth=depth)) for depth in (PATTERN, 2 * PATTERN))
    further = config.depth / PATTERN - 1
    line = {
        f.name: round(a + further * (b - a)) for f in fields(Work) for a, b in [(vars(few)[f.name], vars(more)[f.name])]
    }
    return Work(**line)


PATTERN, ONE_STACK = 6, ("decoder", "encoder")


def measured(
    model_type: str, config: Any, how: Parallel, rows: int, length: int, dtype: torch.dtype, gpu: bool, recompute: bool
) -> Work:
    """The same for all blocks: one row and two, as the difference is what a row keeps."""
    with pretended(Parallel(tensor=how.tensor), how.tensor) as world, FakeTensorMode():
        with Undrawn():
            network = families.network(model_type, config)
        for parameter in network.parameters():
            parameter.data = parameter.data.to(GATHERED[how.gathered])
        prepare(network, world)
        if gpu:  # fused kernels there draw dropout again on the way back; on CPU dropout takes the plain kernel
            for attention in parts(network, Attention):
                attention.kernel.dropout = 0.0
        one, two = (run(network, n, length, dtype).total(recompute) for n in (1, 2))
        count = lambda module: sum(held(p).numel() for p in module.parameters())
        blocks = [count(block) for stack in parts(network, Stack) for block in stack.blocks]
        outside = count(network) - sum(blocks)
    return Work(rows * (two - one), max(2 * one - two, 0), max(blocks), sum(blocks), outside)
