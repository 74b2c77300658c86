"""Marian and M2M-100: SentencePiece cuts the text, a JSON vocabulary of its own numbers the pieces."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import tokenizers
from tokenizers import AddedToken, models

from . import sentencepiece
from .encoding import Encoding, fit, room
from .engine import clean
from .sentencepiece import SPACE

# Stands before pieces that text must never match: no text that means anything holds this noncharacter.
HIDDEN = "\uffff"
CODE = re.compile(r">>.*?<<", re.DOTALL)
Token = tuple[str, tuple[int, int]]


class Segmenter:
    """A SentencePiece model at work, exactly as its own library does it: text to pieces and back."""

    def __init__(self, model: sentencepiece.Model):
        mute = (sentencepiece.CONTROL, sentencepiece.UNUSED, sentencepiece.UNKNOWN)
        pieces = [p._replace(text=HIDDEN + p.text) if p.kind in mute else p for p in model.pieces]
        self.model = model
        self.normalise = sentencepiece.Normaliser(model)
        self.pipeline = tokenizers.Tokenizer(segmentation(replace(model, pieces=tuple(pieces))))
        self.pipeline.add_tokens([AddedToken(p, normalized=False) for p in model.of_kind(sentencepiece.USER_DEFINED)])
        self.silent = set(model.of_kind(sentencepiece.CONTROL))
        self.bytes = {text: int(text[3:5], 16) for text in model.of_kind(sentencepiece.BYTE)}

    def pieces(self, text: str, at: int) -> Iterator[Token]:
        """The pieces of a text, with their spans in the text that begins ``at`` characters before it."""
        normal, places = self.normalise(text)
        found = self.pipeline.encode(normal, add_special_tokens=False)
        for index, token, (start, end) in zip(found.ids, found.tokens, found.offsets, strict=True):
            first = places[start]
            yield (
                normal[start:end] if index == self.model.unk_id else token,
                (at + first, at + max(places[end], first + 1)),
            )

    def text(self, pieces: Sequence[str]) -> str:
        """What the pieces spell, without the space that stands before the first word."""
        out: list[str] = []
        pending: list[int] = []
        for piece in pieces:
            if piece in self.bytes:
                pending.append(self.bytes[piece])
            else:
                out += [utf8(pending), "" if piece in self.silent else piece]
                pending = []
        whole = "".join([*out, utf8(pending)])
        if self.model.remove_extra_whitespaces:
            whole = whole.lstrip(SPACE)
        elif self.model.add_dummy_prefix:
            whole = whole.removeprefix(SPACE)
        return whole.replace(SPACE, " ")


def segmentation(model: sentencepiece.Model) -> models.Model:
    """The same segmentation as a model of the `tokenizers` library."""
    if model.algorithm == sentencepiece.UNIGRAM:
        scores = [(piece.text, piece.score) for piece in model.pieces]
        return models.Unigram(scores, unk_id=model.unk_id, byte_fallback=model.byte_fallback)
    return models.BPE(
        vocab={piece.text: i for i, piece in enumerate(model.pieces)},
        merges=model.merges(),
        unk_token=model.unk,
        fuse_unk=True,
        byte_fallback=model.byte_fallback,
    )


def utf8(values: Sequence[int]) -> str:
    """Bytes as text, with one replacement character for each byte that is part of none."""
    text, rest = "", bytes(values)
    while rest:
        try:
            return text + rest.decode()
        except UnicodeDecodeError as error:
            text += rest[: error.start].decode() + "\ufffd"
            rest = rest[error.start + 1 :]
    return text


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
