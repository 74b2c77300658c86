"""A training that is killed again and again: ``python killed.py FOLDER KILLS`` prints what came of it as JSON.

The imports cost seconds, so they are made once, and each process that trains is a fork of this one."""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
from train.small import corpus, quiet, recipe

from cutaway.families import gpt2
from cutaway.train import checkpoints, recipes, run
from cutaway.train.recipes import Evaluation, Saving
from cutaway.train.report.metrics import read

EVERY, STEPS = 3, 150
SMALL = dict(
    model=gpt2.Config(width=16, depth=1, heads=2, length=32, vocab=300), steps=STEPS,
    evaluate=Evaluation(every=50, batches=1), save=Saving(every=EVERY, keep=2), ema=0.9,
)  # fmt: skip


def leftovers(folder: Path) -> list[str]:
    """What a save leaves when it is killed."""
    return [p.name for p in folder.iterdir() if p.name.startswith(".") and p.name != ".lock"] if folder.is_dir() else []


def train(folder: Path, text: str, tell: Callable[[dict[str, Any]], None]) -> None:
    """Begin the run, or go on with it; ``tell`` what happens as it happens."""
    tell({"left": leftovers(folder), "newest": newest(folder)})
    if (folder / "recipe.json").exists():
        made = run.resume(folder, quiet)
    else:
        made = run.start(recipe(text, **SMALL), folder, quiet)
    tell({"ready": made.loop.progress.step, "swept": leftovers(folder)})
    real = made.loop.step

    def step() -> dict[str, float]:
        found = real()
        tell({"step": made.loop.progress.step})
        return found

    made.loop.step = step
    made.go()
    tell({"sha256": checkpoints.digest(made.loop.tensors())})


def newest(folder: Path) -> int:
    found = checkpoints.newest(folder)[0]
    return 0 if found is None else int(found.name[5:])


def in_a_child(kill_after: float | None, folder: Path, text: str) -> list[dict[str, Any]]:
    """What a process told that trained until it was done, or for so many seconds after its first word."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        train(folder, text, lambda record: void(os.write(writing, (json.dumps(record) + "\n").encode())))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        lines = [told.readline()]
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(child, signal.SIGKILL)
        lines += told.readlines()
    status = os.waitpid(child, 0)[1]
    assert status == 0 or (kill_after is not None and os.WTERMSIG(status) == signal.SIGKILL), status
    return [json.loads(line) for line in lines]


def void(_: object) -> None: ...


def losses(folder: Path) -> list[Any]:
    return [(r["step"], r["loss"]) for r in read(folder / "metrics.jsonl") if r["kind"] == "train"]


def main(place: Path, kills: int) -> dict[str, Any]:
    """Kill, look, go on; when a run ends before it could be killed, it is one more to compare, and another begins.

    As many kills as asked for, and more until one has hit a save, five times as many at most."""
    text = corpus(place, 100)
    torch.set_num_threads(1)
    run.start(recipe(text, **SMALL), place / "runs" / "first", quiet)  # makes the data, and imports what is needed
    recipes.read(place / "runs" / "first" / "recipe.json")
    began = time.perf_counter()
    whole = in_a_child(None, place / "runs" / "whole", text)
    each = (time.perf_counter() - began) / kills
    expected = whole[-1]["sha256"], losses(place / "runs" / "whole")
    report: dict[str, Any] = {"kills": 0, "in a save": 0, "lost": [], "swept": [], "finished": 0, "same": True}
    draw, count, reached = random.Random(1), 0, 0
    rest = False
    while not rest or reached:
        folder = place / "runs" / f"killed-{count}"
        rest = report["kills"] >= kills and (report["in a save"] > 0 or report["kills"] >= 5 * kills)
        told = in_a_child(None if rest else draw.uniform(0, 3) * each, folder, text)
        report["in a save"] += bool(told[0]["left"])
        ready = [r for r in told if "ready" in r]
        if ready:
            assert ready[0]["ready"] == told[0]["newest"], told[:2]
            report["lost"].append(reached - ready[0]["ready"])
            report["swept"] += ready[0]["swept"]
            reached = max([r["step"] for r in told if "step" in r], default=ready[0]["ready"])
        if "sha256" in told[-1]:
            report["finished"] += 1
            report["same"] &= (told[-1]["sha256"], losses(folder)) == expected
            count, reached = count + 1, 0
        else:
            report["kills"] += 1
    return report


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
