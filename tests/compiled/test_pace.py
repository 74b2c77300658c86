"""How many threads: a clock of our own, so that what is slow is known."""

import pytest

from cutaway.compiled.pace import LAST, Pace


class World:
    """Products that take one or two seconds, or much longer while another process is busy."""

    def __init__(self) -> None:
        self.now, self.busy, self.threads = 0.0, False, 0

    def clock(self) -> float:
        return self.now

    def work(self, threads: int) -> None:
        self.threads = threads
        self.now += 2.0 if threads == 1 else 20.0 if self.busy else 1.0

    def run(self, pace: Pace, times: int, threads: int = 2) -> list[int]:
        used = []
        for _ in range(times):
            pace.run(self.work, "product", threads)
            used.append(self.threads)
        return used


@pytest.fixture
def world() -> World:
    return World()


def test_a_quiet_machine_uses_all_threads(world: World) -> None:
    used = world.run(Pace(world.clock), 3000)
    assert used[:16] == [2] * 16
    assert used.count(1) <= 9  # looks at one thread become rarer


def test_one_thread_while_others_are_busy_and_all_again_afterwards(world: World) -> None:
    pace = Pace(world.clock)
    world.run(pace, 100)
    world.busy = True
    used = world.run(pace, 300)
    assert used.index(1) <= 2  # one slow product is enough
    assert used[10:].count(2) <= 6
    world.busy = False
    later = world.run(pace, 2 * LAST)
    assert later[-100:] == [2] * 100


def test_one_thread_is_never_measured_against_itself(world: World) -> None:
    assert set(world.run(Pace(world.clock), 200, threads=1)) == {1}
