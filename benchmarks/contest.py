"""What the benchmarks of training share: one job for all contestants, each in a process of its own, steps in turns.

So a machine that slows down slows all of them, and none finds another's threads, memory or settings."""

import argparse
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor

from cutaway.data.batches import Batches, Row

TOLERANCE = 1e-2
Run = Callable[["Job", "Turn"], None]


@dataclass(frozen=True)
class Job:
    """What every contestant does: ``steps`` updates of the checkpoint in ``folder``."""

    folder: str
    vocab: int
    width: int
    depth: int
    heads: int
    rows: int
    length: int
    steps: int
    lr: float
    precision: str
    threads: int

    def pair(self, step: int) -> tuple[Tensor, Tensor]:
        """Ids [B, N] and the ids that follow them."""
        rows = torch.stack([row["input"] for row in Drawn(self)[step]])
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


class Drawn(Batches):
    """Random ids: a step's speed does not depend on what they say."""

    def __init__(self, job: Job):
        super().__init__(units=job.rows, rows=job.rows, seed=0, ordered=False, targets=job.rows * job.length)
        self.job = job

    def unit(self, epoch: int, number: int) -> list[Row]:
        random = torch.Generator().manual_seed(epoch * self.rows + number)
        return [{"input": torch.randint(self.job.vocab, (self.job.length + 1,), generator=random)}]


class Turn:
    """Called before each step and after the last one: tells how the one before went, and waits until it may go on."""

    def __init__(self, pipe: Connection):
        self.pipe, self.began = pipe, 0.0

    def __call__(self, loss: float | None) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        self.pipe.send((time.perf_counter() - self.began, loss, peak))
        self.pipe.recv()
        self.began = time.perf_counter()


def work(run: Run, job: Job, pipe: Connection) -> None:
    torch.set_num_threads(job.threads)
    run(job, Turn(pipe))


@dataclass(frozen=True)
class Step:
    """What a contestant said of one: the peak is of all its process's memory until then."""

    seconds: float
    loss: float
    peak: int


def race(contestants: dict[str, Run], job: Job, each_round: Callable[[], None] = lambda: None) -> dict[str, list[Step]]:
    """All steps of all contestants, taken in turns; ``each_round`` is called between rounds."""
    spawn = multiprocessing.get_context("spawn")
    pipes, workers = {}, []
    for name, run in contestants.items():
        pipes[name], theirs = spawn.Pipe()
        workers.append(spawn.Process(target=work, args=(run, job, theirs), daemon=True))
        workers[-1].start()
        theirs.close()  # so that a contestant that dies is an EOFError here
        pipes[name].recv()
    found: dict[str, list[Step]] = {name: [] for name in contestants}
    for _ in range(job.steps):
        each_round()
        for name, pipe in pipes.items():
            pipe.send(None)
            found[name].append(Step(*pipe.recv()))
    for pipe, worker in zip(pipes.values(), workers, strict=True):
        pipe.send(None)
        worker.join()
    return found


def write_checkpoint(job: Job) -> None:
    import transformers

    torch.manual_seed(0)
    none = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)
    places = max(job.length, 1024)
    shape = dict(vocab_size=job.vocab, n_positions=places, n_embd=job.width, n_layer=job.depth, n_head=job.heads)
    transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape, **none)).save_pretrained(job.folder)


def prepared(args: argparse.Namespace, folder: str, steps: int) -> Job:
    """The job, with its checkpoint written by a process of its own: ru_maxrss of a child begins at its parent's."""
    shape = (args.vocab, args.width, args.depth, args.heads, args.rows, args.length)
    job = Job(folder, *shape, steps, args.lr, "float32", args.threads)
    writer = multiprocessing.get_context("spawn").Process(target=write_checkpoint, args=(job,))
    writer.start()
    writer.join()
    return job


def agreed(found: dict[str, list[Step]]) -> None:
    """Raises SystemExit if the first losses are not the same: then these are different models."""
    first = {name: steps[0].loss for name, steps in found.items()}
    if max(first.values()) - min(first.values()) > TOLERANCE:
        raise SystemExit(f"the losses of the first step differ by more than {TOLERANCE}: {first}")


def machine(threads: int) -> str:
    """What figures depend on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    kind = torch.backends.cpu.get_cpu_capability()
    return f"{name}, {os.cpu_count()} cores, {threads} threads, {kind}; torch {torch.__version__}"


def options(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = dict(vocab=50_257, width=768, depth=12, heads=12, rows=4, length=256, threads=torch.get_num_threads())
    for name, usual in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--precision", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    return parser
