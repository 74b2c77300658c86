"""SentencePiece at work: text to pieces by unigram (Kudo, 2018) or BPE (Sennrich et al., 2016), and pieces to text."""

import heapq
import re
import struct
from collections.abc import Iterator, Sequence

from .sentencepiece import BYTE, CONTROL, NORMAL, SPACE, UNIGRAM, UNUSED, USER_DEFINED, Model, Normaliser

UNKNOWN_PENALTY = 10.0
SYMBOL_SCORE = -0.1
Token = tuple[str, tuple[int, int]]


class Segmenter:
    """A SentencePiece model that cuts text as its own library does, to the last bit of its 32-bit scores."""

    def __init__(self, model: Model):
        self.model = model
        self.normalise = Normaliser(model)
        words = [piece for piece in model.pieces if piece.kind in (NORMAL, USER_DEFINED, UNUSED)]
        self.scores = {piece.text: piece.score for piece in words}
        self.unused = {piece.text for piece in words if piece.kind == UNUSED}
        self.symbols = set(model.of_kind(USER_DEFINED))
        # Scores by the letters that lead to them, None on the way; symbols score so that they are always taken.
        self.steps: dict[str, float | None] = {}
        if model.algorithm == UNIGRAM:
            self.steps |= {w.text[:n]: None for w in words for n in range(1, len(w.text) + 1)}
            self.steps |= {w.text: w.score for w in words if w.kind == NORMAL}
            self.steps |= dict.fromkeys(self.symbols, SYMBOL_SCORE)
        self.unknown = single(min((p.score for p in words if p.kind == NORMAL), default=0.0) - UNKNOWN_PENALTY)
        parts = sorted(self.symbols, key=len, reverse=True)
        self.atoms = re.compile("|".join([*map(re.escape, parts), "."]), re.DOTALL)
        self.silent = set(model.of_kind(CONTROL))
        self.bytes = {text: int(text[3:5], 16) for text in model.of_kind(BYTE)}

    def pieces(self, text: str, at: int) -> Iterator[Token]:
        """The pieces of a text, with their spans in the text that begins ``at`` characters before it."""
        normal, places = self.normalise(text)
        start = 0
        for piece in self.joined(self.cut(normal)):
            end = start + len(piece)
            first = at + places[start]
            span = first, max(at + places[end], first + 1)
            start = end
            if piece not in self.scores and self.bytes:
                yield from ((f"<0x{byte:02X}>", span) for byte in piece.encode())
            else:
                yield piece, span

    def cut(self, text: str) -> list[str]:
        return self.best_path(text) if self.model.algorithm == UNIGRAM else self.merged(text)

    def joined(self, pieces: Sequence[str]) -> Iterator[str]:
        """Pieces, with neighbours that are unknown made one."""
        unknown = ""
        for piece in pieces:
            if piece not in self.scores:
                unknown += piece
                continue
            if unknown:
                yield unknown
            yield piece
            unknown = ""
        if unknown:
            yield unknown

    def best_path(self, text: str) -> list[str]:
        """The pieces whose scores add up to the most (Viterbi, 1967); of two equal paths, the first found."""
        best = [0.0] + [float("-inf")] * len(text)
        begins = [0] * (len(text) + 1)
        for start in range(len(text)):
            known = False
            for end in range(start + 1, len(text) + 1):
                piece = text[start:end]
                if piece not in self.steps:
                    break
                score = self.steps[piece]
                if score is None:
                    continue
                known = known or end == start + 1
                total = single(best[start] + score)
                if total > best[end]:
                    best[end], begins[end] = total, start
            total = single(best[start] + self.unknown)
            if not known and total > best[start + 1]:
                best[start + 1], begins[start + 1] = total, start
        pieces, end = [], len(text)
        while end:
            pieces.append(text[begins[end] : end])
            end = begins[end]
        return pieces[::-1]

    def merged(self, text: str) -> list[str]:
        """Neighbours joined as long as a piece comes of it, the best piece first, then the leftmost."""
        parts = self.atoms.findall(text)
        before, after = list(range(-1, len(parts) - 1)), [*range(1, len(parts)), -1]
        agenda: list[tuple[float, int, int, str]] = []
        halves: dict[str, tuple[str, str]] = {}

        def consider(left: int, right: int) -> None:
            if min(left, right) < 0 or not self.symbols.isdisjoint((parts[left], parts[right])):
                return
            whole = parts[left] + parts[right]
            if whole in self.scores:
                heapq.heappush(agenda, (-self.scores[whole], left, right, whole))
                halves[whole] = parts[left], parts[right]

        for left in range(len(parts) - 1):
            consider(left, left + 1)
        while agenda:
            _, left, right, whole = heapq.heappop(agenda)
            if not parts[left] or not parts[right] or parts[left] + parts[right] != whole:
                continue
            parts[left], parts[right] = whole, ""
            after[left] = after[right]
            if after[left] >= 0:
                before[after[left]] = left
            consider(before[left], left)
            consider(left, after[left])
        return [piece for part in parts if part for piece in self.used(part, halves)]

    def used(self, piece: str, halves: dict[str, tuple[str, str]]) -> list[str]:
        """A piece, or its halves if it only ever served to be merged further."""
        if piece not in self.unused or piece not in halves:
            return [piece]
        return [used for half in halves[piece] for used in self.used(half, halves)]

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


def single(value: float) -> float:
    """A number with the precision of 32 bits, which decides between paths that are equal on paper."""
    return struct.unpack("f", struct.pack("f", value))[0]


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
