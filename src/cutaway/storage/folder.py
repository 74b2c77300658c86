"""A checkpoint folder, replaced only as a whole: filled aside, synced, renamed into place (POSIX).

A working folder ``.NAME.xxxxxxxx.saving`` beside the target holds ``new`` and, for a moment, ``old``. A
process that dies leaves it unlocked; the next one puts ``old`` back if the target is gone, and clears it."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from .settings import read_json

# What a checkpoint consists of: what is fetched from a hub, and what a save may replace.
FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
    "quantized.safetensors",
    "quantized.safetensors.index.json",
    "quantized-*-of-*.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "vocab-src.json",
    "vocab-tgt.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "spm.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "source.spm",
    "target.spm",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "adapter_config.json",
    "adapter_model.safetensors",
)
# What a folder must say to be taken for a checkpoint, or for an adapter to one: a file, and a key in it.
SIGNS = {"config.json": "model_type", "adapter_config.json": "peft_type"}
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin")


@contextmanager
def write_folder(folder: str | Path) -> Iterator[Path]:
    """``with write_folder(folder) as new:`` fill ``new``; after the block it is ``folder``, whole, on disk.

    Whatever fails or kills the block, ``folder`` stays as it was. The next call clears what killed processes
    left; a lock tells them from a save that still runs.

    Raises ValueError when ``folder`` holds something else than a checkpoint, OSError when the disk fails."""
    folder = Path(folder).expanduser().resolve()
    try:
        _refuse_to_replace(folder)
        with _workplace(folder) as work:
            (work / "new").mkdir()
            yield work / "new"
            _commit(work, folder)
    except OSError as error:
        what = f"{error.strerror or error}" + (f" ({Path(str(error.filename)).name})" if error.filename else "")
        raise OSError(error.errno, f"{folder} was not saved and is as it was before: {what}") from error


def recover(folder: Path) -> None:
    """Clear up after processes killed while they saved ``folder``; what they had set aside comes back."""
    if _left(folder):
        with locked(folder.parent):
            for work in _left(folder):
                with locked(work, wait=False) as abandoned:
                    if abandoned:
                        _settle(work, folder)


def sweep(parent: Path) -> None:
    """Clear up after processes killed while they saved any folder inside ``parent``."""
    if parent.is_dir():
        found = (re.fullmatch(r"\.(.+)\.[a-z0-9_]{8}\.saving", path.name) for path in parent.iterdir())
        for name in sorted({match[1] for match in found if match}):
            recover(parent / name)


def _left(folder: Path) -> list[Path]:
    trace = re.compile(re.escape(f".{folder.name}.") + r"[a-z0-9_]{8}\.saving")
    beside = folder.parent.iterdir() if folder.parent.is_dir() else ()
    return [path for path in beside if trace.fullmatch(path.name) and path.is_dir()]


def listing(folder: Path) -> str:
    """The names in a folder, for an error."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return ", ".join(names[:8]) or "nothing"


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """A locked sibling of ``folder``; the parent's lock keeps others from clearing it while it is made."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    recover(folder)
    with ExitStack() as stack:
        with locked(folder.parent):
            work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".saving", dir=folder.parent))
            try:
                stack.enter_context(locked(work))
            except OSError:
                work.rmdir()
                raise
        stack.callback(_settle, work, folder)
        yield work


@contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Lock a folder until the end of the block or of the process; says whether the lock was to be had.

    It is not where another process has it, nor on a file system without locks: saves go on there unlocked,
    and nothing is cleared."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        had = True
    except OSError:
        had = False
    try:
        yield had
    finally:
        os.close(descriptor)


def _commit(work: Path, folder: Path) -> None:
    for parent, _, names in os.walk(work / "new"):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))
    with locked(folder.parent):
        if folder.exists():
            os.rename(folder, work / "old")
        try:
            os.rename(work / "new", folder)
            sync(folder.parent)
        except BaseException:
            if not (work / "new").exists():
                os.rename(folder, work / "new")
            raise


def _settle(work: Path, folder: Path) -> None:
    if (work / "old").exists() and not folder.exists():
        os.rename(work / "old", folder)
    shutil.rmtree(work, ignore_errors=True)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)


def _refuse_to_replace(folder: Path) -> None:
    """ValueError unless ``folder`` is absent, empty, or holds a checkpoint and nothing else."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; a checkpoint is a folder")
    if Path.cwd().is_relative_to(folder):
        raise ValueError(f"{folder} is, or holds, the current folder; choose one inside it")
    files = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    for path in files:
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not any(fnmatchcase(name, pattern) for pattern in FILES + PICKLES):
            what = "is a link" if path.is_symlink() else "belongs to no checkpoint"
            raise ValueError(f"{folder} is not replaced: its {name} {what}; choose a new folder")
    if any(folder.iterdir()) and not any(_says(folder / name, key) for name, key in SIGNS.items()):
        raise ValueError(f"{folder} is not replaced: it has no config.json with a model_type; choose a new folder")


def _says(config: Path, key: str) -> bool:
    return config.exists() and key in read_json(config)
