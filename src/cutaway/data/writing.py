"""Writing shards: on one machine in one call, or by many workers, each its own files, and an index at the end."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from pathlib import Path

import torch

from ..storage import read_json, write_json
from ..storage.folder import locked, sync
from ..weights.safetensors import write_safetensors
from .faults import Faults
from .shards import FORMAT, INDEX, Shards, measured
from .sources import Source
from .tables import Record
from .tokens import Encoder, Ragged

SUFFIX = ".safetensors"
TOKENS = 2**24
# A batch is full at so many records, or so many characters: what is held at a time is bounded.
RECORDS, CHARACTERS = 1024, 2**22


def write(
    folder: str | Path,
    source: Source,
    encode: Encoder,
    faults: Faults | None = None,
    progress: Callable[[int, int], None] | None = None,
    tokens: int = TOKENS,
) -> Shards:
    """The documents of ``source`` as shards of about ``tokens`` numbers; those that are there stay if nothing changed.

    ``progress(documents, tokens)`` is called after each batch. Bad lines are counted in ``faults``; without it the
    first one is an error. Of two processes that write the same folder, one waits for the other."""
    folder, faults = Path(folder), Faults(0) if faults is None else faults
    made_from = {"source": source.key(), "encode": encode.key(), "tokens": tokens}
    digest = sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if (folder / INDEX).is_file() and read_json(folder / INDEX).get("made_from") == digest:
            return Shards(folder)
        (folder / INDEX).unlink(missing_ok=True)
        for old in folder.glob(f"*{SUFFIX}*"):
            old.unlink()
        if not write_part(folder, source.records(faults), encode, progress=progress, tokens=tokens):
            raise ValueError(f"nothing to write to {folder}: there is no record; {faults}")
        return index(folder, made_from=digest, faults=faults)


def write_part(
    folder: str | Path,
    records: Iterable[Record],
    encode: Encoder,
    name: str = "shard",
    progress: Callable[[int, int], None] | None = None,
    tokens: int = TOKENS,
) -> list[Path]:
    """What one worker does: its records as files ``NAME-00000.safetensors`` and so on; ``index`` comes at the end.

    A worker that is started again under the same name writes the same files again."""
    if tokens < 1:
        raise ValueError(f"a shard of {tokens} tokens cannot be")
    held: list[Mapping[str, Ragged]] = []
    paths: list[Path] = []
    documents = total = size = 0
    for batch in _batches(records):
        found = encode(batch)
        held.append(found)
        documents += len(batch)
        more = sum(len(column.values) for column in found.values())
        total, size = total + more, size + more
        if size >= tokens:
            paths.append(write_shard(Path(folder, f"{name}-{len(paths):05d}{SUFFIX}"), _joined(held), encode.vocab))
            held, size = [], 0
        if progress is not None:
            progress(documents, total)
    if held:
        paths.append(write_shard(Path(folder, f"{name}-{len(paths):05d}{SUFFIX}"), _joined(held), encode.vocab))
    return paths


def _joined(held: list[Mapping[str, Ragged]]) -> dict[str, Ragged]:
    return {name: Ragged.joined([part[name] for part in held]) for name in held[0]}


def write_shard(path: Path, columns: Mapping[str, Ragged], vocab: Mapping[str, int]) -> Path:
    """One file, which has its name only when it is whole and on the disk.

    Raises ValueError for a number that is not below its column's ``vocab``."""
    tensors = {}
    for name, column in columns.items():
        if len(column.values) and not 0 <= column.values.min() <= column.values.max() < vocab[name]:
            worst = column.values.min() if column.values.min() < 0 else column.values.max()
            raise ValueError(f"column {name!r} has the number {worst}; its vocabulary has {vocab[name]}")
        values = torch.empty(len(column.values), dtype=torch.uint32 if vocab[name] > 65535 else torch.uint16)
        tensors[f"{name}.values"] = values.copy_(torch.from_numpy(column.values))
        tensors[f"{name}.offsets"] = torch.from_numpy(column.offsets)
    with _aside(path) as new:
        write_safetensors(new, tensors, {"format": FORMAT})
    return path


def index(
    folder: str | Path, made_from: str | None = None, faults: Faults | None = None, files: int | None = None
) -> Shards:
    """Write shards.json for the shards in a folder, whoever made them, in the order of their names.

    ``files`` is how many there must be. Raises ValueError for a file that is no shard, or whose columns differ from
    the others', and if there are none."""
    paths = sorted(Path(folder).glob(f"*{SUFFIX}"))
    if not paths or files not in (None, len(paths)):
        raise ValueError(f"{folder} has {len(paths)} shards (*{SUFFIX}), expected {files or 'some'}")
    entries = [measured(path) for path in paths]
    for entry in entries:
        if entry["tokens"].keys() != entries[0]["tokens"].keys():
            names = [", ".join(e["tokens"]) for e in (entry, entries[0])]
            raise ValueError(f"{entry['file']} has the columns {names[0]}, but {entries[0]['file']} has {names[1]}")
    report = {} if faults is None else {"left_out": faults.count, "first_left_out": [str(f) for f in faults.first]}
    about = {"format": FORMAT, "columns": [*entries[0]["tokens"]], "made_from": made_from, **report, "files": entries}
    with _aside(Path(folder, INDEX)) as new:
        write_json(new, about)
    return Shards(folder)


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    rest = iter(records)
    while batch := list(islice(_until_full(rest), RECORDS)):
        yield batch


def _until_full(records: Iterator[Record]) -> Iterator[Record]:
    size = 0
    while size < CHARACTERS and (record := next(records, None)) is not None:
        size += sum(map(len, record.values()))
        yield record


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A name to write under; after the block, the file is on the disk and has its own name."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        yield new
        sync(new)
        os.replace(new, path)
        sync(path.parent)
    finally:
        new.unlink(missing_ok=True)
