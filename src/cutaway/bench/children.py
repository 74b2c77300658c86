"""The processes of a benchmark: one for each contestant, one that keeps a core busy. None outlives its ``with``."""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from .contestants import Job

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


Opened = TypeVar("Opened")


class FailedError(RuntimeError):
    """A contestant whose process ended."""


def environment(threads: int) -> dict[str, str]:
    """As many threads for all, no downloads, and this Cutaway, wherever it lies."""
    here = str(Path(__file__).parents[2])
    told = dict.fromkeys(THREADS, str(threads))
    told |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **told, "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}


class Process:
    """A process that is ended with its ``with``."""

    process: subprocess.Popen[bytes]

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):  # a word that nobody read
                self.process.stdin.close()


class Child(Process):
    """A contestant's process. Raises :class:`FailedError`, with what it said last, when it is gone."""

    def __init__(self, job: Job):
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker"], env=environment(job.threads),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, start_new_session=True,
        )  # fmt: skip
        self.send(pickle.dumps(job))

    def send(self, message: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(message)
            self.process.stdin.flush()
        except BrokenPipeError:
            raise FailedError(self.last_words()) from None

    def tell(self, word: str) -> None:
        self.send(f"{word}\n".encode())

    def ask(self, word: str) -> Any:
        self.tell(word)
        return self.hear()

    def hear(self) -> Any:
        """The answer to a word that was told."""
        assert self.process.stdout is not None
        try:
            return pickle.load(self.process.stdout)
        except EOFError:
            raise FailedError(self.last_words()) from None

    def last_words(self) -> str:
        code = self.process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            return f"ended by {name}" + (", as a system does that has no memory left" if name == "SIGKILL" else "")
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"ended with exit code {code}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()


BUSY = """
import os, select
while word := os.read(0, 1):
    while word == b"g" and not select.select([0], [], [], 0)[0]:
        sum(range(10_000))
"""


class Busy(Process):
    """Another process that uses one core as much as it is let, while it is told to."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, start_new_session=True)

    @contextmanager
    def going(self) -> Iterator[None]:
        assert self.process.stdin is not None
        os.write(self.process.stdin.fileno(), b"g")
        yield
        os.write(self.process.stdin.fileno(), b"s")
