"""Lines of files, plain or compressed with gzip (RFC 1952) or Zstandard (RFC 8878), one at a time."""

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .faults import Faults

LONGEST = 16 * 2**20
BLOCK = 2**20
PACKED = (".gz", ".zst")
MARK = b"\xef\xbb\xbf"
BROKEN = (EOFError, zlib.error, gzip.BadGzipFile)


def missing(package: str, what: str) -> ModuleNotFoundError:
    """The error for a package that only some data needs."""
    return ModuleNotFoundError(f"{what} needs the package {package}: pip install 'cutaway[data]'", name=package)


def plain_suffix(path: Path) -> str:
    """The suffix in lower case, without that of the compression: ``.jsonl`` of ``a.jsonl.gz``."""
    name = path.with_suffix("") if path.suffix.lower() in PACKED else path
    return name.suffix.lower()


def blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, decompressed, a block at a time.

    Raises ModuleNotFoundError saying what to install, and one of BROKEN for a compressed file that is damaged."""
    match path.suffix.lower():
        case ".gz":
            yield from _read(gzip.open, path)
        case ".zst" if sys.version_info >= (3, 14):
            from compression import zstd

            yield from _read(zstd.open, path)
        case ".zst":
            yield from _frames(path)
        case _:
            yield from _read(partial(open, mode="rb"), path)


def _read(how: Callable[[Path], Any], path: Path) -> Iterator[bytes]:
    with how(path) as file:
        while block := file.read(BLOCK):
            yield block


def is_text(path: Path) -> bool:
    """Whether a file begins without zero bytes; a broken one is for its reader to report."""
    try:
        return b"\0" not in next(blocks(path), b"")[:1024]
    except BROKEN:
        return True


def _frames(path: Path) -> Iterator[bytes]:
    """Frame after frame; unlike the package's own reader, this notices when the last one breaks off."""
    try:
        import zstandard
    except ModuleNotFoundError as error:
        raise missing("zstandard", str(path)) from error
    frame = None
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            while block:
                frame = frame or zstandard.ZstdDecompressor().decompressobj()
                try:
                    yield frame.decompress(block)
                except zstandard.ZstdError as error:
                    raise EOFError(str(error)) from error
                block, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    if frame is not None:
        raise EOFError("its last frame is not complete")


def lines(path: Path, faults: Faults) -> Iterator[tuple[int, str | None]]:
    """Each line with its number from 1 and its end; None where it is no UTF-8, or longer than 16 MiB.

    A compressed file that is broken ends there, which is a fault too."""
    number = 0
    try:
        for number, line in enumerate(_cut(blocks(path)), 1):
            if line is None:
                faults.add(path, number, f"longer than {LONGEST} bytes")
                yield number, None
                continue
            try:
                text = (line.removeprefix(MARK) if number == 1 else line).decode()
            except UnicodeDecodeError as error:
                faults.add(path, number, f"not UTF-8: byte {error.start} is {line[error.start]:#x}")
                yield number, None
            else:
                yield number, text
    except BROKEN as error:
        faults.add(path, number + 1, f"the compressed file is broken: {error}")


def _cut(parts: Iterator[bytes]) -> Iterator[bytes | None]:
    """Lines with their ends; None for one that is too long, which is never held as a whole."""
    rest, lost = b"", False
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield None if lost or len(line) >= LONGEST else line + b"\n"
            lost = False
        if len(rest) > LONGEST:
            rest, lost = b"", True
    if rest or lost:
        yield None if lost else rest
