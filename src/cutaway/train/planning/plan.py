"""What a training step would take, before it runs: memory by kind, operations, bytes sent, time and its bottleneck.

Weights are sharded and activations kept by the code that trains, on tensors without numbers (see ``simulate``); the
rest is arithmetic, written out here. ``batch`` rows make a step, in micro-batches of ``rows`` rows on every rank."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ...costs import count, products
from ...hub import sketch
from ...parts import MLP, Attention, Network, Stack, Unembed
from ..learner import NUMBERS
from ..ranks.parallel import parts
from ..ranks.world import GATHERED, Parallel
from .devices import Device, device
from .simulate import Work, shapes, work

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Numbers that an optimiser keeps for a tensor of this shape, which is a matrix inside of a block or not.
OPTIMISERS: dict[str, Callable[[tuple[int, ...], bool], int]] = {
    "adamw": lambda shape, inner: 2 * math.prod(shape),
    "muon": lambda shape, inner: (1 if inner else 2) * math.prod(shape),
    "adafactor": lambda shape, inner: math.prod(shape) if len(shape) < 2 else sum(shape[-2:]),
}


@dataclass(frozen=True)
class Plan:
    """One step on ``devices`` devices. ``memory`` and ``sent`` (bytes) and ``flops`` are one device's, ``seconds`` the
    time of each part of a step; what is sent between copies or shards overlaps with computation, the rest does not."""

    model: str
    parameters: int
    device: Device
    devices: int
    how: Parallel
    batch: int
    rows: int
    length: int
    memory: dict[str, int]
    cache: int
    flops: float
    sent: dict[str, float]
    seconds: dict[str, float]
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Bytes of memory that a device needs."""
        return sum(self.memory.values())

    @property
    def time(self) -> float:
        """Seconds that a step is expected to take."""
        beside = {"computation", "data parallel"}
        rest = sum(s for part, s in self.seconds.items() if part not in beside)
        return max(self.seconds[part] for part in beside & self.seconds.keys()) + rest

    @property
    def bottleneck(self) -> str:
        """What takes longest, or that the memory does not suffice."""
        if self.total > self.device.memory:
            return f"memory: {size(self.total)} are needed, a device has {size(self.device.memory)}"
        return max(self.seconds, key=lambda part: self.seconds[part])

    def __str__(self) -> str:
        ranks = f"{self.how.data}, tensor {self.how.tensor}, sequence {self.how.sequence}"
        tokens = self.batch * self.length
        lines = [
            f"{self.model}, {self.parameters:,} parameters, on {self.devices:,} x {self.device.name} ({ranks})",
            f"a step: {self.batch:,} rows of {self.length:,} tokens, {self.rows} at a time on a device",
            "",
            *(f"{kind:<22}{size(n):>12}" for kind, n in self.memory.items()),
            f"{'memory of a device':<22}{size(self.total):>12}  of {size(self.device.memory)}",
            f"{'cache':<22}{size(self.cache):>12}  to generate as many rows; training keeps none",
            "",
            f"{'operations':<22}{self.flops:>12.3g}  a device and step",
            *(f"{'sent, ' + part:<22}{size(n):>12}  a device and step" for part, n in self.sent.items()),
            *(f"{'time, ' + part:<22}{s:>10.3g} s" for part, s in self.seconds.items()),
            f"{'a step':<22}{self.time:>10.3g} s  {tokens / self.time:,.0f} tokens/s",
            f"{'bottleneck':<22}  {self.bottleneck}",
            *self.notes,
        ]
        return "\n".join(lines)


def size(number: float) -> str:
    """Bytes in words."""
    for unit, one in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= one:
            return f"{number / one:.3g} {unit}"
    return f"{number:.0f} B"


def plan(
    model_type: str,
    config: Any,
    *,
    batch: int,
    length: int,
    devices: int = 1,
    on: str | Device = "h100",
    how: Parallel | None = None,
    rows: int | None = None,
    dtype: str = "bfloat16",
    optimiser: str = "adamw",
    recompute: bool = False,
) -> Plan:
    """A step of a model type and a ``Config`` of its family, in ``dtype`` over float32 weights.

    ``rows`` at a time on a device (all of its share, unless said), ``recompute`` computes blocks again on the way
    back. Raises ValueError for numbers that do not divide and names that are not known."""
    how, on = how or Parallel(), device(on) if isinstance(on, str) else on
    share, rest = divmod(batch, how.rows(devices))
    rows = rows or share
    if rest or share % rows or length % how.sequence:
        told = f"{batch} rows on {how.rows(devices)} x {rows} at a time, {length} tokens in {how.sequence} chunks"
        raise ValueError(f"a step must divide evenly: {told}")
    if dtype not in DTYPES or dtype not in on.flops or optimiser not in OPTIMISERS:
        known = f"{', '.join(DTYPES)}; {', '.join(OPTIMISERS)}"
        raise ValueError(f"expected a dtype and an optimiser out of {known}, got {dtype!r} and {optimiser!r}")
    network = sketch(model_type, config)
    counted, total = count(network), sum(p.numel() for p in network.parameters())
    chunk = length // how.sequence
    done = work(model_type, config, how, rows, chunk, DTYPES[dtype], on.kind == "cuda", recompute)
    flops = operations(network, how, length, recompute) * share * chunk
    sent = traffic(network, done, how, devices, share // rows, rows, chunk, DTYPES[dtype].itemsize, recompute)
    cache = counted.cache_bytes() * rows * chunk // how.tensor
    held = shapes(network, how, devices)
    inner = {n for n, m in network.named_modules() if isinstance(m, Stack)}
    memory = needed(network, held, done, how, rows * chunk, DTYPES[dtype].itemsize, optimiser, inner)
    spans = {"data parallel": devices, "tensor parallel": how.tensor, "ring": how.tensor * how.sequence}
    updated = memory["weights"] * 2 + memory["gradients"] + memory["optimiser"] * 2
    seconds = {"computation": flops / (on.flops[dtype] * on.reached), "optimiser": updated / on.bandwidth}
    seconds |= {part: n / on.link(spans[part]) for part, n in sent.items()}
    notes = [f"{on.name}: {on.source}; {on.reached:.0%} of the peak"]
    return Plan(
        model_type, total, on, devices, how, batch, rows, length, memory, cache, flops, sent, seconds, notes
    )  # fmt: skip


def operations(network: Network, how: Parallel, length: int, recompute: bool) -> float:
    """Floating-point operations of one device for a token: forward, twice as many back, blocks perhaps once more.

    A causal query sees half of the keys on average. Embedding and head are not split by tensor parallel."""
    counted = count(network)
    seen = (length + 1) / 2 if network.kind == "decoder" else length
    head = sum(products(m) for m in network.head.modules()) if network.head is not None else 0
    blocks = (counted.flops - head + seen * counted.flops_per_key) / how.tensor
    return (4 if recompute else 3) * blocks + 3 * head


def needed(
    network: Network, held: list[tuple[int, ...]], done: Work, how: Parallel, tokens: int, item: int, optimiser: str,
    stacks: set[str],
) -> dict[str, int]:  # fmt: skip
    """Bytes of one device by kind."""
    numbers = sum(math.prod(shape) for shape in held)
    names = [name for name, _ in network.named_parameters()]
    inner = [
        len(s) == 2 and any(n.startswith(f"{stack}.blocks.") for stack in stacks)
        for n, s in zip(names, held, strict=True)
    ]
    keeps = OPTIMISERS[optimiser]
    vocab, width = output(network.head)
    logits = min(NUMBERS, tokens * vocab) * (4 if item == 4 else 4 + 2 * item) + 2 * tokens * width * 4
    copies = done.copies
    if how.data == "fsdp":  # the root's weights and gradients, two blocks' weights, a block's gradients
        wide = GATHERED[how.gathered].itemsize
        copies += wide * (2 * done.outside + 3 * done.block)
    return {
        "weights": 4 * numbers,
        "gradients": 4 * numbers,
        "optimiser": 4 * sum(keeps(shape, i) for shape, i in zip(held, inner, strict=True)),
        "activations": done.activations,
        "loss": logits,
        "copies of weights": copies,
    }


def output(head: nn.Module | None) -> tuple[int, int]:
    """Vocabulary and width of a head's widest product."""
    found = [m.weight if m.tied[0] is None else m.tied[0].weight for m in parts(head, Unembed)] if head else []
    found += [m.weight for m in parts(head, nn.Linear)] if head else []
    return max(((w.shape[0], w.shape[1]) for w in found if w is not None), default=(0, 0))


def traffic(
    network: Network,
    done: Work,
    how: Parallel,
    devices: int,
    micro: int,
    rows: int,
    chunk: int,
    item: int,
    recompute: bool,
) -> dict[str, float]:
    """Bytes that one device sends in a step, by what for; collectives go round in rings.

    DDP sums gradients once; FSDP gathers blocks twice and the rest once, and scatters gradients, for every
    micro-batch. Tensor parallel sums activations after and gradients before each part that it splits."""
    sent: dict[str, float] = {}
    data, ways, ring = devices // how.tensor, how.tensor, how.sequence
    if data > 1 and how.data == "ddp":
        sent["data parallel"] = 2 * (data - 1) / data * 4 * (done.blocks + done.outside)
    elif data > 1:
        gathered = GATHERED[how.gathered].itemsize * (2 * done.blocks + done.outside)
        sent["data parallel"] = micro * (data - 1) / data * (gathered + 4 * (done.blocks + done.outside))
    times = {
        id(m): stack.order.count(i)
        for stack in parts(network, Stack)
        for i, b in enumerate(stack.blocks)
        for m in b.modules()
    }
    ran = lambda kind: sum(times.get(id(m), 1) for m in parts(network, kind))
    if ways > 1:
        each = 2 * (ways - 1) / ways * rows * chunk * network.config.width * item
        sent["tensor parallel"] = micro * each * (ran(Attention) + ran(MLP)) * (3 if recompute else 2)
    if ring > 1:
        keys = (
            sum(times.get(id(a), 1) * 2 * a.kv_heads * a.head_dim for a in parts(network, Attention))
            * rows
            * chunk
            / ways
        )
        there, back = (ring - 1) * item, (ring - 1) * item + ring * 4
        sent["ring"] = micro * keys * (there * (2 if recompute else 1) + back)
    return sent
