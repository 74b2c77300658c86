"""What ``cutaway runs`` does; it returns what the command line prints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from .curves import picture
from .runs import comparison, curves, find, is_run, listing


def runs(
    folders: Sequence[str | Path],
    drawing: str | Path | None = None,
    *,
    across: Literal["step", "tokens", "seconds"] = "step",
    log: bool = False,
) -> str:
    """The runs in some folders as a table; of two or more run folders, what differs and what came of it.

    With ``drawing``, all their curves are drawn into that SVG file. Raises FileNotFoundError for a folder that is
    not there, ValueError where there is no run or nothing to draw."""
    found = find(folders)
    if not found:
        raise ValueError(f"there is no run in {', '.join(map(str, folders))}; cutaway train makes one")
    compared = len(found) > 1 and all(is_run(Path(folder)) for folder in folders)
    told = [comparison(found) if compared else listing(found)]
    if drawing is not None:
        Path(drawing).write_text(picture(curves(found), across=across, log=log), encoding="utf-8")
        told.append(f"curves: {drawing}")
    return "\n\n".join(told)
