"""What a run spends its time on: ``python benchmarks/train_overheads.py [RECIPE] [--OPTIONS of cutaway train]``.

First the command, three times on data that is already prepared: seconds until the first step is done. Then the same
run in this process with a clock on every part: forward and backward, what else a step does, validation, checkpoints,
logging. Beside it the same from metrics.jsonl: by how much steps before which something was due came late."""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from contest import machine

from cutaway.cli.training import parsed
from cutaway.train import cookbook, run
from cutaway.train.report import metrics
from cutaway.train.report.display import display

KINDS = {
    "forward and backward": ("forward", "backward"),
    "rest of the step": ("batches", "optimiser", "step"),
    "validation on the way": ("validation",),
    "checkpoints": ("checkpoint",),
    "logging, display": ("logging",),
    "end: validation, model, curve": ("last validation", "finish"),
    "else": ("else",),
}


class Clock:
    """Seconds by part; what runs inside of another part counts for itself alone."""

    def __init__(self) -> None:
        self.spent, self.running, self.at = Counter[str](), ["else"], time.perf_counter()

    def turn(self) -> None:
        now = time.perf_counter()
        self.spent[self.running[-1]] += now - self.at
        self.at = now

    def enter(self, part: str) -> None:
        self.turn()
        self.running.append(part)

    def leave(self) -> None:
        self.turn()
        self.running.pop()

    def on(self, part: str, act: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, with the clock on it."""

        def clocked(*args: Any, **kwargs: Any) -> Any:
            self.enter("last validation" if part == "validation" and kwargs.get("whole") else part)
            try:
                return act(*args, **kwargs)
            finally:
                self.leave()

        return clocked


def first_step(words: list[str], parent: Path, name: str) -> float:
    """Seconds from the command to the first step's line in metrics.jsonl; the run is then stopped."""
    path = parent / name / run.METRICS
    began = time.perf_counter()
    command = [sys.executable, "-m", "cutaway.cli", "train", *words, "--runs", str(parent), "--name", name]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not (path.exists() and path.stat().st_size):
        if process.poll() is not None and not path.exists():
            raise SystemExit(f"the command ended with {process.returncode} before its first step")
        time.sleep(0.005)
    took = time.perf_counter() - began
    process.terminate()
    process.wait()
    return took


def clocked_run(recipe: Any, folder: Path) -> Counter[str]:
    """The run, from the loop's first step to the end, with a clock on its parts."""
    made = run.start(recipe, folder, print, display)
    clock, loop = Clock(), made.loop
    for part, owner, name in (
        ("step", loop, "step"), ("batches", loop, "micro_batches"), ("validation", loop, "validate"),
        ("checkpoint", loop, "save"), ("logging", loop, "tell"), ("optimiser", loop.optimizers, "step"),
        ("optimiser", loop.optimizers, "zero_grad"), ("optimiser", loop, "average"), ("finish", made, "finish"),
    ):  # fmt: skip
        setattr(owner, name, clock.on(part, getattr(owner, name)))
    prepared = loop.prepared.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        return (clock.on("forward", prepared) if torch.is_grad_enabled() else prepared)(*args, **kwargs)

    with (
        patch.object(loop.prepared, "forward", forward),
        patch.object(torch.Tensor, "backward", clock.on("backward", torch.Tensor.backward)),
    ):
        made.go()
    clock.turn()
    return clock.spent


def late(recipe: Any, records: list[dict[str, Any]]) -> tuple[float, float]:
    """Seconds by which steps after a validation or checkpoint ended later than others, and all seconds."""
    steps = [r for r in records if r["kind"] == "train"]
    gaps = {b["step"]: b["seconds"] - a["seconds"] for a, b in pairwise(steps)}
    due = [every for every in (recipe.evaluate.every, recipe.save.every) if every]
    after = {step for step in gaps if any((step - 1) % every == 0 for every in due)}
    usual = [gap for step, gap in gaps.items() if step not in after]
    if not usual:
        return 0.0, 0.0
    return sum(gaps[step] for step in after) - len(after) * statistics.median(usual), steps[-1]["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="stdlib")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args, flags = parser.parse_known_args()
    torch.set_num_threads(args.threads)
    recipe = parsed(cookbook.named(args.recipe), flags)[1]
    print(machine(args.threads), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        parent = Path(folder)
        words = [args.recipe, *flags]
        fresh = first_step(words, parent, "fresh")
        again = [first_step(words, parent, f"again-{i}") for i in range(args.repeats)]
        spent = clocked_run(recipe, parent / "clocked")
        excess, all_of_it = late(recipe, metrics.read(parent / "clocked" / run.METRICS))
    middle, spread = statistics.median(again), f"{min(again):.2f} to {max(again):.2f}"
    print(f"\nfrom the command to the first step: {middle:.2f} s ({spread})")
    print(f"with data and tokenizer to be made: {fresh:.2f} s\n")
    total = sum(spent.values())
    for kind, parts in KINDS.items():
        seconds = sum(spent[part] for part in parts)
        detail = ", ".join(f"{part} {spent[part]:.2f}" for part in parts) if len(parts) > 1 else ""
        print(f"{kind:<32}{seconds:>9.2f} s{seconds / total:>8.1%}  {detail}")
    steps = sum(spent[part] for part in (*KINDS["forward and backward"], *KINDS["rest of the step"]))
    outside = sum(spent[part] for part in KINDS["rest of the step"])
    watching = spent["validation"] + spent["logging"]
    print(f"{'a step outside forward, backward':<32}{outside / steps:>19.1%}")
    print(f"{'validation and logging':<32}{watching / total:>19.1%}")
    if all_of_it:
        print(f"{'by metrics.jsonl, with saving':<32}{excess / all_of_it:>19.1%}  steps after those that were due")


if __name__ == "__main__":
    main()
