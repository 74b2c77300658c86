"""Where data comes from: files, folders, two files side by side, data sets of a hub. Read as a stream."""

import glob
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from .faults import Faults
from .lines import LONGEST, is_text, lines, missing, plain_suffix
from .tables import READERS, Record, Rows, no_column, picked

TEXT = {"text": "text"}
UNITS = ("file", "line")


class Source(ABC):
    """Records, as often as they are asked for, and a value that changes when they do."""

    @abstractmethod
    def records(self, faults: Faults) -> Iterator[Record]:
        """One after the other; what cannot be used is added to ``faults``."""

    @abstractmethod
    def key(self) -> dict[str, Any]:
        """JSON that is equal as long as the records are."""


@dataclass(frozen=True)
class Files(Source):
    """Files, folders (all files below, but hidden ones) and glob patterns (``data/**/*.py``), in sorted order.

    By its name a file is a table (.jsonl, .csv, .tsv, .parquet) or text; .gz or .zst may follow. ``columns`` maps
    the record's names to the table's. Text makes records of ``text`` and ``name``: a file (cut at line ends every
    16 MiB), or with ``unit="line"`` a line without its end."""

    where: tuple[str, ...]
    columns: Mapping[str, str] = field(default_factory=lambda: TEXT)
    unit: str = "file"

    def __post_init__(self) -> None:
        if isinstance(self.where, str):
            object.__setattr__(self, "where", (self.where,))
        if self.unit not in UNITS:
            raise ValueError(f"unit must be {' or '.join(map(repr, UNITS))}, not {self.unit!r}")
        if not self.columns:
            raise ValueError("columns is empty: which are wanted?")

    def paths(self) -> list[Path]:
        """The files. Raises ValueError where there is none."""
        return list(dict.fromkeys(path for where in self.where for path in found(where)))

    def records(self, faults: Faults) -> Iterator[Record]:
        for path in self.paths():
            read = READERS.get(plain_suffix(path))
            if read is None:
                yield from self._texts(path, faults)
            else:
                yield from picked(path, read(path, [*self.columns.values()], faults), self.columns, faults)

    def _texts(self, path: Path, faults: Faults) -> Iterator[Record]:
        there = ("text", "name")
        if absent := [name for name in self.columns.values() if name not in there]:
            raise ValueError(f"{path}: {no_column(absent[0], there)} (it is read as text, by its name)")
        if not is_text(path):
            faults.add(path, None, "not text: it begins with zero bytes")
            return
        rows = each_line(path, faults) if self.unit == "line" else whole(path, faults)
        named = ((line, {"text": text, "name": str(path)}) for line, text in rows)
        yield from picked(path, named, self.columns, faults)

    def key(self) -> dict[str, Any]:
        return {"files": stamps(self.paths()), "columns": dict(self.columns), "unit": self.unit}


@dataclass(frozen=True)
class Parallel(Source):
    """Two or more files whose lines belong together: ``Parallel({"input": "train.de", "target": "train.en"})``.

    A line that is bad in one of them is left out in all. Raises ValueError when one is longer than the others."""

    files: Mapping[str, str]

    def records(self, faults: Faults) -> Iterator[Record]:
        paths = {name: one(where) for name, where in self.files.items()}
        for number, row in enumerate(zip_longest(*(lines(path, faults) for path in paths.values())), 1):
            if None in row:
                ended = [str(path) for path, line in zip(paths.values(), row, strict=True) if line is None]
                raise ValueError(f"{', '.join(ended)} ends before line {number}, which the others have")
            pair = {name: text.rstrip("\r\n") for name, (_, text) in zip(paths, row, strict=True) if text is not None}
            if len(pair) == len(paths):
                yield pair

    def key(self) -> dict[str, Any]:
        return {"parallel": dict(zip(self.files, stamps([one(path) for path in self.files.values()]), strict=True))}


@dataclass(frozen=True)
class Hub(Source):
    """A data set of the Hugging Face hub, streamed by the ``datasets`` library. Name a ``revision`` to pin it."""

    name: str
    columns: Mapping[str, str] = field(default_factory=lambda: TEXT)
    split: str = "train"
    config: str | None = None
    revision: str | None = None

    def records(self, faults: Faults) -> Iterator[Record]:
        try:
            from datasets import load_dataset
        except ModuleNotFoundError as error:
            raise missing("datasets", f"hub:{self.name}") from error
        rows: Any = load_dataset(self.name, self.config, split=self.split, streaming=True, revision=self.revision)
        numbered: Rows = enumerate(rows, 1)
        yield from picked(f"hub:{self.name}", numbered, self.columns, faults)

    def key(self) -> dict[str, Any]:
        return {"hub": [self.name, self.config, self.split, self.revision], "columns": dict(self.columns)}


def source(where: str | Sequence[str], columns: Mapping[str, str] | None = None, unit: str = "file") -> Source:
    """Files, folders and patterns, or ``hub:owner/name`` (``hub:owner/name:split``), with the wanted columns.

    Raises ValueError where nothing is to be found."""
    wanted = TEXT if columns is None else columns
    if isinstance(where, str) and where.startswith("hub:"):
        match where.split(":"):
            case [_, name]:
                return Hub(name, wanted)
            case [_, name, split]:
                return Hub(name, wanted, split)
        raise ValueError(f"{where!r} is not of the form hub:owner/name or hub:owner/name:split")
    files = Files((where,) if isinstance(where, str) else tuple(where), wanted, unit)
    files.paths()
    return files


def found(where: str) -> list[Path]:
    """The files of a path or pattern, sorted. Raises ValueError if there is none."""
    path = Path(where).expanduser()
    if path.is_dir():
        below = sorted(p for p in path.rglob("*") if p.is_file())
        paths = [p for p in below if not any(part.startswith(".") for part in p.relative_to(path).parts)]
        if not paths:
            raise ValueError(f"{where} is a folder without files")
        return paths
    paths = [path] if path.is_file() else sorted(map(Path, glob.glob(str(path), recursive=True)))
    paths = [p for p in paths if p.is_file()]
    if not paths:
        raise ValueError(f"no file {where}")
    return paths


def one(where: str) -> Path:
    """The one file that this names. Raises ValueError for none and for several."""
    paths = found(where)
    if len(paths) != 1:
        raise ValueError(f"one file is expected, and {where} has {len(paths)}")
    return paths[0]


def stamps(paths: Sequence[Path]) -> list[list[Any]]:
    """What tells a changed file without reading it."""
    return [[str(path.resolve()), (state := path.stat()).st_size, state.st_mtime_ns] for path in paths]


def each_line(path: Path, faults: Faults) -> Iterator[tuple[int, str]]:
    """Lines without their ends."""
    return ((number, line.rstrip("\r\n")) for number, line in lines(path, faults) if line is not None)


def whole(path: Path, faults: Faults) -> Iterator[tuple[int, str]]:
    """The text of a file, in as few pieces as 16 MiB allow, each with the number of its first line."""
    held: list[str] = []
    begin, size = 1, 0
    for number, line in lines(path, faults):
        if line is None:
            continue
        if size + len(line) > LONGEST:
            yield begin, "".join(held)
            held, begin, size = [], number, 0
        held.append(line)
        size += len(line)
    if held:
        yield begin, "".join(held)
