"""The next token; masked tokens (Devlin et al., 2018; Liu et al., 2019); the other text; the label."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ...output import IGNORED
from .batch import Batch, Objective, Rows, bare, bounded, column, padded, read, real, to_write


@dataclass(frozen=True)
class CausalLM(Objective):
    """Each token predicts the next one: column ``input`` [N + 1], of which N are read.

    With a column ``document`` [N + 1], -1 for padding, rows hold several documents, which neither see nor predict
    each other; the door starts their positions again. Padding needs no mask: no token looks to its right."""

    pad: int = 0

    def batch(self, rows: Rows, random: torch.Generator) -> Batch:
        ids = column(rows, "input")
        inputs = {"input_ids": padded([row[:-1] for row in ids], self.pad)}
        targets = padded([row[1:] for row in ids], IGNORED)
        if "document" in rows[0]:
            document = padded(column(rows, "document"), -1)
            here, there = document[:, :-1], document[:, 1:]
            inputs["document_ids"] = here
            targets = targets.masked_fill((here != there) | (there < 0), IGNORED)
        return Batch(inputs, targets)


@dataclass(frozen=True)
class MaskedLM(Objective):
    """Some tokens of column ``input`` are hidden, others each time, and to be told from the rest.

    A ``share`` of all tokens but the ``special`` ones is chosen, at least one a row; of these, ``masked`` become the
    mask, ``swapped`` any token, the rest stay. ``continues`` [vocab] says which ids go on with a word (see
    ``continuations``); then words are chosen whole. A column ``document`` keeps documents apart as in CausalLM."""

    mask: int
    vocab: int
    pad: int = 0
    special: tuple[int, ...] = ()
    share: float = 0.15
    masked: float = 0.8
    swapped: float = 0.1
    continues: Bool[Tensor, " V"] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (0 < self.share < 1 and min(self.masked, self.swapped) >= 0 and self.masked + self.swapped <= 1):
            raise ValueError(f"share lies between 0 and 1, and masked + swapped up to 1, got {self}")

    def batch(self, rows: Rows, random: torch.Generator) -> Batch:
        pieces = column(rows, "input")
        ids, keep = padded(pieces, self.pad), real(pieces)
        inputs, document = read(ids, keep), None
        if "document" in rows[0]:
            document = inputs["document_ids"] = padded(column(rows, "document"), -1)
            keep = keep & (document >= 0)
        chosen = self.choose(ids, keep, document, random)
        fate, swap = torch.rand(ids.shape, generator=random), torch.randint(self.vocab, ids.shape, generator=random)
        seen = torch.where(fate < self.masked, self.mask, torch.where(fate < self.masked + self.swapped, swap, ids))
        inputs["input_ids"] = torch.where(chosen, seen, ids)
        return Batch(inputs, ids.masked_fill(~chosen, IGNORED))

    def choose(
        self, ids: Int[Tensor, "B N"], keep: Bool[Tensor, "B N"], document: Tensor | None, random: torch.Generator
    ) -> Bool[Tensor, "B N"]:
        """Which tokens are to be told: those whose word drew a number below ``share``, or the row's lowest."""
        free = keep & ~torch.isin(ids, torch.tensor(self.special, dtype=torch.long))
        drawn = torch.rand(ids.shape, generator=random)
        if self.continues is not None:
            goes_on = self.continues[ids]
            goes_on[:, :1] = False
            if document is not None:
                goes_on[:, 1:] &= document[:, 1:] == document[:, :-1]
            drawn = drawn.gather(1, (~goes_on).cumsum(1) - 1)
        drawn = drawn.masked_fill(~free, 2.0)
        return free & ((drawn < self.share) | (drawn == drawn.amin(1, keepdim=True)))


@dataclass(frozen=True)
class Seq2Seq(Objective):
    """Column ``input`` is read, column ``target`` is written, and ``eos`` (None: nothing) behind it.

    The decoder begins with ``start``; None begins it with the last token of what it is to write (mBART)."""

    start: int | None
    eos: int | None
    pad: int = 0

    def batch(self, rows: Rows, random: torch.Generator) -> Batch:
        source, target = column(rows, "input"), bare(column(rows, "target"), None, self.eos)
        targets = bounded(padded(target, IGNORED), real(target), None, self.eos, IGNORED)[0]
        return to_write(read(padded(source, self.pad), real(source)), targets, self.pad, self.start)


@dataclass(frozen=True)
class SequenceClassification(Objective):
    """Column ``input`` has one label: column ``target`` [1]."""

    pad: int = 0

    def batch(self, rows: Rows, random: torch.Generator) -> Batch:
        source, labels = column(rows, "input"), column(rows, "target")
        if odd := [i for i, label in enumerate(labels) if label.numel() != 1]:
            raise ValueError(f"a row has one label, but row {odd[0]} has {labels[odd[0]].tolist()}")
        return Batch(read(padded(source, self.pad), real(source)), torch.cat([label.flatten() for label in labels]))


@dataclass(frozen=True)
class TokenClassification(Objective):
    """Each token of column ``input`` has its label in column ``target`` [N], -100 for none (the rest of a word)."""

    pad: int = 0

    def batch(self, rows: Rows, random: torch.Generator) -> Batch:
        source, labels = column(rows, "input"), column(rows, "target")
        if odd := [i for i, pair in enumerate(zip(source, labels, strict=True)) if len(pair[0]) != len(pair[1])]:
            i = odd[0]
            raise ValueError(f"row {i} has {len(source[i])} tokens and {len(labels[i])} labels; -100 labels none")
        return Batch(read(padded(source, self.pad), real(source)), padded(labels, IGNORED))
