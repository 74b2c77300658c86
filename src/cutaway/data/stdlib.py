"""Python's own standard library as text: it lies on every machine that runs this."""

import os
import sysconfig
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from .faults import Faults
from .sources import Source
from .tables import Record

SPLITS = ("train", "validation")
# What is not the library's own; and its tests, which are as long as the rest, full of repetition, and not installed
# everywhere (Debian leaves them out), so that figures of two machines could not be compared.
OUTSIDE = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}
# Made when Python was built: settings of one machine.
MADE = "_sysconfigdata"


@dataclass(frozen=True)
class Stdlib(Source):
    """Records ``name`` (the path within the library) and ``text`` (a whole file), sorted by name.

    A file's name alone decides whether it is training or validation: every tenth or so is validation, so a file
    is on the same side under every version of Python. ``folder`` is another tree of Python source."""

    split: str = "train"
    folder: str | None = None
    every: int = 10

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"split must be {' or '.join(map(repr, SPLITS))}, not {self.split!r}")

    def paths(self) -> dict[str, Path]:
        """The files of this split by name. Raises ValueError where there is no source."""
        root = Path(self.folder or sysconfig.get_path("stdlib"))
        below: dict[str, Path] = {}
        for parent, folders, files in os.walk(root):
            folders[:] = [name for name in folders if name not in OUTSIDE]
            paths = [Path(parent, name) for name in files if name.endswith(".py") and not name.startswith(MADE)]
            below |= {path.relative_to(root).as_posix(): path for path in paths}
        if not below:
            raise ValueError(f"{root} has no Python source; name a folder that has")
        return {name: below[name] for name in sorted(below) if self._holds(name)}

    def _holds(self, name: str) -> bool:
        held_out = int.from_bytes(sha256(name.encode()).digest()[:8], "big") % self.every == 0
        return held_out == (self.split == "validation")

    def records(self, faults: Faults) -> Iterator[Record]:
        """Each file in the encoding that it declares (PEP 263)."""
        for name, path in self.paths().items():
            try:
                with tokenize.open(path) as file:
                    text = file.read()
            except (SyntaxError, UnicodeDecodeError) as error:
                faults.add(path, None, f"cannot be decoded: {error}")
            else:
                yield {"name": name, "text": text}

    def key(self) -> dict[str, Any]:
        """The content, since times and paths of an installation say little."""
        hashes = [[name, sha256(path.read_bytes()).hexdigest()] for name, path in self.paths().items()]
        return {"stdlib": self.folder, "split": self.split, "files": hashes}
