"""A batch: the door's keywords and what each position is to predict; from rows of any lengths to rectangles."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ...output import IGNORED, shift_right

Rows = Sequence[Mapping[str, Tensor]]


@dataclass(frozen=True)
class Batch:
    """Keywords for a model's call, and the ``targets``: the id that the hidden state at each position is to predict,
    [B, N] (or one for each row, [B], of a sequence classifier); -100 where it is to predict nothing."""

    inputs: dict[str, Tensor]
    targets: Tensor

    @property
    def count(self) -> int:
        """How many targets there are."""
        return int((self.targets != IGNORED).sum())


class Objective(ABC):
    """What a model is to learn from rows of token ids: a pure function of the rows and a generator's state."""

    @abstractmethod
    def batch(self, rows: Rows, random: torch.Generator) -> Batch:
        """The rows, each a dict of columns [N] of integers, as one batch, padded on the right.

        Raises KeyError for a column that is missing."""


def column(rows: Rows, name: str) -> list[Int[Tensor, " _"]]:
    """One column of all rows. Raises KeyError with the columns that there are."""
    if lacking := [i for i, row in enumerate(rows) if name not in row]:
        raise KeyError(f"row {lacking[0]} has no column {name!r}; it has: {', '.join(rows[lacking[0]])}")
    return [row[name].long() for row in rows]


def padded(pieces: Sequence[Int[Tensor, " _"]], fill: int) -> Int[Tensor, "B N"]:
    """Pieces of any lengths as one rectangle, filled up on the right."""
    return pad_sequence(list(pieces), batch_first=True, padding_value=fill)


def real(pieces: Sequence[Int[Tensor, " _"]]) -> Bool[Tensor, "B N"]:
    """Where :func:`padded` has the pieces' own tokens."""
    lengths = torch.tensor([len(piece) for piece in pieces])
    return torch.arange(int(lengths.max())) < lengths[:, None]


def read(ids: Int[Tensor, "B N"], keep: Bool[Tensor, "B N"]) -> dict[str, Tensor]:
    """What is read both ways: ids, and the mask of those that count unless all do."""
    return {"input_ids": ids} | ({} if keep.all() else {"attention_mask": keep.long()})


def bare(pieces: Sequence[Int[Tensor, " _"]], bos: int | None, eos: int | None) -> list[Int[Tensor, " _"]]:
    """Pieces without a ``bos`` in front and an ``eos`` behind."""
    pieces = [p[1:] if len(p) and bos is not None and p[0] == bos else p for p in pieces]
    return [p[:-1] if len(p) and eos is not None and p[-1] == eos else p for p in pieces]


def bounded(
    ids: Int[Tensor, "B N"], keep: Bool[Tensor, "B N"], bos: int | None, eos: int | None, fill: int
) -> tuple[Int[Tensor, "B M"], Bool[Tensor, "B M"]]:
    """The kept ids of each row moved together, between ``bos`` and ``eos`` if there are any; and which are real."""
    if bos is not None:
        ids, keep = F.pad(ids, (1, 0), value=bos), F.pad(keep, (1, 0), value=True)
    if eos is not None:
        ids, keep = F.pad(ids, (0, 1), value=eos), F.pad(keep, (0, 1), value=True)
    lengths = keep.sum(1)
    found = torch.full((len(ids), int(lengths.max())), fill)
    place = torch.arange(found.shape[1]) < lengths[:, None]
    found[place] = ids[keep]
    return found, place


def to_write(inputs: dict[str, Tensor], targets: Int[Tensor, "B T"], pad: int, start: int | None) -> Batch:
    """What an encoder-decoder reads, and writes: the decoder is given the targets, one place further right.

    Padding needs no mask there: it stands behind all that count, where they do not look."""
    given = shift_right(targets, pad, start, targets != IGNORED)
    return Batch(inputs | {"decoder_input_ids": given}, targets)
