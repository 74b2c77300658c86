"""Tiny Shakespeare by characters, and what makes the difference: ``python benchmarks/characters.py input.txt``.

The recipe ``characters`` and ablations that change one thing each, with half and with all of the 1,536,000 characters
of nanoGPT's setting for CPUs (4 layers, 4 heads, width 128, 12 x 64 characters a step, 2,000 iterations; first 90 % to
train on, the rest to validate), whose loss is published as 1.88. Losses are nats per character of all of that rest."""

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from contest import machine

from cutaway.families import gpt2
from cutaway.train import cookbook, run
from cutaway.train.optimizers import Optimizer
from cutaway.train.recipes import Batching, Data, Evaluation, Recipe, Saving
from cutaway.train.schedules import Schedule

PUBLISHED, TOKENS = 1.88, 1_536_000
Change = Callable[[Recipe], Recipe]


def adamw(r: Recipe) -> Recipe:
    return replace(r, optimizer=Optimizer("adamw", lr=1e-3, betas=(0.9, 0.99)))


def cosine(r: Recipe) -> Recipe:
    return replace(r, schedule=replace(r.schedule, shape="cosine", floor=0.1))


def as_gpt2(r: Recipe) -> Recipe:
    none = dict(dropout=0.0, embed_dropout=0.0, attention_dropout=0.0)
    size = dict(width=r.model.width, depth=r.model.depth, heads=r.model.heads, length=r.model.length)
    return replace(r, model_type="gpt2", model=gpt2.Config(**size, **none))


def dropout(r: Recipe) -> Recipe:
    """On attention weights: the only dropout that a LLaMA has."""
    return replace(r, model=replace(r.model, attention_dropout=0.1))


def batch(rows: int, accumulate: int = 1) -> Change:
    return lambda r: replace(r, batch=replace(r.batch, rows=rows, accumulate=accumulate))


def nanogpt(r: Recipe) -> Recipe:
    """All that ablations undo, together: what nanoGPT trains, by our loop."""
    return replace(adamw(as_gpt2(r)), schedule=Schedule("cosine", warmup=100, floor=0.1))


ABLATIONS: dict[str, Change] = {
    "characters": lambda r: r,
    "adamw": adamw,
    "cosine": cosine,
    "gpt2": as_gpt2,
    "dropout": dropout,
    "ema": lambda r: replace(r, ema=0.99),
    "rows-6": batch(6),
    "rows-24": batch(24),
    "accumulate-2": batch(12, accumulate=2),
    "nanogpt": nanogpt,
}
TOLD = {
    "characters": "the recipe",
    "adamw": "AdamW, rate 1e-3, in place of Muon",
    "cosine": "cosine to a tenth in place of wsd",
    "gpt2": "GPT-2 in place of LLaMA",
    "dropout": "dropout 0.1 on attention weights",
    "ema": "running mean of the weights, 0.99",
    "rows-6": "6 rows a step, twice the steps",
    "rows-24": "24 rows a step, half the steps",
    "accumulate-2": "two batches of 12 rows a step, half the steps",
    "nanogpt": "GPT-2, AdamW, cosine, warm-up 100: nanoGPT's",
}


@dataclass(frozen=True)
class Result:
    """Nats per character, and what it took."""

    loss: float
    seconds: float
    steps: int
    precision: str


def train(change: Change, characters: int, seed: int, parts: tuple[Path, Path], folder: Path, precision: str) -> Result:
    """A run of about so many characters, as many as whole steps make, judged on the whole validation part."""
    recipe = change(replace(
        cookbook.characters(), data=Data((str(parts[0]),), (str(parts[1]),)), seed=seed, minutes=None,
        evaluate=Evaluation(every=0), save=Saving(every=0), precision=precision,
    ))  # fmt: skip
    how: Batching = recipe.batch
    steps = max(1, characters // (how.rows * how.length * how.accumulate))
    made = run.start(replace(recipe, steps=steps), folder, say=lambda text: None)
    found = made.go()
    text = parts[1].read_text(encoding="utf-8")
    nats = found["bits_per_byte"] * math.log(2) * len(text.encode()) / len(text)
    return Result(nats, found["seconds"], steps, made.loop.precision)


def split(text: str, folder: Path) -> tuple[Path, Path]:
    """The first nine tenths of the characters, and the rest, as files."""
    at = int(len(text) * 0.9)
    parts = folder / "train.txt", folder / "validation.txt"
    for path, part in zip(parts, (text[:at], text[at:]), strict=True):
        path.write_text(part, encoding="utf-8", newline="")
    return parts


def row(name: str, characters: int, results: list[Result]) -> str:
    losses = [r.loss for r in results]
    spread = f" ± {(max(losses) - min(losses)) / 2:.3f}" if len(losses) > 1 else ""
    mean, last = statistics.mean(losses), results[-1]
    seconds = statistics.mean(r.seconds for r in results)
    return (
        f"| {TOLD[name]} | {characters:,} | {last.steps:,} | {mean:.3f}{spread} | {mean - PUBLISHED:+.3f} "
        f"| {seconds:.0f} s | {last.precision} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="tiny Shakespeare's input.txt")
    parser.add_argument("--only", nargs="+", choices=ABLATIONS, default=list(ABLATIONS))
    parser.add_argument("--characters", nargs="+", type=int, default=[TOKENS // 2, TOKENS], help="budgets")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--save", type=Path, default=Path("characters.md"), help="where the table goes")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    lines = [
        machine(args.threads), "",
        f"nanoGPT's published validation loss: {PUBLISHED} after {TOKENS:,} characters. Seeds: {args.seeds}.", "",
        "| changed | characters | steps | validation loss | against nanoGPT | time | precision |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as parent:
        parts = split(args.text.read_text(encoding="utf-8"), Path(parent))
        for characters in args.characters:
            for name in args.only:
                folders = {seed: Path(parent, f"{name}-{characters}-{seed}") for seed in args.seeds}
                change = ABLATIONS[name]
                results = [train(change, characters, s, parts, f, args.precision) for s, f in folders.items()]
                lines.append(row(name, characters, results))
                print(lines[-1], flush=True)
                args.save.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
