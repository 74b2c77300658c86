"""What this machine can do at most: matrix products per dtype, reading memory, reading a file that is in memory.

Measured like a contestant, in every round, so that the figures compared are of the same moments."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from .contestants import Act, Array, Job

CHUNK, COLUMNS = 2**24, 4096


def seconds(act: Callable[[], object], device: torch.device, times: int = 2) -> float:
    """The quickest of some calls."""

    def once() -> float:
        begin = time.perf_counter()
        act()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begin

    return min(once() for _ in range(times))


def product(dtype: torch.dtype, side: int, device: torch.device) -> Callable[[], object]:
    """A product of two square matrices."""
    if dtype == torch.int8:
        a = torch.randint(-127, 128, (side, side), dtype=dtype, device=device)
        return lambda: torch._int_mm(a, a)
    b = torch.randn(side, side, device=device).to(dtype)
    return lambda: b @ b


def file_reader(path: Path) -> Callable[[], object]:
    """Reads a file into one small buffer, piece by piece."""
    buffer = bytearray(CHUNK)

    def read() -> None:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    return read


def make(job: Job) -> Act:
    device, side = torch.device(job.device), job.work.length
    products = [product(dtype, side, device) for dtype in (torch.float32, torch.bfloat16, torch.int8)]
    numbers = torch.ones(side * side // 128, COLUMNS, device=device)  # at a side of 1536, 302 MB: in no cache
    vector = torch.ones(COLUMNS, device=device)
    path = next(iter(sorted(job.folder.glob("*.safetensors"))), None)

    @torch.inference_mode()
    def answer() -> Array:
        """Operations a second of each product, then bytes a second of each reading; 0 where there is no file."""
        rates = [2 * side**3 / seconds(act, device) for act in products]
        reads = (seconds(lambda: numbers @ vector, device), seconds(lambda: numbers.sum(), device))
        rates.append(4 * numbers.numel() / min(reads))
        rates.append(path.stat().st_size / seconds(file_reader(path), device) if path else 0.0)
        return np.array(rates)

    return Act(lambda mark: None, answer)


WORKS = {"limits": make}
