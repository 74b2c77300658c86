"""Documents packed into rows of one length (best fit decreasing: Johnson, 1973), so that little is padding."""

from dataclasses import dataclass

import numpy as np

from .order import key, mixed


@dataclass(frozen=True)
class Pieces:
    """Parts of documents, row by row: row r has the pieces ``rows[r]`` to ``rows[r + 1]``.

    A piece is ``length`` tokens of ``document`` from ``start`` on."""

    document: np.ndarray
    start: np.ndarray
    length: np.ndarray
    rows: np.ndarray


def pack(lengths: np.ndarray, size: int, seed: int) -> Pieces:
    """Rows of at most ``size`` tokens.

    Documents that are longer are cut: a piece begins with the token that the one before ended with, so that every
    token but a document's first has the one before it in its row exactly once. A document of one token has none."""
    step = size - 1
    counts = np.where(lengths > 1, -(-(lengths - 1) // step), 0)
    document = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(document)) - np.repeat(counts.cumsum() - counts, counts)
    start = number * step
    length = np.minimum(lengths[document] - start, size)
    chance = mixed(np.arange(len(document), dtype=np.uint64) ^ np.uint64(key(seed, "pack")))
    order = np.lexsort((chance, -length))
    row = np.empty(len(order), np.int64)
    row[order] = _best_fit(length[order], size)
    by_row = np.argsort(row, kind="stable")
    rows = np.concatenate([[0], np.bincount(row).cumsum()]) if len(row) else np.zeros(1, np.int64)
    return Pieces(document[by_row], start[by_row], length[by_row], rows)


def _best_fit(lengths: np.ndarray, size: int) -> list[int]:
    """The row of each piece, the longest first: the fullest that has room for it, else a new one."""
    with_room: list[list[int]] = [[] for _ in range(size + 1)]
    free = 0  # bit n says that a row has room for exactly n
    found, count = [], 0
    for length in lengths.tolist():
        room = (free >> length << length) & -(free >> length << length)
        if room:
            left = room.bit_length() - 1
            row = with_room[left].pop()
            free ^= room if not with_room[left] else 0
        else:
            left, row, count = size, count, count + 1
        left -= length
        with_room[left].append(row)
        free |= 1 << left
        found.append(row)
    return found
