"""From records of text to documents of tokens."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from typing import Any

import numpy as np

from ..text import Tokenizer
from ..text.engine import Engine
from .tables import Record


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths: all their values, and where each row begins (and the last one ends)."""

    values: np.ndarray
    offsets: np.ndarray

    @staticmethod
    def of(rows: Sequence[Sequence[int]]) -> "Ragged":
        """Rows of ids, one after the other."""
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        offsets = np.concatenate([[0], lengths.cumsum()]).astype(np.int64)
        return Ragged(np.fromiter(chain.from_iterable(rows), np.int32, int(offsets[-1])), offsets)

    @staticmethod
    def joined(parts: Sequence["Ragged"]) -> "Ragged":
        """The rows of all parts."""
        starts = np.cumsum([0, *(part.offsets[-1] for part in parts)])
        offsets = [part.offsets[:-1] + start for part, start in zip(parts, starts, strict=False)]
        return Ragged(np.concatenate([part.values for part in parts]), np.concatenate([*offsets, starts[-1:]]))


class Encoder(ABC):
    """What makes columns of numbers of records."""

    @property
    @abstractmethod
    def vocab(self) -> Mapping[str, int]:
        """How many different numbers each column may hold."""

    @abstractmethod
    def key(self) -> dict[str, Any]:
        """JSON that is equal as long as the numbers are."""

    @abstractmethod
    def __call__(self, records: Sequence[Record]) -> Mapping[str, Ragged]:
        """The columns of these records, a row for each."""


@dataclass(frozen=True)
class Encode(Encoder):
    """Texts of records as columns of ids, a batch of records at a time; the tokenizer uses all cores.

    ``columns`` maps our columns to the records' texts; ``end`` puts the end token after each text, ``special`` the
    tokenizer's own special tokens around it. ``target`` names columns that a translation model writes. ``classes``
    are columns that hold one of the labels given, as its number. Longer texts are cut to ``longest`` ids.

    Raises ValueError for settings that contradict each other."""

    tokenizer: Tokenizer
    columns: Mapping[str, str] = field(default_factory=lambda: {"input": "text"})
    end: bool = True
    special: bool = False
    target: tuple[str, ...] = ()
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    longest: int | None = None

    def __post_init__(self) -> None:
        if self.end and self.tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no end token to put after a text: end=False, or give it one")
        if self.longest is not None and self.longest < 1 + self.end:
            raise ValueError(f"longest is {self.longest}, which leaves no room for text")
        if unknown := sorted(set(self.target) - set(self.columns)):
            raise ValueError(
                f"target names {', '.join(unknown)}, which columns does not; it has {', '.join(self.columns)}"
            )

    @property
    def vocab(self) -> Mapping[str, int]:
        """The size of the tokenizer, or the number of labels."""
        return {name: len(self.tokenizer) for name in self.columns} | {n: len(c) for n, c in self.classes.items()}

    def key(self) -> dict[str, Any]:
        """The tokenizer's content, and every setting."""
        match self.tokenizer.parts.source:
            case Engine() as engine:
                # Rounded, since the library does not read the probabilities of Unigram back as it wrote them.
                made = str(json.loads(json.dumps(engine.json()), parse_float=lambda text: f"{float(text):.6g}"))
            case source:
                made = repr(sorted(self.tokenizer.files.items())) + type(source).__name__
        return {
            "tokenizer": sha256(made.encode()).hexdigest(),
            "direction": [self.tokenizer.src_lang, self.tokenizer.tgt_lang],
            "columns": dict(self.columns),
            "end": self.end,
            "special": self.special,
            "target": list(self.target),
            "classes": {name: list(labels) for name, labels in self.classes.items()},
            "longest": self.longest,
        }

    def __call__(self, records: Sequence[Record]) -> Mapping[str, Ragged]:
        """The columns of these records. Raises ValueError for a label that is none of its column's."""
        found = {
            name: Ragged.of(self._ids(name, [record[text] for record in records]))
            for name, text in self.columns.items()
        }
        return found | {name: self._labels(name, [record[name] for record in records]) for name in self.classes}

    def _ids(self, name: str, texts: list[str]) -> list[list[int]]:
        last = self.tokenizer.eos_token_id
        after = [last] if self.end and last is not None else []
        room = None if self.longest is None else self.longest - len(after)
        codec = self.tokenizer.parts.target if name in self.target else self.tokenizer.parts.source
        if isinstance(codec, Engine) and not self.special:
            # Without spans of characters, which nobody needs here: half the time.
            found = [one.ids[:room] for one in codec.pipeline.encode_batch_fast(texts, add_special_tokens=False)]
        else:
            found = [one.ids for one in codec.encode([(text, None) for text in texts], self.special, room)]
        return [ids + after for ids in found]

    def _labels(self, name: str, labels: list[str]) -> Ragged:
        numbers = {label: number for number, label in enumerate(self.classes[name])}
        if unknown := sorted(set(labels) - set(numbers)):
            raise ValueError(f"column {name!r} has the label {unknown[0]!r}; its labels are {', '.join(numbers)}")
        return Ragged.of([[numbers[label]] for label in labels])
