"""Vocabularies without their segmentation: ids and tokens are known, text is refused with the reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from .encoding import Encoding


@dataclass(frozen=True)
class Closed:
    """A vocabulary for one side of a model whose tokenizer is not read; ``reason`` is what it says of text."""

    numbers: Mapping[str, int]
    special: Sequence[str]
    reason: str
    cleans: bool = False

    def encode(self, texts: Sequence[tuple[str, str | None]], special: bool, max_length: int | None) -> list[Encoding]:
        self.refuse()

    def decode(self, ids: Sequence[int], skip_special: bool) -> str:
        self.refuse()

    def raw(self, ids: Sequence[int]) -> str:
        self.refuse()

    def refuse(self) -> NoReturn:
        raise ValueError(self.reason)

    def token(self, index: int) -> str | None:
        return next((token for token, number in self.numbers.items() if number == index), None)

    def id(self, token: str) -> int | None:
        return self.numbers.get(token)

    def byte_ids(self) -> set[int]:
        return set()

    def special_ids(self) -> set[int]:
        return {self.numbers[token] for token in self.special if token in self.numbers}

    @property
    def vocab_size(self) -> int:
        return len(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)
