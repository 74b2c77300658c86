"""The command that measures."""

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

Names = tuple[str, ...]


def bench(
    *,
    works: Annotated[Names, arg(help="what to measure, by names or kinds; all, if none is named")] = (),
    peers: Annotated[Names, arg(help="whom to compare with; all that are installed, if none is named")] = (),
    threads: Annotated[int | None, arg(help="of every contestant; as many as there are cores, if not given")] = None,
    device: Annotated[str, arg(help="cpu, cuda, cuda:1")] = "cpu",
    repeats: Annotated[int, arg(help="rounds that count; one more goes before")] = 5,
    quick: Annotated[bool, arg(help="small shapes: does everything work?")] = False,
    beside: Annotated[bool, arg(help="measure again beside another busy process")] = False,
    cache: Annotated[Path | None, arg(help="keep the checkpoints in this folder")] = None,
    json: Annotated[Path | None, arg(help="write every figure to this file")] = None,
    picture: Annotated[Path | None, arg(help="draw an SVG")] = None,
) -> int:
    """Measure this machine, Cutaway and its peers, in turns, on the same weights, inputs and threads."""
    import os

    from rich.console import Console

    from .. import storage
    from ..bench import picture as drawing
    from ..bench import referee, report

    for name, value in (("threads", threads), ("repeats", repeats)):
        if value is not None and value < 1:
            raise ValueError(f"--{name} is at least 1, got {value}")
    small: dict[str, Any] = dict(rest=0.02, side=512) if quick else {}
    s = referee.Settings(threads or os.cpu_count() or 1, device, repeats, beside, **small)
    console, errors = Console(width=None if sys.stdout.isatty() else 140), Console(stderr=True)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that children and files go, too
    about = report.machine(s)

    def done(found: list[referee.Measured], missing: list[str]) -> None:
        console.print(report.table(found[-1]), end="\n\n")
        if json is not None:
            storage.write_json(json, report.as_json(found, missing, about))

    try:
        found, missing = referee.run(works, peers, s, quick=quick, cache=cache, tell=errors.print, done=done)
    except referee.FailedError as error:
        raise ValueError(str(error)) from None
    finally:
        signal.signal(signal.SIGTERM, before)
    console.print(report.summary(about, missing), soft_wrap=True)
    if picture is not None:
        picture.write_text(drawing.picture(found, about), encoding="utf-8")
    return 0 if all(result.comparable for measured in found for result in measured.results) else 1
