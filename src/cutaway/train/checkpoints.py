"""Checkpoints of a run that survive anything: a step's folder appears whole or not at all, and says so by checksums.

``step_000500/`` holds ``model/`` (the published format, to be used), what each rank needs to go on
(``rank_00000.safetensors``), ``state.json`` and ``manifest.json`` with the length and sha256 of every file. There is no
pickle, and no pointer to the latest: the newest folder whose manifest is true is the one."""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import storage
from ..data.shards import checksum
from ..weights.safetensors import raw, write_safetensors
from .ranks.pieces import Reader, assemble, pieces, table
from .ranks.world import World

STEP = re.compile(r"step_(\d{6,})")
STATE, MANIFEST = "state.json", "manifest.json"


def folder_of(run: Path, step: int) -> Path:
    return run / f"step_{step:06}"


def steps(run: Path) -> list[int]:
    """The steps that there are folders of, in order."""
    found = (STEP.fullmatch(path.name) for path in run.iterdir()) if run.is_dir() else iter(())
    return sorted(int(match[1]) for match in found if match)


def write(
    run: Path,
    step: int,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    export: Callable[[Path], None],
    world: World,
) -> Path:
    """Write what all ranks hold of ``tensors``, the JSON ``state``, and ``model/`` through ``export``; all ranks call.

    Raises OSError that names the file when the disk fails; the checkpoints before stay as they are."""
    target = folder_of(run, step)
    mine = pieces(tensors, world)
    if world.size > 1:
        return write_shared(run, step, mine, state, export, world)
    with storage.write_folder(target) as new:
        write_rank(new, 0, mine)
        finish(new, step, state, export)
    return target


def write_rank(folder: Path, rank: int, mine: Mapping[str, Any]) -> None:
    """One rank's pieces, and their table beside them."""
    path = folder / f"rank_{rank:05}.safetensors"
    try:
        write_safetensors(path, {name: piece.tensor for name, piece in mine.items()}, {"format": "pt"})
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    storage.write_json(path.with_suffix(".json"), table(mine))


def write_shared(
    run: Path,
    step: int,
    mine: Mapping[str, Any],
    state: Mapping[str, Any],
    export: Callable[[Path], None],
    world: World,
) -> Path:
    """The same by several ranks on one file system: each writes its own beside, the first one brings them together."""
    target, beside = folder_of(run, step), run / f".ranks_{step:06}"
    if world.first:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
    world.wait()
    write_rank(beside, world.rank, mine)
    world.wait()
    if world.first:
        with storage.write_folder(target) as new:
            for path in sorted(beside.iterdir()):
                path.rename(new / path.name)
            finish(new, step, state, export)
    else:
        export(target)
    world.wait()
    if world.first:
        beside.rmdir()
    return target


def finish(new: Path, step: int, state: Mapping[str, Any], export: Callable[[Path], None]) -> None:
    """What is written once: the model, the state, and the manifest of all."""
    (new / "model").mkdir()
    export(new / "model")
    storage.write_json(new / STATE, {"step": step, **state})
    files = sorted(path for path in new.rglob("*") if path.is_file())
    storage.write_json(new / MANIFEST, {path.relative_to(new).as_posix(): entry(path) for path in files})


def entry(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": checksum(path)}


def wrong(folder: Path) -> str | None:
    """What is not as the manifest says, or None."""
    try:
        manifest = storage.read_json(folder / MANIFEST)
    except (OSError, ValueError) as error:
        return f"{folder / MANIFEST} cannot be read: {error}"
    for name, noted in manifest.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if entry(path) != noted:
            return f"{path} is damaged: its length or sha256 is not what {MANIFEST} says"
    return None


def sweep(run: Path) -> None:
    """Clear what killed processes left half-written."""
    storage.sweep(run)
    for left in run.glob(".ranks_*"):
        shutil.rmtree(left)


def newest(run: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint of a run (None: there is none), and what is wrong with newer ones."""
    complaints: list[str] = []
    for step in reversed(steps(run)):
        complaint = wrong(folder_of(run, step))
        if complaint is None:
            return folder_of(run, step), complaints
        complaints.append(complaint)
    return None, complaints


def reader(folder: Path) -> Reader:
    """The tensors of a checkpoint, whatever number of ranks wrote it."""
    files = sorted(folder.glob("rank_*.safetensors"))
    return Reader({path: storage.read_json(path.with_suffix(".json")) for path in files})


def prune(run: Path, keep: int) -> None:
    """Remove all but the newest ``keep`` checkpoints."""
    for step in steps(run)[:-keep]:
        shutil.rmtree(folder_of(run, step))


def digest(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of all numbers, by name: equal for equal bits."""
    made = sha256()
    for name, tensor in sorted(tensors.items()):
        made.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        made.update(raw(tensor))
    return made.hexdigest()


def mean(folders: list[Path], names: Mapping[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    """Each of these weights averaged over checkpoints (Vaswani et al., 2017, section 6.1)."""
    readers = [reader(folder) for folder in folders]
    for name, like in names.items():
        shape, origin = tuple(like.shape), (0,) * like.ndim
        found = [assemble(r, prefix + name, shape, origin, shape).double() for r in readers]
        yield name, (torch.stack(found).mean(0) if len(found) > 1 else found[0]).to(like.dtype)
