"""Text and times as people are shown them."""

import unicodedata
from collections.abc import Collection, Sequence

from rich.cells import cell_len

# Marks that change the order of the text around them: text from outside must not rearrange what is shown.
TURNING = frozenset("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def visible(text: str) -> str:
    """Text that a terminal or a browser shows and does not obey: control characters become signs, a tab blanks."""
    return "".join(map(_visible, text.replace("\r\n", "\n").expandtabs(4)))


def _visible(character: str) -> str:
    code = ord(character)
    hidden = unicodedata.category(character) in ("Cc", "Cs") or character in TURNING or code & 0xFFFE == 0xFFFE
    if character == "\n" or not hidden:
        return character
    return chr(0x2400 + code) if code < 32 else "␡" if code == 127 else f"\\u{code:04x}"


def duration(seconds: float) -> str:
    """``2:05`` or ``1:02:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def amount(count: int) -> str:
    """``1.84 M``: a count in three digits."""
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size * 0.9995:
            return f"{count / size:.3g} {letter}"
    return str(count)


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Rows as lines with their columns under each other; those in ``right`` end together instead of beginning."""
    wide = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        pads = [" " * (width - cell_len(cell)) for cell, width in zip(row, wide, strict=True)]
        cells = [pad + cell if i in right else cell + pad for i, (cell, pad) in enumerate(zip(row, pads, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
