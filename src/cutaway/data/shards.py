"""Documents of tokens in files: each shard is a safetensors file, and shards.json says what belongs together.

A column ``input`` of a shard is ``input.values`` (all its numbers) and ``input.offsets`` (where each document begins,
and the last one ends). A shard gets its name when it is whole, and shards.json is written last."""

from bisect import bisect_right
from collections.abc import Sequence
from hashlib import file_digest
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ..storage import read_json
from ..weights.safetensors import read_safetensors

INDEX = "shards.json"
FORMAT = "cutaway shards 1"


class Shards:
    """The documents of a folder of shards, read from mapped files: they may be larger than the memory.

    ``shards[i]`` is document i, a tensor for each of ``columns``; opening costs the same however long the files are.
    Raises ValueError naming the file that is missing, of a wrong size or of a wrong form, or that shards.json (which
    is written last) is not there. ``about`` is the content of shards.json."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not (self.folder / INDEX).is_file():
            raise ValueError(f"{self.folder} has no {INDEX}: its shards were never finished; write them again")
        self.about = read_json(self.folder / INDEX)
        if self.about.get("format") != FORMAT:
            raise ValueError(f"{self.folder / INDEX}: format is {self.about.get('format')!r}, expected {FORMAT!r}")
        self.columns = list(self.about["columns"])
        self.values: dict[str, list[Tensor]] = {name: [] for name in self.columns}
        self.offsets: dict[str, list[Tensor]] = {name: [] for name in self.columns}
        for entry in self.about["files"]:
            self._open(self.folder / entry["file"], entry)
        self.documents = [0, *accumulate(entry["documents"] for entry in self.about["files"])]
        self.tokens = {
            name: [0, *accumulate(entry["tokens"][name] for entry in self.about["files"])] for name in self.columns
        }

    def _open(self, path: Path, entry: dict[str, Any]) -> None:
        if not path.is_file():
            raise ValueError(f"{path} is missing; {INDEX} names it: write the shards again")
        if (size := path.stat().st_size) != entry["bytes"]:
            raise ValueError(f"{path}: {size} bytes, expected {entry['bytes']}: write the shards again")
        found = read_safetensors(path)
        for name in self.columns:
            values, offsets = found[f"{name}.values"].read(), found[f"{name}.offsets"].read()
            if len(offsets) != entry["documents"] + 1 or len(values) != entry["tokens"][name]:
                raise ValueError(f"{path}: column {name!r} is not as {INDEX} says: write the shards again")
            self.values[name].append(values)
            self.offsets[name].append(offsets)

    def verify(self) -> None:
        """Compare every file with its checksum, which reads all of it. Raises ValueError naming one that differs."""
        for entry in self.about["files"]:
            if checksum(self.folder / entry["file"]) != entry["sha256"]:
                raise ValueError(
                    f"{self.folder / entry['file']} is damaged: its sha256 differs; write the shards again"
                )

    def __len__(self) -> int:
        return self.documents[-1]

    def __getitem__(self, index: int) -> dict[str, Int[Tensor, " N"]]:
        if not 0 <= index < len(self):
            raise IndexError(f"no document {index}; there are {len(self)}")
        file = bisect_right(self.documents, index) - 1
        row = index - self.documents[file]
        spans = {name: self.offsets[name][file][row : row + 2].tolist() for name in self.columns}
        return {name: self.values[name][file][start:stop].long() for name, (start, stop) in spans.items()}

    def __repr__(self) -> str:
        tokens = ", ".join(f"{name} {self.total(name):,}" for name in self.columns)
        return f"Shards({len(self):,} documents in {len(self.about['files'])} files; tokens: {tokens})"

    def known(self, column: str) -> str:
        """The name of a column. Raises ValueError for one that there is not."""
        if column not in self.columns:
            raise ValueError(f"no column {column!r}; there are {', '.join(self.columns)}")
        return column

    def total(self, column: str) -> int:
        """How many numbers a column has."""
        return self.tokens[self.known(column)][-1]

    def lengths(self, column: str) -> Int[Tensor, " documents"]:
        """How many numbers each document has in a column."""
        return torch.cat([offsets.diff() for offsets in self.offsets[self.known(column)]])

    def span(self, column: str, start: int, stop: int) -> Int[Tensor, " N"]:
        """Numbers ``start`` to ``stop`` of a column, over the borders of documents and files."""
        borders = self.tokens[self.known(column)]
        if not 0 <= start <= stop <= borders[-1]:
            raise IndexError(f"no span {start} to {stop}; column {column!r} has {borders[-1]} numbers")
        parts = []
        while start < stop:
            file = bisect_right(borders, start) - 1
            end = min(stop, borders[file + 1])
            parts.append(self.values[column][file][start - borders[file] : end - borders[file]].long())
            start = end
        return parts[0] if len(parts) == 1 else torch.cat([torch.empty(0, dtype=torch.long), *parts])


def checksum(path: Path) -> str:
    """The sha256 of a file."""
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()


def measured(path: Path) -> dict[str, Any]:
    """What shards.json says of a shard. Raises ValueError if it is none."""
    found = read_safetensors(path)
    names = sorted(name.removesuffix(".values") for name in found if name.endswith(".values"))
    if set(found) != {f"{name}.{part}" for name in names for part in ("values", "offsets")} or not names:
        raise ValueError(f"{path} is no shard: it has {', '.join(sorted(found)) or 'nothing'}")
    counts = {
        name: _counted(path, name, found[f"{name}.values"].shape, found[f"{name}.offsets"].read()) for name in names
    }
    documents = {count for count, _ in counts.values()}
    if len(documents) > 1:
        raise ValueError(f"{path}: its columns have different numbers of documents: {sorted(documents)}")
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "documents": documents.pop(),
        "tokens": {name: tokens for name, (_, tokens) in counts.items()},
        "sha256": checksum(path),
    }


def _counted(path: Path, name: str, shape: Sequence[int], offsets: Tensor) -> tuple[int, int]:
    """Documents and numbers of a column, whose offsets must rise from 0 to the number of values."""
    rising = offsets.dim() == 1 and len(offsets) > 0 and bool((offsets.diff() >= 0).all())
    if offsets.dtype != torch.int64 or len(shape) != 1 or not rising or offsets[[0, -1]].tolist() != [0, shape[0]]:
        raise ValueError(f"{path}: the offsets of {name!r} must be int64, from 0 up to the number of its values")
    return len(offsets) - 1, shape[0]
