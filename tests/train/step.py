"""Prints the memory that two training steps added to this process, in bytes, and the seconds of the second.

``step.py DTYPE RECOMPUTE ROWS LENGTH`` with RECOMPUTE 0 or 1; MODEL is what is trained."""

import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch.utils.checkpoint import checkpoint

import cutaway
from cutaway.train.learner import Learner

MODEL = dict(vocab=4096, width=384, depth=6, heads=6, length=256, dropout=0.0, embed_dropout=0.0, attention_dropout=0.0)


def step(learner: Learner, optimizer: torch.optim.Optimizer, ids: torch.Tensor, dtype: torch.dtype) -> None:
    half = dtype != torch.float32
    with torch.autocast("cpu", dtype if half else torch.bfloat16, half):
        loss = learner({"input_ids": ids}, ids)
    (loss / ids.numel()).backward()
    optimizer.step()
    optimizer.zero_grad()


def peak() -> int:
    """The most memory that this program has had, in bytes; ``ru_maxrss`` would begin with that of its parent."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


def main() -> None:
    dtype, recompute, rows, length = getattr(torch, sys.argv[1]), sys.argv[2] == "1", *map(int, sys.argv[3:])
    small = Learner(cutaway.build("gpt2", **MODEL | dict(vocab=64, width=64, depth=1, heads=1)))
    step(small, torch.optim.AdamW(small.parameters()), torch.zeros(2, 16, dtype=torch.long), dtype)  # libraries load
    before = peak()
    learner = Learner(cutaway.build("gpt2", **MODEL)).train()
    for block in learner.model.stack.blocks if recompute else ():
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    optimizer = torch.optim.AdamW(learner.parameters())
    ids = torch.randint(0, MODEL["vocab"], (rows, length))
    for _ in range(2):
        begun = time.perf_counter()
        step(learner, optimizer, ids, dtype)
    print(peak() - before, time.perf_counter() - begun)


if __name__ == "__main__":
    main()
