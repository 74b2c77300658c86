"""Saves that are killed: ``python saving.py calls|moments FOLDER`` prints what came of them."""

import builtins
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import pytest

from cutaway.storage import locate, read_json, write_folder, write_json

CONFIG = {"model_type": "llama", "hidden_size": 8}


def checkpoint(folder: Path, files: Mapping[str, str] = MappingProxyType({})) -> Path:
    """A folder with a config and these files; a name may have a folder of its own."""
    for name, text in {"config.json": json.dumps(CONFIG), **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def save(folder: Path, version: int) -> None:
    """A save of several files, in two levels, with the version in each."""
    with write_folder(folder) as new:
        write_json(new / "config.json", CONFIG | {"version": version})
        (new / "1_Pooling").mkdir()
        write_json(new / "1_Pooling" / "config.json", {"version": version})
        with open(new / "model.safetensors", "wb") as file:
            for _ in range(4):
                file.write(bytes([version]) * 1000)


def version(folder: Path) -> int:
    """The version that all files of the folder agree on."""
    folder = locate(folder)
    assert {p.name for p in folder.iterdir()} == {"config.json", "1_Pooling", "model.safetensors"}
    weights = (folder / "model.safetensors").read_bytes()
    outer, inner = (read_json(folder / name)["version"] for name in ("config.json", "1_Pooling/config.json"))
    assert weights == bytes([outer]) * 4000
    assert inner == outer
    return outer


def in_a_child(work: Callable[..., None], *arguments: Any) -> int | None:
    """Run in a forked process; the signal that ended it, or None."""
    child = os.fork()
    if child == 0:
        work(*arguments)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WIFSIGNALED(status)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else None


def doomed(k: int, after: bool, work: Callable[..., None], *arguments: Any) -> None:
    """Work that kills its process at the k-th call that changes a folder, just before or after the change."""
    calls = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == k and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return call(*args, **kwargs)
            finally:
                if calls == k:
                    os.kill(os.getpid(), signal.SIGKILL)

        return run

    for name in ("fsync", "rename", "mkdir", "rmdir", "unlink"):
        setattr(os, name, counted(getattr(os, name)))
    work(*arguments)


def at_every_call(folder: Path) -> None:
    """After a kill at any call the old or the new version is whole, and the next save leaves nothing else."""
    save(folder, 1)
    last, restored = 1, 0
    for after in (False, True):
        k = 0
        killed: int | None = signal.SIGKILL
        while killed:
            k += 1
            killed = in_a_child(doomed, k, after, save, folder, last + 1)
            restored += not folder.exists()
            now = version(folder)
            assert now in (last, last + 1) if killed else now == last + 1, (k, after)
            last = now
            save(folder, last)
            assert os.listdir(folder.parent) == [folder.name], (k, after, os.listdir(folder.parent))
        print(f"{k - 1} kills {'after' if after else 'before'} a call")
    print(f"{restored} times restored")


def at_random_moments(folder: Path) -> None:
    """The same at moments that a timer picks, while sharded weights are saved in a loop."""
    import torch

    from cutaway.weights import read_tensors, write_tensors

    def save_weights(version: int) -> None:
        with write_folder(folder) as new:
            write_json(new / "config.json", CONFIG | {"version": version})
            write_tensors(new, {f"{i}": torch.full((2**18,), float(version)) for i in range(4)}, shard_bytes=2**21)

    def loop(version: int, seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        while True:
            version += 1
            save_weights(version)

    began = time.perf_counter()
    save_weights(0)
    duration = time.perf_counter() - began
    last, left = 0, 0
    for _ in range(12):
        moment = random.uniform(0.2, 3) * duration
        assert in_a_child(loop, last, moment) == signal.SIGALRM
        left += len(os.listdir(folder.parent)) > 1 or not folder.exists()
        now = read_json(locate(folder) / "config.json")["version"]
        tensors = read_tensors(folder)
        assert len(tensors) == 4
        assert all((tensor == now).all() for tensor in tensors.values())
        assert now >= last
        last = now
    save_weights(last)
    assert os.listdir(folder.parent) == [folder.name]
    print(f"{left} of 12 kills left something to clear, in {last} saves")


class Disk:
    """A disk that fails with ENOSPC at the k-th call that changes it; ``calls`` are those so far."""

    def __init__(self, k: int, patch: pytest.MonkeyPatch):
        self.k, self.calls = k, list[str]()
        for name in ("fsync", "rename", "mkdir"):
            patch.setattr(os, name, self.counted(name, getattr(os, name)))
        patch.setattr(builtins, "open", partial(self.open, open, self.counted("open", open)))

    def counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if name != "mkdir" or not os.path.isdir(args[0]):
                self.calls.append(name)
                if len(self.calls) == self.k:
                    named = args[:1] if name in ("open", "rename", "mkdir") else ()
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *named)
            return call(*args, **kwargs)

        return run

    def open(
        self, plain: Callable[..., Any], counted: Callable[..., Any], file: Any, mode: str = "r", **more: Any
    ) -> Any:
        return Writer(counted(file, mode, **more), self) if "w" in mode else plain(file, mode, **more)


class Writer:
    """A file whose writes, and whose closing, which writes too, are counted."""

    def __init__(self, file: IO[Any], disk: Disk):
        self.file, self.write, self.flush = (
            file,
            disk.counted("write", file.write),
            disk.counted("close", file.close),
        )

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        with self.file:
            self.flush()


def python(*arguments: object, seconds: float = 120, **environment: str) -> str:
    """What a Python process prints."""
    command = [sys.executable, "-W", "error", *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr
    return done.stdout


if __name__ == "__main__":
    {"calls": at_every_call, "moments": at_random_moments}[sys.argv[1]](Path(sys.argv[2]))
