"""What encoding returns, and what every encoder does alike: check its input, cut it to length, pad it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import index
from typing import SupportsIndex


@dataclass(frozen=True)
class Encoding:
    """One text, or a pair, as tokens.

    ``type_ids`` are the segments that BERT embeds. ``offsets`` are spans of characters in the text that a token
    comes from, and ``sequences`` says which text that is, 0 or 1; special tokens have (0, 0) and None."""

    ids: list[int]
    type_ids: list[int]
    offsets: list[tuple[int, int]]
    tokens: list[str]
    sequences: list[int | None]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Batch:
    """Encodings padded to one length; ``attention_mask`` is 1 where a token is, 0 where padding is."""

    input_ids: list[list[int]]
    attention_mask: list[list[int]]
    token_type_ids: list[list[int]]

    def __len__(self) -> int:
        return len(self.input_ids)


def check(text: object, what: str = "text") -> str:
    """The text itself. Raises TypeError for what is no str, ValueError for half of a surrogate pair."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}: {text!r:.60}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what} is not valid Unicode: a lone surrogate {text[error.start]!r} at character {error.start}"
        ) from error
    return text


def check_ids(ids: Iterable[SupportsIndex]) -> list[int]:
    """The ids as a list. Raises TypeError for what is no whole number, ValueError for what can be no id."""
    checked = [index(i) for i in ids]
    for place, i in enumerate(checked):
        if not 0 <= i < 2**32:
            raise ValueError(f"{i} at position {place} is no id: ids count from 0")
    return checked


def fit(first: int, second: int | None, room: int) -> tuple[int, int]:
    """How many tokens of two texts to keep so that both fit: the longer one gives first, then both alike."""
    if second is None or first + second <= room:
        return min(first, room), second or 0
    short = min(first, second)
    if 2 * short > room:
        half = room // 2
        return (half, room - half) if first <= second else (room - half, half)
    return (short, room - short) if first <= second else (room - short, short)


def room(max_length: int, special: int) -> int:
    """How many tokens of text fit. Raises ValueError if not even the special tokens do."""
    if max_length < special:
        raise ValueError(f"max_length is {max_length}, but the special tokens alone are {special}")
    return max_length - special


def pad(encodings: Sequence[Encoding], pad_id: int, side: str) -> Batch:
    """All encodings at the length of the longest, padded on the ``"right"`` or on the ``"left"``."""
    if side not in ("right", "left"):
        raise ValueError(f"side must be 'right' or 'left', not {side!r}")
    longest = max(map(len, encodings), default=0)

    def fill(values: list[int], value: int) -> list[int]:
        padding = [value] * (longest - len(values))
        return values + padding if side == "right" else padding + values

    return Batch(
        [fill(e.ids, pad_id) for e in encodings],
        [fill([1] * len(e), 0) for e in encodings],
        [fill(e.type_ids, 0) for e in encodings],
    )
