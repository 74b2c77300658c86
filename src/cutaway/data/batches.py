"""Batches as pure functions of a seed and a number: the place in the data is that number, and resuming costs nothing.

Each kind cuts the documents into units: windows, packed rows, buckets. Every unit comes once in an epoch, in an
order of its own for each epoch; the last batch of one is filled up from the next. With ``ordered`` there is one
epoch, in the same order always and without anything left over: what validation needs."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .order import key, mixed, permuted
from .packing import pack
from .shards import Shards

Row = dict[str, Tensor]


class Batches(ABC):
    """``batches[index]`` for an index from 0 without end, of ``rows`` units; ordered, ``per_epoch`` of them.

    ``per_epoch`` is how many batches begin in an epoch, ``targets`` how many tokens of an epoch are to be predicted
    if each is from those before it. Raises ValueError if there is nothing to make a batch of."""

    def __init__(self, units: int, rows: int, seed: int, ordered: bool, targets: int):
        if rows < 1:
            raise ValueError(f"a batch of {rows} rows cannot be")
        if targets < 1:
            raise ValueError("there is nothing to make a batch of: no token has one before it, or no window is full")
        self.units, self.rows, self.seed, self.ordered, self.targets = units, rows, seed, ordered, targets
        self.per_epoch = -(-units // rows)

    @abstractmethod
    def unit(self, epoch: int, number: int) -> list[Row]:
        """The rows of a unit in an epoch."""

    def __getitem__(self, index: int) -> list[Row]:
        return [row for epoch, number in self.places(index) for row in self.unit(epoch, number)]

    def __iter__(self) -> Iterator[list[Row]]:
        index = 0
        while not self.ordered or index < self.per_epoch:
            yield self[index]
            index += 1

    def places(self, index: int) -> list[tuple[int, int]]:
        """Epoch and number of each unit of a batch. Raises IndexError for a batch that there is not."""
        if index < 0 or (self.ordered and index >= self.per_epoch):
            raise IndexError(f"no batch {index}" + (f"; there are {self.per_epoch}" if self.ordered else ""))
        places = range(index * self.rows, (index + 1) * self.rows)
        if self.ordered:
            return [(0, place) for place in places if place < self.units]
        found: list[tuple[int, int]] = []
        for epoch in range(places[0] // self.units, places[-1] // self.units + 1):
            mine = np.array([place % self.units for place in places if place // self.units == epoch])
            found += [(epoch, number) for number in permuted(mine, self.units, key(self.seed, epoch)).tolist()]
        return found


class Windows(Batches):
    """Rows ``{"input": [length + 1]}`` of the documents one after the other, each beginning where one ended.

    So every token but the first is a target once. What fills no window is left to the ordered pass, whose last
    batch it is. For data larger than memory: nothing is listed, the order is computed."""

    def __init__(
        self, shards: Shards, length: int, rows: int, seed: int = 0, ordered: bool = False, column: str = "input"
    ):
        if length < 1:
            raise ValueError(f"a window of {length} tokens cannot be")
        self.shards, self.length, self.column = shards, length, column
        total = max(shards.total(column) - 1, 0)
        whole, rest = divmod(total, length)
        super().__init__(whole, rows, seed, ordered, total if ordered else whole * length)
        self.rest = rest if ordered else 0
        self.per_epoch += self.rest > 0

    def unit(self, epoch: int, number: int) -> list[Row]:
        start = number * self.length
        stop = min(start + self.length + 1, self.shards.total(self.column))
        return [{"input": self.shards.span(self.column, start, stop)}]

    def places(self, index: int) -> list[tuple[int, int]]:
        """Epoch and number of each window of a batch; a shorter one is alone. Raises IndexError as all batches do."""
        return [(0, self.units)] if self.rest and index == self.per_epoch - 1 else super().places(index)


class Packed(Batches):
    """Rows ``{"input": [length + 1], "document": [length + 1]}``: whole documents side by side, long ones in pieces.

    ``document`` numbers the documents of a row from 0; padding (token ``pad``) has -1. Which documents share a row
    is decided once, from the seed; it takes memory for every document, not for its tokens."""

    def __init__(
        self,
        shards: Shards,
        length: int,
        rows: int,
        seed: int = 0,
        ordered: bool = False,
        column: str = "input",
        pad: int = 0,
    ):
        if length < 1:
            raise ValueError(f"a row of {length} tokens cannot be")
        self.shards, self.length, self.column, self.pad = shards, length, column, pad
        lengths = shards.lengths(column).numpy()
        self.borders = np.concatenate([[0], lengths.cumsum()])
        self.pieces = pack(lengths, length + 1, seed)
        super().__init__(len(self.pieces.rows) - 1, rows, seed, ordered, int((lengths - 1).clip(0).sum()))

    @property
    def filled(self) -> float:
        """The share of the rows that is no padding."""
        return float(self.pieces.length.sum() / (self.units * (self.length + 1)))

    def unit(self, epoch: int, number: int) -> list[Row]:
        tokens = torch.full((self.length + 1,), self.pad)
        document = torch.full((self.length + 1,), -1)
        at = 0
        for place, piece in enumerate(range(*self.pieces.rows[number : number + 2].tolist())):
            start = int(self.borders[self.pieces.document[piece]] + self.pieces.start[piece])
            length = int(self.pieces.length[piece])
            tokens[at : at + length] = self.shards.span(self.column, start, start + length)
            document[at : at + length] = place
            at += length
        return [{"input": tokens, "document": document}]


class Bucketed(Batches):
    """Batches of documents of like length: rows times the longest one of all columns is at most ``tokens``.

    Vaswani et al. (2017) batch sentence pairs so. Which documents of a length meet is new in each epoch; the borders
    between batches are not. It takes memory for every document. Raises ValueError for one longer than ``tokens``."""

    def __init__(self, shards: Shards, tokens: int, seed: int = 0, ordered: bool = False):
        self.shards = shards
        self.longest = torch.stack([shards.lengths(name) for name in shards.columns]).amax(0).clamp(min=1).numpy()
        lengths = np.sort(self.longest)
        if len(lengths) and lengths[-1] > tokens:
            where = int(self.longest.argmax())
            raise ValueError(
                f"document {where} has {lengths[-1]} tokens, a batch at most {tokens}: cut it when encoding"
            )
        self.borders = [0]
        while (start := self.borders[-1]) < len(lengths):
            near = lengths[start : start + tokens // lengths[start]]
            self.borders.append(start + int((near * np.arange(1, len(near) + 1)).searchsorted(tokens, "right")))
        self.orders: dict[int, np.ndarray] = {}
        last = shards.columns[-1]
        targets = shards.total("target" if "target" in shards.columns else last)
        super().__init__(len(self.borders) - 1, 1, seed, ordered, targets)

    def unit(self, epoch: int, number: int) -> list[Row]:
        documents = self._order(epoch)[self.borders[number] : self.borders[number + 1]]
        return [self.shards[document] for document in documents.tolist()]

    def _order(self, epoch: int) -> np.ndarray:
        """The documents by length, those of one length as chance will have it; the last two epochs are kept."""
        if epoch not in self.orders:
            chance = mixed(np.arange(len(self.longest), dtype=np.uint64) ^ np.uint64(key(self.seed, "bucket", epoch)))
            self.orders = {kept: self.orders[kept] for kept in [*self.orders][-1:]}
            self.orders[epoch] = np.lexsort((chance, self.longest)).astype(np.int64)
        return self.orders[epoch]
