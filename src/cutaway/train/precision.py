"""Which precision trains fastest on this machine: tried, not guessed. Weights stay in float32 either way.

bfloat16 is several times faster than float32 where the processor multiplies it in hardware, and several times slower
where it does not: both kinds of processor are common, and their names do not tell."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Literal

import torch
from torch import Tensor, nn

Name = Literal["float32", "bfloat16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Probe:
    """Seconds that a forward and backward pass of one micro-batch took, by precision."""

    seconds: dict[Name, float]

    @property
    def best(self) -> Name:
        return min(self.seconds, key=lambda name: self.seconds[name])

    def __str__(self) -> str:
        slow = max(self.seconds.values())
        best = self.seconds[self.best]
        others = [f"{value / best:.1f}x as fast as {name}" for name, value in self.seconds.items() if name != self.best]
        return f"{self.best}" + (f", {others[0]} here" if others and slow > best else "")


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Matrix products in ``precision``, sums and norms in float32."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "float32")


def probe(
    learner: nn.Module, inputs: Mapping[str, Tensor], targets: Tensor, names: tuple[Name, ...], seconds: float = 0.4
) -> Probe:
    """Time a pass on a real batch in each of these precisions, ``seconds`` each and at least twice.

    Gradients are dropped, and random numbers are drawn as if nothing had happened."""
    device = targets.device
    took: dict[Name, float] = {}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for name in names:
            times: list[float] = []
            begin = time.perf_counter()
            while len(times) < 2 or time.perf_counter() - begin < seconds:
                start = time.perf_counter()
                with autocast(device, name):
                    loss = learner(inputs, targets)
                loss.backward()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                times.append(time.perf_counter() - start)
            took[name] = median(times[1:])
            learner.zero_grad(set_to_none=True)
    return Probe(took)
