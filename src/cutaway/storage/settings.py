"""JSON objects, read strictly (RFC 8259)."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The largest indexes and headers in use, of 100,000 tensors, take 9 MB and 300,000 objects and lists. A hostile
# file within these bounds costs seconds; beyond them it could take all memory.
LARGEST, MOST = 16 * 2**20, 2**20


def read_json(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises ValueError that names the file, and line and column of a syntax error. Refused too: what is no
    object; a key given twice (readers disagree which one counts); NaN and infinities (they are not JSON, and
    as settings they would spoil every number after them); nesting too deep to parse; more than LARGEST bytes
    or MOST objects and lists."""
    with open(path, "rb") as file:
        return parse(file.read(LARGEST + 1), str(path))


def parse(text: bytes, where: str) -> dict[str, Any]:
    """The object in ``text``, as strictly as ``read_json``; ``where`` begins the errors."""
    if len(text) > LARGEST:
        raise ValueError(f"{where}: more than {LARGEST} bytes, which no config, index or header needs")
    if text.count(b"{") + text.count(b"[") > MOST:
        raise ValueError(f"{where}: more than {MOST} objects and lists, which no config, index or header needs")
    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError:
        raise ValueError(f"{where}: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{where}: expected an object {{...}}, got {type(found).__name__}")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r:.80} is given twice")
        found[key] = value
    return found


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text:.40} is no finite number")
    return number


def write_json(path: str | Path, value: Mapping[str, Any]) -> None:
    """Write an object as JSON that ``read_json`` accepts. Raises ValueError for NaN and infinities.

    Raises OSError that names the file when the disk fails."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
