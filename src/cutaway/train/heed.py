"""Ctrl-C and SIGTERM: the step is finished and saved, and a second one does not wait."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def heeding(stop: Callable[[str], None]) -> Iterator[None]:
    """Until the end of the block the first of these signals calls ``stop`` with its name; others act as before."""

    def heed(number: int, frame: FrameType | None) -> None:
        stop(f"stopped by {signal.Signals(number).name}")
        for one, handler in kept.items():
            signal.signal(one, handler)

    kept = {one: signal.signal(one, heed) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in kept.items():
            signal.signal(one, handler)
