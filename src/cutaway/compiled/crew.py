"""Threads that help with a compiled function while the thread that called it is at work."""

import atexit
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np

Job = tuple[Callable[..., object], tuple[Any, ...]]


class Crew:
    """Threads beside the caller's, each started when it is first needed, asleep between two jobs.

    The caller waits for none of them to begin: a thread that comes late finds less to do, or nothing."""

    def __init__(self) -> None:
        self.helpers: list[tuple[Thread, SimpleQueue[Job | None]]] = []
        atexit.register(self.close)

    def run(self, work: Callable[..., object], args: tuple[Any, ...], threads: int, phases: int) -> None:
        """``work((threads, counts), *args)`` on so many threads, which share its ``phases`` as :mod:`.team` says."""
        self.helpers = [(thread, inbox) for thread, inbox in self.helpers if thread.is_alive()]  # not after a fork
        while len(self.helpers) < threads - 1:
            inbox: SimpleQueue[Job | None] = SimpleQueue()
            self.helpers.append((Thread(target=serve, args=(inbox,), name="cutaway", daemon=True), inbox))
            self.helpers[-1][0].start()
        args = ((threads, np.zeros(2 * phases, np.int64)), *args)
        for _, inbox in self.helpers[: threads - 1]:
            if inbox.empty():  # or it is late, and would come too late for this, too
                inbox.put((work, args))
        work(*args)

    def close(self) -> None:
        """Wait until every thread has ended: one that is late must not find an interpreter that is gone."""
        for thread, inbox in self.helpers:
            inbox.put(None)
            thread.join()
        self.helpers = []


def serve(inbox: SimpleQueue[Job | None]) -> None:
    """Do one job after the other."""
    while job := inbox.get():
        work, args = job
        work(*args)
        del job, work, args  # nothing is kept while there is nothing to do
