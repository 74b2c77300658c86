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
from .ranks.parallel import World
from .recipes import Evaluation

LENGTH, LONGEST, TOGETHER = 64, 400, 256


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
        room = {} if model.limit is None else {"max_new_tokens": min(LENGTH, model.limit // 2)}
        settings: dict[str, Any] = {"max_new_tokens": LENGTH, "temperature": 0.7, "top_p": 0.95, "seed": 0, **room}
        return self.how.sample + str(model.generate(self.how.sample, **settings))


def split(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def write(model: Model, texts: list[str]) -> list[str]:
    """What an encoder-decoder makes of texts, greedily."""
    assert model.tokenizer is not None  # a run has one
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    ids = model.generate([model.tokenizer.encode(texts[i]).ids for i in order], max_new_tokens=LENGTH, num_beams=1)
    made = {i: model.tokenizer.decode(row.tolist()).strip() for i, row in zip(order, ids, strict=True)}
    return [made[i] for i in range(len(texts))]


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
