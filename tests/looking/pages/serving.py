"""Servers to look at: `cutaway look` as a process, on models made here; and a record of what a page asks for."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from looking.pages.truth import Truth
from looking.small import TARGET
from playwright.sync_api import BrowserContext, ConsoleMessage, Request

import cutaway
from cutaway.looking.desk import Desk
from cutaway.looking.server import STATIC
from cutaway.looking.server import Server as Http

RECIPE = """--name page --no-yardsticks --steps 12 --precision float32 --optimizer.lr 0.05 --evaluate.every 6
    --save.every 6 --save.keep 3 --probe-roles 6 --data.train cats.txt --data.unit line --tokens.kind bytes
    --model.width 32 --model.depth 2 --model.heads 3 --model.head-dim 8 --model.hidden 48 --model.length 64"""
TEXTS = {
    "run": ("the cat sat on it", None),
    "bert": ("it was so tired", None),
    "t5": ("it was so tired", TARGET),
    "recurrent": ("it was so tired", TARGET),
}


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "cutaway.cli", *map(str, words)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}


def trained(place: Path) -> Path:
    """A run of twelve steps, its weights then shaken: after so few all heads would look alike."""
    lines = (f"the cat sat on mat {i} and then it ran away from the dog" for i in range(400))
    (place / "cats.txt").write_text("\n".join(lines))
    subprocess.run(command("train", *RECIPE.split()), cwd=place, check=True, capture_output=True, env=environment())
    run = place / "runs" / "page"
    torch.manual_seed(0)
    for folder in (run / "model", *sorted(run.glob("step_*/model"))):
        model = cutaway.load(folder)
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
        cutaway.save(model, folder)
    return run


@dataclass
class Server:
    """A `cutaway look` that runs until it is told to stop."""

    folder: Path
    text: str
    target: str | None = None
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        more = [] if self.target is None else ["--target", self.target]
        words = command("look", self.folder, self.text, *more, "--no-browser")
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment())
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", line):
                self.url = found[0]
                return
        raise AssertionError(f"no address was printed: {''.join(self.lines)}")

    @cached_property
    def truth(self) -> Truth:
        """The same model on the same text, here."""
        return Truth(self.folder, self.text, self.target)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@contextmanager
def serving(desk: Desk, *, like: Http | None = None, static: Path = STATIC) -> Iterator[Http]:
    """A server in this process, that can be stopped; ``like`` another: at its place, with its key."""
    made = Http(desk, like.port if like else 0, static)
    made.token = like.token if like else made.token
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        yield made
    finally:
        made.server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


Go = Callable[..., None]


class Watch:
    """What a page asked for and complained about."""

    def __init__(self, context: BrowserContext):
        self.requests: list[str] = []
        self.complaints: list[str] = []
        context.on("request", self.asked)
        context.on("console", self.told)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def asked(self, request: Request) -> None:
        self.requests.append(request.url)

    def told(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    @property
    def outside(self) -> list[str]:
        """Requests that left this machine."""
        return [url for url in self.requests if not re.match(r"(http://127\.0\.0\.1:\d+/|data:|blob:|file:)", url)]
