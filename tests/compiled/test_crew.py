"""Threads that share a compiled step: whoever does it, and however late the others come, the result is one."""

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from test_swift import build, steps

from cutaway.compiled import PHASES
from cutaway.compiled.crew import Crew
from cutaway.compiled.step import product
from cutaway.kernels import product as P

Work = Callable[..., object]
RUN = Crew.run


def use(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many threads for every step: four are more than cores, so some are put aside while others go on."""
    monkeypatch.setattr(Crew, "run", lambda self, work, args, _, phases: RUN(self, work, args, threads, phases))


@pytest.mark.parametrize("family", ["llama", "bart"])
def test_threads_write_what_one_writes(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(family)
    use(1, monkeypatch)
    alone, _ = steps(model, plain=False)
    use(4, monkeypatch)
    for _ in range(5):
        assert torch.equal(steps(model, plain=False)[0], alone)


@pytest.mark.parametrize(("family", "each"), [("llama", 10), ("qwen3", 12), ("bart", 15)])
def test_phases_are_counted(family: str, each: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, counts = build(family), []

    def run(self: Crew, work: Work, args: tuple[Any, ...], threads: int, phases: int) -> None:
        counts.append(np.zeros(2 * phases + 100, np.int64))  # more, so that what is beyond would be seen
        work((1, counts[-1]), *args)

    monkeypatch.setattr(Crew, "run", run)
    steps(model, plain=False)
    assert each <= PHASES
    assert {np.count_nonzero(done[1::2]) for done in counts} == {2 * each}
    assert all(np.count_nonzero(done[2 * 2 * each :]) == 0 for done in counts)


def test_a_thread_that_comes_late_finds_nothing_to_do() -> None:
    weight, x = torch.randn(100, 64), torch.randn(1, 64)
    out, counts = torch.zeros(100), np.zeros(2, np.int64)
    args = P.flat(x), P.numbers_of(weight)[0], P.NO_BIAS, 1, 64, 100, P.flat(out)
    product((3, counts, np.zeros(1, np.int64)), *args)
    torch.testing.assert_close(out, weight @ x[0])
    out.zero_()
    product((3, counts, np.zeros(1, np.int64)), *args)
    assert not out.any()


def test_nobody_waits_for_a_thread_that_does_not_begin() -> None:
    crew, begun, go, done = Crew(), threading.Event(), threading.Event(), threading.Event()

    def stay(team: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            go.wait()
            done.set()

    crew.run(stay, (), 2, 1)
    begun.wait()
    ran: list[object] = []
    for _ in range(50):
        crew.run(lambda team: ran.append(threading.current_thread()), (), 2, 1)
    assert ran == [threading.main_thread()] * 50
    assert crew.helpers[0][1].qsize() == 1, "work does not pile up"
    go.set()
    done.wait()


def test_a_forked_process_starts_threads_of_its_own() -> None:
    crew = Crew()
    both = threading.Barrier(2)
    crew.run(lambda team: both.wait(), (), 2, 1)
    child = os.fork()
    if child == 0:
        met = False
        try:
            both = threading.Barrier(2)
            crew.run(lambda team: both.wait(), (), 2, 1)
            met = True
        finally:
            os._exit(0 if met else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_an_end_waits_for_who_is_late() -> None:
    begun, done = threading.Event(), []

    def work(team: object) -> None:
        if threading.current_thread() is threading.main_thread():
            begun.wait(30)
        else:
            begun.set()
            threading.Event().wait(0.1)
            done.append(True)

    crew = Crew()
    crew.run(work, (), 2, 1)
    assert not done
    crew.close()
    assert done
    assert not crew.helpers
    crew.run(lambda team: None, (), 2, 1)  # what was closed begins anew
    crew.close()
