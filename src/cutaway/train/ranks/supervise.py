"""A run that is started again when a rank dies: each time as a fresh group of processes.

torchrun can restart ranks itself, but gloo's ranks then often look for each other at old addresses; a run that resumes
from its last checkpoint needs no more than to be started anew."""

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

STOP = (signal.SIGINT, signal.SIGTERM)
log = logging.getLogger(__name__)


def supervise(
    command: Sequence[str], processes: int, restarts: int = 3, begun: Callable[[], bool] = lambda: True
) -> int:
    """Run ``command`` (a module and its arguments, or a script) on ``processes`` ranks, again each time it fails.

    Gives the exit code of the last run. After ``restarts`` further runs, or a SIGINT or SIGTERM, which are passed on,
    no other is started; nor when nothing has ``begun`` that could go on: bad input stays bad.

    Raises ValueError for numbers below what makes sense; call it from the main thread."""
    if processes < 1 or restarts < 0:
        raise ValueError(f"expected at least 1 process and 0 restarts, got {processes} and {restarts}")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", "0"]
    run: subprocess.Popen[bytes] | None = None
    stopped: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.append(number)
        if run is not None:
            run.send_signal(number)

    before = {number: signal.signal(number, stop) for number in STOP}
    try:
        for attempt in range(restarts + 1):
            start = time.monotonic()
            # In a session of its own, so that a Ctrl-C reaches the ranks once: from here.
            run = subprocess.Popen([*launch, "--nproc-per-node", str(processes), *command], start_new_session=True)
            code = run.wait()
            if code == 0 or stopped or not begun():
                break
            seconds = time.monotonic() - start
            log.warning("run %d of at most %d ended after %.0f s with %d", attempt + 1, restarts + 1, seconds, code)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code
