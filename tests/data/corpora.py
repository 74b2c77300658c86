"""Small shards for tests, and encoders and sources that need no tokenizer."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cutaway.data import Encoder, Faults, Ragged, Shards, Source, write
from cutaway.data.tables import Record


class Numbers(Encoder):
    """Records whose texts are numbers: ``{"input": "3 1 4"}``."""

    def __init__(self, vocab: int = 60_000, columns: Sequence[str] = ("input",)):
        self.size, self.columns = vocab, columns

    @property
    def vocab(self) -> Mapping[str, int]:
        return dict.fromkeys(self.columns, self.size)

    def key(self) -> dict[str, Any]:
        return {"numbers": self.size, "columns": list(self.columns)}

    def __call__(self, records: Sequence[Record]) -> Mapping[str, Ragged]:
        return {c: Ragged.of([[*map(int, record[c].split())] for record in records]) for c in self.columns}


class Given(Source):
    """Records that are there already; ``asked`` counts how often they were wanted."""

    def __init__(self, records: Sequence[Record]):
        self.given = records
        self.asked = 0

    def records(self, faults: Faults) -> Iterator[Record]:
        self.asked += 1
        yield from self.given

    def key(self) -> dict[str, Any]:
        return {"given": list(self.given)}


def spelled(rows: Sequence[Sequence[int]], column: str = "input") -> list[Record]:
    return [{column: " ".join(map(str, row))} for row in rows]


def shards(folder: Path, lengths: Sequence[int], tokens: int = 50) -> Shards:
    """Documents of these lengths whose tokens are 1, 2, 3, ... through all of them: each is known by its number."""
    rows, at = [], 1
    for length in lengths:
        rows.append(range(at, at + length))
        at += length
    return write(folder, Given(spelled(rows)), Numbers(), tokens=tokens)
