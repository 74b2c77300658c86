"""How a run is judged: the loss on unseen text, bits per byte, texts written as expected, a sample to read."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..data.batches import Batches
from ..model import Model
from .objectives import Objective
from .precision import autocast
from .ranks.world import World
from .recipes import Evaluation

LENGTH, TOGETHER = 64, 256


@dataclass(frozen=True)
class Judge:
    """Validation batches and what they are worth: ``bytes`` of text (None: not text alone), ``pairs`` of texts."""

    how: Evaluation
    batches: Batches
    objective: Objective
    bytes: int | None
    pairs: list[dict[str, str]]
    precision: str
    world: World

    def loss(self, learner: nn.Module, whole: bool) -> dict[str, Any]:
        """Mean loss in nats over batches spread evenly, or all; each rank takes its share."""
        number = self.batches.per_epoch
        most = number if whole or self.how.batches is None else min(number, self.how.batches)
        rank, ranks = self.world.rows
        total = torch.zeros(2, dtype=torch.float64)
        for i in range(most):
            if i % ranks == rank or (self.world.mesh is not None and self.world.how.data == "fsdp"):
                batch = self.objective.batch(self.batches[i * number // most], torch.Generator().manual_seed(i))
                with torch.no_grad(), autocast(self.world.device, self.precision):
                    inputs = {name: t.to(self.world.device) for name, t in batch.inputs.items()}
                    summed = learner(inputs, batch.targets.to(self.world.device))
                if i % ranks == rank:
                    total += torch.tensor([summed.item(), batch.count], dtype=torch.float64)
        nats, targets = self.world.sum(total).tolist()
        found: dict[str, Any] = {"loss": nats / max(targets, 1)}
        if self.bytes is not None:
            found["bits_per_byte"] = found["loss"] / math.log(2) * self.batches.targets / self.bytes
        return found

    def exact(self, model: Model, most: int) -> tuple[float, str]:
        """The share of unseen inputs that are written just as expected, and a few of them to read."""
        pairs = self.pairs[:most]
        written = [text for some in split(pairs, TOGETHER) for text in write(model, [p["input"] for p in some])]
        right = [text == pair["target"] for text, pair in zip(written, pairs, strict=True)]
        shown = [
            f"{pair['input']} → {text}" + ("" if good else f"  (not {pair['target']})")
            for pair, text, good in zip(pairs, written, right, strict=True)
        ]
        return sum(right) / len(right), "\n".join(shown[:3])

    def sample(self, model: Model) -> str | None:
        """The model's continuation of the recipe's text, the same draw each time."""
        if self.how.sample is None:
            return None
        length = LENGTH if model.limit is None else min(LENGTH, model.limit // 2)
        written = model.generate(self.how.sample, max_new_tokens=length, temperature=0.7, top_p=0.95, seed=0)
        return self.how.sample + str(written)


def split(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def write(model: Model, texts: list[str]) -> list[str]:
    """What an encoder-decoder makes of texts, greedily."""
    return [text.strip() for text in model.generate(texts, max_new_tokens=LENGTH, num_beams=1)]


@contextmanager
def judging(model: nn.Module) -> Iterator[None]:
    """Eval mode, and random numbers as if nothing had been drawn."""
    training = model.training
    model.eval()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        model.train(training)


@contextmanager
def wearing(weights: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> Iterator[None]:
    """Other numbers in the same weights, until the end of the block."""
    kept = {name: weights[name].detach().clone() for name in others}
    with torch.no_grad():
        for name, other in others.items():
            weights[name].copy_(other)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, own in kept.items():
                weights[name].copy_(own)
