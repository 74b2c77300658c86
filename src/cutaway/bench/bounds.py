"""What a work would cost a machine that loses nothing: bytes to read, operations to do."""

from collections.abc import Mapping
from dataclasses import dataclass

from .works import BYTES, FLOATS, Work


@dataclass(frozen=True)
class Bound:
    """The least that one repetition takes: ``amount`` of what ``limit`` (a name of the machine's limits) counts."""

    limit: str
    amount: float

    def seconds(self, limits: Mapping[str, float]) -> float:
        return self.amount / limits[self.limit]


def bound(work: Work, dtype: str, stored: int = 0) -> Bound | None:
    """The bound of a work in one precision; None where nothing so simple bounds it.

    Decoding reads every weight of every product once a step, and the keys and values so far of every row. Encoding,
    prefill and training multiply: with causal attention half of the keys, training thrice the forward pass. Loading
    reads the ``stored`` bytes of the file."""
    if work.kind == "load":
        return Bound("file", float(stored))
    if work.kind not in ("decode", "prefill", "encode", "train"):
        return None
    from .. import families, hub  # torch; contestants that do without it share this package
    from ..costs import count

    shape = work.model
    cost = count(hub.sketch(shape.family, families.module(shape.family).Config(**shape.config)))
    rows, length = work.batch, work.length
    if work.kind == "decode":
        steps = work.new - 1
        context = length + steps / 2
        cache = rows * context * cost.cache_bytes(4 if dtype == "fp32" else 2)
        return Bound("read", steps * (cost.flops / 2 * BYTES[dtype] + cache))
    keys = length if work.kind == "encode" else (length + 1) / 2
    head = 2 * shape.config["vocab"] * shape.config["width"] if work.kind == "prefill" else 0
    each = cost.flops + keys * cost.flops_per_key - head
    times = 3 if work.kind == "train" else 1
    return Bound("int8" if dtype == "int4" else dtype, times * rows * (length * each + head))


def weight(work: Work, dtype: str) -> float:
    """Bytes that a contestant will about hold: its weights, the file's beside their codes, and a process.

    Training holds float32 weights, gradients and two moments, what autograd keeps of the logits, three times, and some
    17 numbers a token, layer and channel (Korthikanti et al., 2022)."""
    base = 6e8
    if work.shape is None:
        return base
    from .. import families, hub

    shape = work.shape
    network = hub.sketch(shape.family, families.module(shape.family).Config(**shape.config))
    numbers = sum(p.numel() for p in network.parameters())
    if work.kind == "train":
        config = shape.config
        kept = work.batch * work.length * (3 * config["vocab"] + 17 * config["depth"] * config["width"])
        return base + 4.0 * (4 * numbers + kept)
    return base + numbers * (BYTES[dtype] if dtype in FLOATS else BYTES[shape.stored] + 1)
