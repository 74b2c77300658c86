"""New tokens as text: written out piece by piece, and stopped at a string."""

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool
from torch import Tensor

from .processors import NOTHING, Ids

if TYPE_CHECKING:
    from ..text import Tokenizer

# Tokens before a stretch that is decoded by itself, so that its first word keeps its space.
CONTEXT = 4


class Writer:
    """Writes what follows ``prompt`` in one row, up to an end token or a stop string, which is left out.

    What ``put`` and ``end`` return, joined, is the text; what may yet become a stop string is held back."""

    def __init__(self, tokenizer: "Tokenizer", prompt: Iterable[int], ends: Collection[int], stops: Sequence[str]):
        self.stream, self.ends, self.stops = tokenizer.stream(), ends, stops
        self.held, self.over = "", False
        for index in prompt:
            if index != NOTHING:
                self.stream.put(index)

    def put(self, index: int) -> str:
        """The text that is certain now and was not before."""
        if self.over or index == NOTHING:
            return ""
        if index in self.ends:
            return self.end()
        return self.let_go(self.stream.put(index), last=False)

    def end(self) -> str:
        """What was still held back."""
        return "" if self.over else self.let_go(self.stream.end(), last=True)

    def let_go(self, piece: str, last: bool) -> str:
        text = self.held + piece
        found = [at for stop in self.stops if (at := text.find(stop)) >= 0]
        self.over = last or bool(found)
        cut = min(found) if found else len(text) if last else self.certain(text)
        self.held = text[cut:]
        return text[:cut]

    def certain(self, text: str) -> int:
        """How much of a text cannot be the beginning of a stop string."""
        longest = max(map(len, self.stops), default=1) - 1
        starts = range(max(0, len(text) - longest), len(text))
        return next((at for at in starts if any(stop.startswith(text[at:]) for stop in self.stops)), len(text))


def saying(tokenizer: "Tokenizer", stops: Sequence[str], start: int, ids: Ids) -> Bool[Tensor, " R"]:
    """Which rows have just come to say one of these strings, after their first ``start`` ids."""
    reach = max(len(stop.encode()) for stop in stops)  # a token is a byte at least
    first = max(start, ids.shape[1] - reach)
    said = [text_after(tokenizer, row[:first], row[first:]) for row in ids.tolist()]
    return torch.tensor([any(stop in text for stop in stops) for text in said], device=ids.device)


def text_after(tokenizer: "Tokenizer", before: Sequence[int], row: Sequence[int]) -> str:
    """The text of the ids ``row``, which come after others."""
    known, new = ([i for i in part if i != NOTHING] for part in (before[-CONTEXT:], row))
    return tokenizer.decode([*known, *new])[len(tokenizer.decode(known)) :]
