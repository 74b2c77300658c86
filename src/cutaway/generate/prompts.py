"""What a caller hands in, as rows of ids."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .processors import NOTHING

Row = Int[Tensor, " _"]
Prompt = Tensor | Sequence[int] | Sequence[Sequence[int]] | Sequence[Tensor]


def rows_of(ids: Any, device: torch.device, name: str, mask: Tensor | None = None) -> list[Row]:
    """The real tokens of each row of a tensor [B, N] (with its attention mask), a list of rows, or one row.

    Raises TypeError for what holds no ids, ValueError for a mask of another shape, or for no rows."""
    if not isinstance(ids, Tensor | Sequence) or isinstance(ids, str):
        raise TypeError(f"{name} must be text, or ids as a tensor [B, N] or lists, not {type(ids).__name__}")
    if isinstance(ids, Tensor):
        ids = ids[None] if ids.ndim == 1 else ids
    elif not ids or isinstance(ids[0], int):
        ids = [ids]
    if len(ids) == 0:
        raise ValueError(f"{name} holds no row")
    rows = [row_of(row, name).to(device) for row in ids]
    if mask is None:
        return rows
    if mask.shape != (len(rows), len(rows[0])) or any(len(row) != mask.shape[1] for row in rows):
        raise ValueError(f"the attention mask must have the shape of the ids, [B, N], got {list(mask.shape)}")
    return [row[keep] for row, keep in zip(rows, mask.bool().to(device), strict=True)]


def row_of(row: Any, name: str) -> Row:
    """One row of ids. Raises TypeError for anything else."""
    if isinstance(row, str) or (not isinstance(row, Tensor) and not all(isinstance(i, int) for i in row)):
        raise TypeError(f"{name} must be all text or all ids, but has a row {row!r:.60}")
    found = row if isinstance(row, Tensor) else torch.tensor(row, dtype=torch.long)
    if found.ndim != 1 or found.is_floating_point():
        raise TypeError(f"{name} must hold rows of integers, but a row is {found.dtype} {list(found.shape)}")
    return found.long()


def aligned(rows: Sequence[Row], side: str) -> Int[Tensor, "B N"]:
    """Rows as one tensor, NOTHING on the ``side`` where they are shorter."""
    return pad_sequence(list(rows), batch_first=True, padding_value=NOTHING, padding_side=side)
