"""One contestant in a process of its own: loads, then does what it is told, word by word, until there is no word.

Job and answers are pickled on standard input and output; what a peer prints goes to standard error."""

import os
import pickle
import resource
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from .contestants import Act, Job
from .peers import PEERS

LIMITS = "limits"


def module(job: Job) -> Any:
    if job.entry.peer == LIMITS:
        return import_module(".limits", __package__)
    return import_module(f".contestants.{PEERS[job.entry.peer].module}", __package__)


def peak() -> int:
    """The most memory that this process has held so far, in bytes: of its own, and of files that it maps."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def waiting(job: Job) -> Any:
    """What waits until a GPU is done; nothing to wait for on a CPU."""
    if job.device.startswith("cuda") and "torch" in sys.modules:
        import torch

        return torch.cuda.synchronize
    return lambda: None


def timed(act: Act, wait: Any) -> tuple[float, list[float]]:
    """Seconds of one turn, and of its marks since it began."""
    marks: list[float] = []

    def mark() -> None:
        wait()
        marks.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    act.turn(mark)
    wait()
    return time.perf_counter() - begin, marks


def main() -> None:
    heard, said = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    job: Job = pickle.load(heard)
    contestant = module(job)
    act: Act | None = None
    while word := heard.readline().decode().strip():
        found: Any = None
        if word == "prepare":
            vars(contestant).get("prepare", lambda job: None)(job)
        elif act is None:  # "load" comes before any other
            act = contestant.WORKS[job.work.kind](job)
        elif word == "answer":
            found = act.answer()
        elif word == "turn":
            found = timed(act, waiting(job))
        elif word == "peak":
            found = peak()
        pickle.dump(found, said)
        said.flush()


if __name__ == "__main__":
    main()
