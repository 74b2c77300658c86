"""How each peer does each kind of work: one module per peer with a table ``WORKS``, and ``prepare`` where a peer
needs files of its own."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from ..peers import Entry
from ..works import Work

Mark = Callable[[], None]
Array = ndarray[Any, np.dtype[Any]]
TOLD = 16  # tokens of a target whose scores are compared


@dataclass(frozen=True)
class Job:
    """What a contestant is told: the work, who it is, the checkpoint's ``folder``, how many threads, where."""

    work: Work
    entry: Entry
    folder: Path
    threads: int
    device: str = "cpu"

    def ids(self) -> Array:
        """The input [B, N], the same for all; without the first and last ids, which may be special."""
        random = np.random.default_rng(0)
        return random.integers(10, self.work.model.config["vocab"] - 1, (self.work.batch, self.work.length))


class Act(NamedTuple):
    """A contestant that is ready: ``turn`` does the work once and calls ``mark`` after each new token if it makes
    them one by one; ``answer`` gives what must be the same for all (logits, hidden states, scores, gradients)."""

    turn: Callable[[Mark], object]
    answer: Callable[[], Array]


Make = Callable[[Job], Act]


def importing(code: str) -> Make:
    """The work of importing: ``code`` in a fresh Python."""

    def make(job: Job) -> Act:
        command = [sys.executable, "-c", code]
        return Act(lambda mark: subprocess.run(command, check=True), lambda: np.zeros(0))

    return make
