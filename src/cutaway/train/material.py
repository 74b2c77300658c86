"""What a recipe's data and tokenizer come to: shards of training and validation, made once and found again."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from .. import storage
from ..data import Bucketed, Dates, Encode, Faults, Packed, Parallel, Shards, Source, Stdlib, Windows, source, write
from ..data.batches import Batches
from ..text import Tokenizer
from ..text import training as tokenizers
from . import yardsticks
from .recipes import Data, Recipe, Tokens

PAIRS = ("seq2seq", "sequence-classification", "token-classification")
# Objectives that mark where a document ends; the others have it from the tokenizer, or put marks of their own.
ENDING = ("causal-lm",)
ENCLOSED = ("masked-lm", "seq2seq", "sequence-classification", "token-classification")
LEARNED = 2**27  # characters that a tokenizer is made from at most
EVERY = 20  # one record in so many is validation, where none is given
Say = Callable[[str], None]


@dataclass(frozen=True)
class Part(Source):
    """A source with other names for its columns, and ``all`` of its records, one in EVERY (``validation``) or the
    others (``train``), or the ``head`` or ``tail`` of each.

    Both shares read everything; what is bad is counted once, with the training share."""

    inner: Source
    names: dict[str, str]
    split: str = "all"

    def records(self, faults: Faults) -> Iterator[dict[str, str]]:
        heard = Faults() if self.split in ("validation", "tail") else faults
        for number, record in enumerate(self.inner.records(heard)):
            named = {ours: record[theirs] for ours, theirs in self.names.items()}
            if self.split in ("head", "tail"):
                yield {name: end_of(text, self.split) for name, text in named.items()}
            elif self.split == "all" or (number % EVERY == EVERY - 1) == (self.split == "validation"):
                yield named

    def key(self) -> dict[str, Any]:
        return {**self.inner.key(), "names": self.names, "part": self.split}


def end_of(text: str, which: str) -> str:
    """The ``head`` of a text, all but its last twentieth, or that ``tail``; cut at a line's end if there is one."""
    about = len(text) - len(text) // EVERY
    place = text.rfind("\n", 0, about) + 1 or about
    return text[:place] if which == "head" else text[place:]


def named(names: tuple[str, ...], data: Data, columns: dict[str, str], split: str) -> Source:
    """The source that names stand for. Raises ValueError for a mixture of embedded and other ones."""
    if names in (("stdlib",), ("dates",)):
        if wrong := [c for c in columns if c not in (("input",) if names == ("stdlib",) else ("input", "target"))]:
            raise ValueError(f"{names[0]} has no column for {wrong[0]!r}")
        made: Source = Stdlib(split) if names == ("stdlib",) else Dates(split, DATES[split])
        return Part(made, {"input": "text"} if names == ("stdlib",) else {c: c for c in columns})
    if embedded := {"stdlib", "dates"} & set(names):
        raise ValueError(f"{min(embedded)} cannot be mixed with other data, got {', '.join(names)}")
    if data.parallel:
        if len(names) != 2:
            raise ValueError(f"parallel text is two files, input and target, got {len(names)}: {', '.join(names)}")
        return Parallel({"input": names[0], "target": names[1]})
    return source(names[0] if len(names) == 1 else names, columns, data.unit)


DATES = {"train": 200_000, "validation": 2_000}


@dataclass(frozen=True)
class Material:
    """Sources of both splits, the tokenizer, and where shards are kept."""

    recipe: Recipe
    train: Source
    validation: Source
    tokenizer: Tokenizer
    faults: Faults
    cache: Path

    def shards(self, split: str, say: Say) -> Shards:
        """The shards of a split, written unless they are there."""
        origin = self.train if split == "train" else self.validation
        encode = self.encode
        name = f"{split}-{fingerprint(origin.key(), encode.key())}"
        return write(self.cache / name, origin, encode, self.faults, spoken(say, f"{split} data"))

    @property
    def encode(self) -> Encode:
        objective, data = self.recipe.objective, self.recipe.data
        columns = ("input", "target") if objective == "seq2seq" else ("input",)
        if objective in PAIRS[1:]:
            raise ValueError(f"{objective} needs labels beside the text: make shards of your own (docs/data.md)")
        return Encode(
            self.tokenizer, {name: name for name in columns}, end=objective in ENDING, special=objective in ENCLOSED,
            target=columns[1:], longest=data.longest,
        )  # fmt: skip

    def batches(self, split: str, shards: Shards, seed: int = 0) -> Batches:
        """How a recipe batches a split: at random for training, each token once for validation."""
        how, ordered = self.recipe.batch, split == "validation"
        if how.kind == "bucketed":
            return Bucketed(shards, how.tokens, seed, ordered)
        if how.kind == "packed":
            return Packed(shards, how.length, how.rows, seed, ordered, pad=self.tokenizer.pad_token_id or 0)
        return Windows(shards, how.length, how.rows, seed, ordered)

    @cached_property
    def unseen(self) -> list[dict[str, str]]:
        """The first records of validation, as text."""
        return list(islice(self.validation.records(Faults()), self.recipe.evaluate.exact or 4))

    def validation_bytes(self) -> int:
        """How long the validation texts are."""
        return sum(len(record["input"].encode()) for record in self.validation.records(Faults()))

    def yardsticks(self, say: Say) -> dict[str, float]:
        """What other models of text cost on the same validation texts, in bits per byte; kept for the next run."""
        path = self.cache / f"yardsticks-{fingerprint(self.train.key(), self.validation.key())}.json"
        if not path.exists():
            say("measuring xz -9 and a byte 5-gram model on the validation files")
            texts = [r["input"].encode() for r in self.validation.records(Faults())]
            seen = [r["input"].encode() for r in self.train.records(Faults())]
            found = {"xz -9": yardsticks.xz(texts), "byte 5-gram": yardsticks.ngrams(seen, texts)}
            fresh = path.with_suffix(".tmp")
            storage.write_json(fresh, found)
            fresh.replace(path)
        return storage.read_json(path)


def material(recipe: Recipe, cache: Path, tokenizer: Tokenizer | None, say: Say) -> Material:
    """Find the data, and the tokenizer: the one given (of a model to go on from), a folder's, or a new one."""
    data = recipe.data
    usual = {"input": "input", "target": "target"} if recipe.objective in PAIRS else {"input": "text"}
    columns = {**usual, **data.columns}
    train = named(data.train, data, columns, "train")
    if data.validation or data.train in (("stdlib",), ("dates",)):
        validation = named(data.validation or data.train, data, columns, "validation")
    else:
        train, validation = divided(train, tuple(columns))
    cache.mkdir(parents=True, exist_ok=True)
    faults = Faults(data.bad_lines)
    if tokenizer is None:
        tokenizer = found_or_made(recipe.tokens, train, columns, cache, say)
    return Material(recipe, train, validation, tokenizer, faults, cache)


def divided(records: Source, columns: tuple[str, ...]) -> tuple[Source, Source]:
    """Training and validation out of one source: every twentieth record, or of a few long texts the last twentieth.

    Raises ValueError for a few records of several columns."""
    same = {name: name for name in columns}
    few = len(list(islice(records.records(Faults()), EVERY))) < EVERY
    if few and len(columns) > 1:
        raise ValueError(f"fewer than {EVERY} records leave none for validation: name some with --data.validation")
    splits = ("head", "tail") if few else ("train", "validation")
    return Part(records, same, splits[0]), Part(records, same, splits[1])


def found_or_made(tokens: Tokens, train: Source, columns: dict[str, str], cache: Path, say: Say) -> Tokenizer:
    """A finished tokenizer, or one made from the training texts, which is kept beside the shards."""
    if tokens.folder is not None:
        found = Tokenizer.load(storage.locate(tokens.folder))
        if found is None:
            raise ValueError(f"{tokens.folder} has no tokenizer")
        return found
    folder = cache / f"tokenizer-{fingerprint(train.key(), {'kind': tokens.kind, 'vocab': tokens.vocab})}"
    if folder.is_dir() and (kept := Tokenizer.load(folder)) is not None:
        return kept
    say(f"making a tokenizer ({tokens.kind}" + ("" if tokens.kind == "bytes" else f", {tokens.vocab:,} tokens") + ")")
    texts = (record[name] for record in train.records(Faults()) for name in columns)
    made = tokenizers.train(bounded(texts, LEARNED), tokens.kind, None if tokens.kind == "bytes" else tokens.vocab)
    with storage.write_folder(folder) as new:
        made.save(new)
    return made


def bounded(texts: Iterator[str], most: int) -> Iterator[str]:
    """Texts until they come to so many characters."""
    total = 0
    for text in texts:
        if total >= most:
            return
        total += len(text)
        yield text


def fingerprint(*values: Any) -> str:
    """Twelve digits that differ where the values do."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def spoken(say: Say, what: str) -> Callable[[int, int], None]:
    """Progress in words, a line each time the count has doubled."""
    told = [1_000_000]

    def progress(documents: int, tokens: int) -> None:
        if tokens >= told[0]:
            say(f"{what}: {documents:,} documents, {tokens:,} tokens")
            told[0] *= 2

    return progress
