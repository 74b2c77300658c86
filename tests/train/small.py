"""A small run for tests: a few seconds on one thread, with everything that a run may have."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from cutaway.families import gpt2
from cutaway.train import run
from cutaway.train.optimizers import Optimizer
from cutaway.train.recipes import Batching, Data, Evaluation, Recipe, Saving, Tokens
from cutaway.train.run import Run
from cutaway.train.schedules import Schedule

WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "then", "sleeps")


def corpus(folder: Path, lines: int = 300) -> str:
    """A text of as many lines, the same each time."""
    path = folder / "corpus.txt"
    text = (" ".join(WORDS[(i * i + j * (i % 7 + 1)) % len(WORDS)] for j in range(3 + i % 9)) for i in range(lines))
    path.write_text("\n".join(text) + "\n")
    return str(path)


def recipe(where: str, **more: Any) -> Recipe:
    """Dropout, accumulation and packing are on, and checkpoints are frequent."""
    usual = Recipe(
        model_type="gpt2",
        model=gpt2.Config(width=16, depth=2, heads=2, length=32, vocab=300),
        data=Data((where,), unit="line"),
        tokens=Tokens("bytes"),
        batch=Batching("packed", length=32, rows=2, accumulate=2),
        steps=12,
        optimizer=Optimizer("adamw", lr=3e-3),
        schedule=Schedule("cosine", warmup=2),
        evaluate=Evaluation(every=5, batches=2),
        save=Saving(every=4, keep=2),
        precision="float32",
    )
    return replace(usual, **more)


def quiet(text: str) -> None:
    """Says nothing."""


def begin(where: str, folder: Path, **more: Any) -> Run:
    return run.start(recipe(where, **more), folder, quiet)
