"""What machines can do, as their makers say it, and what this one does, measured."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

GB = 10**9


@dataclass(frozen=True)
class Device:
    """One accelerator (or all cores of a machine) and what joins it to others.

    ``memory`` in bytes, ``flops`` per second of dense matrix products by dtype, ``bandwidth`` of memory, ``near`` and
    ``far`` of one device's links within and between machines (one direction), all in bytes per second; ``node``
    devices are in a machine. ``reached`` is the share of ``flops`` that good training runs reach, and ``source`` says
    where all this is written."""

    name: str
    kind: str
    memory: float
    flops: dict[str, float]
    bandwidth: float
    near: float
    far: float
    node: int
    reached: float
    source: str

    def link(self, ranks: int) -> float:
        """Bytes per second that a device sends within a group that spans ``ranks`` neighbours."""
        return self.near if ranks <= self.node else self.far


DEVICES = {
    "h100": Device(
        "H100 SXM 80GB", "cuda", 80 * GB, {"bfloat16": 989e12, "float32": 67e12}, 3.35e12, 450 * GB, 50 * GB, 8, 0.41,
        "NVIDIA H100 data sheet (without sparsity); DGX H100 data sheet (NVLink 900 GB/s both ways, 400 Gb/s network a "
        "GPU); reached: Llama 3 405B (Dubey et al., 2024, table 4: 38 to 43 %)",
    ),
    "a100": Device(
        "A100 SXM 80GB", "cuda", 80 * GB, {"bfloat16": 312e12, "float32": 19.5e12}, 2.039e12, 300 * GB, 25 * GB, 8,
        0.45, "NVIDIA A100 data sheet; DGX A100 data sheet (NVLink 600 GB/s both ways, 200 Gb/s network a GPU); "
        "reached: Narayanan et al., 2021, table 1 (44 to 52 %)",
    ),
    "rtx4090": Device(
        "GeForce RTX 4090", "cuda", 24 * GB, {"bfloat16": 165.2e12, "float32": 82.6e12}, 1.008e12, 31.5 * GB, 1.25 * GB,
        1, 0.5, "NVIDIA Ada GPU architecture white paper, appendix A; PCIe 4.0 x16; a 10 Gb/s network and reached 0.5 "
        "are assumptions",
    ),
    "cpu": Device(
        "2 cores with AVX512-BF16", "cpu", 24 * GB, {"bfloat16": 0.72e12, "float32": 0.176e12}, 43 * GB, 5 * GB,
        1.25 * GB, 1, 0.5, "measured: matrix products of 128 x 2048 x 2048, reading of memory; links are assumptions",
    ),
}  # fmt: skip


def device(name: str) -> Device:
    """A device of the table, or "here": this machine, measured. Raises ValueError for a name that is not there."""
    if name == "here":
        return here()
    if name not in DEVICES:
        raise ValueError(f"no device {name!r} in the table; there are: {', '.join(DEVICES)}, and 'here' to measure")
    return DEVICES[name]


def fastest(act: Callable[[], object], seconds: float = 0.2) -> float:
    """Seconds of the fastest of the calls that fit into ``seconds``, at least two."""
    times: list[float] = []
    while len(times) < 2 or sum(times) < seconds:
        begun = time.perf_counter()
        act()
        times.append(time.perf_counter() - begun)
    return min(times[1:])


def here() -> Device:
    """This machine's cores as they do now, in about a second: products of 512 x 1024 x 1024, a copy of 64 MB."""
    flops = {}
    for word, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        a, b = torch.randn(512, 1024).to(dtype), torch.randn(1024, 1024).to(dtype)
        flops[word] = 2 * 512 * 1024 * 1024 / fastest(lambda a=a, b=b: a @ b)  # type: ignore[misc]
    x = torch.ones(16 * 2**20)
    y = torch.empty_like(x)
    bandwidth = 2 * x.nbytes / fastest(lambda: y.copy_(x))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    name = f"this machine, {torch.get_num_threads()} threads"
    table = DEVICES["cpu"]
    return Device(
        name, "cpu", memory, flops, bandwidth, table.near, table.far, 1, table.reached, "measured now; links assumed"
    )
