"""SentencePiece model files (Kudo and Richardson, 2018): a reader, and the normaliser that they describe."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

SPACE = "▁"
# What a piece is for; a file that says nothing means NORMAL.
NORMAL = 1
UNKNOWN = 2
CONTROL = 3
USER_DEFINED = 4
UNUSED = 5
BYTE = 6
# Segmentation algorithms.
UNIGRAM = 1
BPE = 2
# Fields of the file: pieces are field 1.
TRAINER = 2
NORMALISER = 3
# How a protobuf field is written: a varint, or so many bytes; for BYTES, their number stands first.
VARINT = 0
BYTES = 2
FIXED = {1: 8, 5: 4}
Fields = dict[int, int | bytes]


class Piece(NamedTuple):
    text: str
    score: float
    kind: int = NORMAL


@dataclass(frozen=True)
class Model:
    """A SentencePiece model: ``algorithm`` is UNIGRAM or BPE, ``charsmap`` the compiled normalisation rules."""

    pieces: tuple[Piece, ...]
    algorithm: int
    unk_id: int
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    escape_whitespaces: bool
    byte_fallback: bool

    @property
    def unk(self) -> str:
        return self.pieces[self.unk_id].text

    def of_kind(self, *kinds: int) -> list[str]:
        return [piece.text for piece in self.pieces if piece.kind in kinds]

    def merges(self) -> list[tuple[str, str]]:
        """The merges that a BPE model does, best first: every way to join two pieces into a third.

        A piece ranks by its place in the file; its splits by length and by the places of their parts."""
        place = {piece.text: i for i, piece in enumerate(self.pieces)}
        found = []
        for whole, rank in place.items():
            for cut in range(1, len(whole)):
                left, right = whole[:cut], whole[cut:]
                if left in place and right in place:
                    found.append((rank, cut, len(whole) - cut, place[left], place[right], left, right))
        return [(left, right) for *_, left, right in sorted(found)]


def read(blob: bytes, name: str) -> Model:
    """The model in a ``.model`` or ``.spm`` file. Raises ValueError naming the file if it is none."""
    try:
        return _checked(_model(blob))
    except (IndexError, struct.error, ValueError) as error:
        raise ValueError(f"{name} is not a complete SentencePiece model: {error}") from error


def _checked(model: Model) -> Model:
    seen: set[str] = set()
    for piece in model.pieces:
        if piece.text in seen:
            raise ValueError(f"it holds the piece {piece.text!r} twice")
        seen.add(piece.text)
    if not 0 <= model.unk_id < len(model.pieces):
        raise ValueError(f"its unknown piece is number {model.unk_id} of {len(model.pieces)}")
    if model.algorithm not in (UNIGRAM, BPE):
        raise ValueError(f"it is neither unigram nor BPE, but of model_type {model.algorithm}")
    if model.charsmap:
        rules(model.charsmap)
    return model


def _model(blob: bytes) -> Model:
    pieces: list[Piece] = []
    settings: dict[int, Fields] = {}
    for number, value in _fields(blob):
        if number == 1:
            pieces.append(_piece(_message(value)))
        elif number in (TRAINER, NORMALISER):
            settings[number] = _message(value)
    if not pieces:
        raise ValueError("it has no pieces")
    if len(settings) < 2:
        raise ValueError(f"it ends after {len(pieces)} pieces, without its settings")
    trainer, normaliser = settings[TRAINER], settings[NORMALISER]
    if _int(trainer, 24, 0):
        raise ValueError("it puts the space behind each word (treat_whitespace_as_suffix), not before")
    return Model(
        pieces=tuple(pieces),
        algorithm=_int(trainer, 3, UNIGRAM),
        unk_id=_int(trainer, 40, 0),
        charsmap=_bytes(normaliser, 2, b""),
        add_dummy_prefix=bool(_int(normaliser, 3, 1)),
        remove_extra_whitespaces=bool(_int(normaliser, 4, 1)),
        escape_whitespaces=bool(_int(normaliser, 5, 1)),
        byte_fallback=bool(_int(trainer, 35, 0)),
    )


def _piece(fields: Fields) -> Piece:
    text = _bytes(fields, 1, b"").decode()
    (score,) = struct.unpack("<f", _bytes(fields, 2, bytes(4)))
    if score != score:
        raise ValueError(f"the score of the piece {text!r} is NaN")
    return Piece(text, score, _int(fields, 3, NORMAL))


def _message(value: int | bytes) -> Fields:
    if isinstance(value, int):
        raise ValueError("a number stands where a message is expected")
    return dict(_fields(value))


def _int(fields: Fields, number: int, default: int) -> int:
    value = fields.get(number, default)
    if not isinstance(value, int):
        raise ValueError(f"field {number} is no number")
    return value


def _bytes(fields: Fields, number: int, default: bytes) -> bytes:
    value = fields.get(number, default)
    if isinstance(value, int):
        raise ValueError(f"field {number} is a number")
    return value


def _fields(blob: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a protobuf message: an int for varints, else bytes."""
    at = 0
    while at < len(blob):
        tag, at = _varint(blob, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _varint(blob, at)
            yield number, value
            continue
        if wire != BYTES and wire not in FIXED:
            raise ValueError(f"a field of unknown type {wire} before byte {at}")
        length, at = _varint(blob, at) if wire == BYTES else (FIXED[wire], at)
        if at + length > len(blob):
            raise ValueError(f"it ends at byte {len(blob)}, in a field of {length} bytes that begins at {at}")
        yield number, blob[at : at + length]
        at += length


def _varint(blob: bytes, at: int) -> tuple[int, int]:
    """The number that begins at a byte, seven bits to the byte, and where the next thing begins."""
    if blob[at] < 128:
        return blob[at], at + 1
    value = shift = 0
    while True:
        byte = blob[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError(f"a number of more than ten bytes at byte {at}")


class Normaliser:
    """Text as a SentencePiece model wants it, with the place in the text that each character came from.

    The longest rule that matches wins; rules are a double-array trie over UTF-8 (Aoe, 1989) and a list of
    replacements. Then spaces are squeezed, the dummy prefix is put first, and spaces become ``▁``."""

    def __init__(self, model: Model):
        self.model = model
        self.kept = sorted(model.of_kind(USER_DEFINED), key=len, reverse=True)
        self.units, self.texts = rules(model.charsmap) if model.charsmap else ((), b"")

    def __call__(self, text: str) -> tuple[str, list[int]]:
        """The normalised text and, for each of its characters and its end, an index into ``text``."""
        squeeze = self.model.remove_extra_whitespaces
        space = SPACE if self.model.escape_whitespaces else " "
        out: list[str] = []
        places: list[int] = []
        after_space = squeeze
        started = False
        for new, at in self._replacements(text):
            if after_space:
                new = new.lstrip(" ")
            if squeeze and not new:
                continue
            if not started and self.model.add_dummy_prefix:
                out.append(space)
                places.append(at)
            started = True
            out += new.replace(" ", space)
            places += [at] * len(new)
            after_space = squeeze and new.endswith(" ")
        end = len(text)
        while squeeze and out and out[-1] == space:
            out.pop()
            end = places.pop()
        return "".join(out), [*places, end]

    def _replacements(self, text: str) -> Iterator[tuple[str, int]]:
        at = 0
        while at < len(text):
            new, length = self._replacement(text, at)
            yield new, at
            at += length

    def _replacement(self, text: str, at: int) -> tuple[str, int]:
        """What stands for the text at a place, and how much of the text that is."""
        for piece in self.kept:
            if text.startswith(piece, at):
                return piece, len(piece)
        best, length = None, 1
        units = self.units
        node = _child(units[0]) if units else 0
        for ahead in range(at, len(text) if units else at):
            for byte in text[ahead].encode():
                node ^= byte
                # A unit keeps the byte that leads to it, and its top bit is set if it is a value.
                if node >= len(units) or units[node] & 0x800000FF != byte:
                    return (text[at] if best is None else best), length
                unit = units[node]
                node ^= _child(unit)
            if unit >> 8 & 1:
                best, length = self._text(units[node] & 0x7FFFFFFF), ahead + 1 - at
        return (text[at] if best is None else best), length

    def _text(self, at: int) -> str:
        end = self.texts.find(b"\0", at)
        return self.texts[at : len(self.texts) if end < 0 else end].decode()


def rules(charsmap: bytes) -> tuple[tuple[int, ...], bytes]:
    """The trie and the replacements in compiled normalisation rules. Raises ValueError for what is none."""
    size = int.from_bytes(charsmap[:4], "little")
    if not size or size % 4 or size + 4 > len(charsmap):
        raise ValueError(f"the normalisation rules say {size} bytes of {len(charsmap)}")
    units, texts = struct.unpack_from(f"<{size // 4}I", charsmap, 4), charsmap[4 + size :]
    texts.decode()
    for unit in units:
        at = unit & 0x7FFFFFFF
        if unit >> 31 and (at >= len(texts) or texts[at] & 0xC0 == 0x80):
            raise ValueError(f"the normalisation rules point to {at}, where no replacement begins")
    return units, texts


def _child(unit: int) -> int:
    """How far from a unit of the trie its children are."""
    return unit >> 10 << ((unit & 512) >> 6)
