"""Marian and M2M-100: SentencePiece cuts the text, a JSON vocabulary of its own numbers the pieces."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .encoding import Encoding, fit, room
from .engine import clean
from .segmenter import Segmenter, Token

CODE = re.compile(r">>.*?<<", re.DOTALL)


class Vocabulary:
    """Numbers of pieces, and of the ``special`` tokens that are taken out of a text before segmentation."""

    def __init__(self, numbers: Mapping[str, int], special: Mapping[str, int], unk: str):
        self.numbers, self.special, self.unk = numbers, special, unk
        self.tokens = {index: token for token, index in (*numbers.items(), *special.items())}
        self.skipped = set(special.values())
        self.pattern = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))))

    def number(self, token: str) -> int:
        if token in self.special:
            return self.special[token]
        return self.numbers.get(token, self.numbers[self.unk])


@dataclass(frozen=True)
class Pieces:
    """A segmenter with a vocabulary; ``prefix`` and ``suffix`` are the special tokens put around a text.

    ``gap`` follows a special token in decoded text. With ``codes``, a text may begin with ``>>code<<``."""

    segmenter: Segmenter
    vocabulary: Vocabulary
    prefix: tuple[str, ...] = ()
    suffix: tuple[str, ...] = ()
    gap: str = ""
    codes: bool = False
    cleans: bool = False
    cuts: str = "right"

    def encode(self, texts: Sequence[tuple[str, str | None]], special: bool, max_length: int | None) -> list[Encoding]:
        """Each text, or pair of texts, with its special tokens."""
        return [self._encode(first, second, special, max_length) for first, second in texts]

    def _encode(self, first: str, second: str | None, special: bool, max_length: int | None) -> Encoding:
        a, b = list(self._pieces(first)), None if second is None else list(self._pieces(second))
        before, after = (self.prefix, self.suffix) if special else ((), ())
        if max_length is not None:
            left = room(max_length, len(before) + len(after))
            keep = fit(len(a), None if b is None else len(b), left)
            a, b = self._cut(a, keep[0]), None if b is None else self._cut(b, keep[1])
        around = [(token, (0, 0)) for token in before], [(token, (0, 0)) for token in after]
        parts = [(around[0], None), (a, 0), (b or [], 1), (around[1], None)]
        whole = [(token, span, source) for part, source in parts for token, span in part]
        return Encoding(
            ids=[self.vocabulary.number(token) for token, _, _ in whole],
            type_ids=[0] * len(whole),
            offsets=[span for _, span, _ in whole],
            tokens=[token for token, _, _ in whole],
            sequences=[source for _, _, source in whole],
        )

    def _cut(self, pieces: list[Token], keep: int) -> list[Token]:
        return pieces[:keep] if self.cuts == "right" else pieces[len(pieces) - keep :]

    def _pieces(self, text: str) -> Iterator[Token]:
        at = 0
        for found in self.vocabulary.pattern.finditer(text):
            yield from self._segment(text[at : found.start()], at)
            yield found.group(), found.span()
            at = found.end()
        yield from self._segment(text[at:], at)

    def _segment(self, text: str, at: int) -> Iterator[Token]:
        if self.codes and (code := CODE.match(text)):
            yield code.group(), (at, at + code.end())
            text, at = text[code.end() :], at + code.end()
        yield from self.segmenter.pieces(text, at)

    def decode(self, ids: Sequence[int], skip_special: bool) -> str:
        skipped = self.vocabulary.skipped if skip_special else ()
        text = self.raw([i for i in ids if i not in skipped])
        return clean(text) if self.cleans else text

    def raw(self, ids: Sequence[int]) -> str:
        """The text before it is cleaned up; special tokens are in it."""
        out, run = "", list[str]()
        for token in (self.vocabulary.tokens.get(i, self.vocabulary.unk) for i in ids):
            if token in self.vocabulary.special:
                out, run = out + self.segmenter.text(run) + token + self.gap, []
            else:
                run.append(token)
        return (out + self.segmenter.text(run)).strip()

    def token(self, index: int) -> str | None:
        return self.vocabulary.tokens.get(index)

    def id(self, token: str) -> int | None:
        return self.vocabulary.special.get(token, self.vocabulary.numbers.get(token))

    def byte_ids(self) -> set[int]:
        """Ids that stand for single bytes: what a run of them spells is known only at its end."""
        return {index for token, index in self.vocabulary.numbers.items() if token in self.segmenter.bytes}

    def special_ids(self) -> set[int]:
        """Ids that decoding skips."""
        return self.vocabulary.skipped

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary.numbers)

    def __len__(self) -> int:
        return len(self.vocabulary.tokens)
