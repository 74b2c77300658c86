"""What a run shows: plain lines word by word, the live picture on real pseudo-terminals."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from cutaway.train.report import braille
from cutaway.train.report.display import MOST, Live, Plain, Progress, display
from cutaway.train.report.wording import duration, visible

SHOWING = Path(__file__).with_name("showing.py")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Clock:
    """Time as the test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def record(step: int, loss: float) -> dict[str, Any]:
    return {
        "kind": "train", "step": step, "loss": loss, "rate": 9.1e-4, "norm": 0.82, "tokens": 1, "seconds": 1.0,
        "tokens_per_second": 12345.6,
    }  # fmt: skip


GOLDEN = """\
precision: bfloat16
step 500/1,500  training loss 3.000  learning rate 9.10e-04  gradient norm 0.82  tokens/s 12,346  0:12 gone  1:00 left
step 600/1,500  bits per byte 1.900 (best so far)
step 600/1,500  sample
    def ␛[1m():
        pass
step 700/1,500  bits per byte 2.000 (best 1.900, step 600)
step 1,500/1,500  training loss 2.500  learning rate 9.10e-04  gradient norm 0.82  tokens/s 12,346  1:02:05 gone
"""


def test_plain_lines():
    clock, said = Clock(), io.StringIO()
    shown = Plain(said.write, 10.0, clock)
    shown.start(1500, done=300)
    shown.note("precision: bfloat16")
    clock.now += 9
    shown.train(record(400, 3.5))
    clock.now += 3
    shown.train(record(500, 3.0))
    shown.train(record(600, 2.9))
    shown.validation({"kind": "validation", "step": 600, "loss": 2.2, "bits_per_byte": 1.9})
    shown.sample("def \x1b[1m():\n\tpass")
    shown.validation({"kind": "validation", "step": 700, "loss": 2.3, "bits_per_byte": 2.0})
    clock.now = 100.0 + 3725
    shown.train(record(1500, 2.5))
    shown.stop()
    assert said.getvalue() == GOLDEN


def test_no_terminal_gets_plain_lines():
    said = io.StringIO()
    shown = display(Console(file=said))
    assert isinstance(shown, Plain)
    shown.note("a note")
    assert said.getvalue() == "a note\n"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (125, "2:05"), (3725, "1:02:05")])
def test_duration(seconds: float, text: str):
    assert duration(seconds) == text


@given(st.text())
def test_visible_text_commands_nothing(text: str):
    shown = visible(text)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert shown.count("\n") == text.count("\n")
    assert visible(shown) == shown


def on_terminal(columns: int, rows: int = 40, **environment: str) -> str:
    """What the show writes to a terminal of this size."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TERM")}
    env = kept | {"TERM": "xterm-256color", "PYTHONUTF8": "1"} | environment
    process = subprocess.Popen([sys.executable, str(SHOWING), "60"], stdout=slave, stderr=slave, env=env)
    os.close(slave)
    written = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # how Linux says that the other end was closed
            break
        if not piece:
            break
        written += piece
    os.close(master)
    assert process.wait() == 0, written.decode()
    return written.decode()


@pytest.fixture(scope="module", params=[40, 60, 120])
def shown(request: pytest.FixtureRequest) -> tuple[int, str]:
    return request.param, on_terminal(request.param)


def test_the_picture_fits_its_terminal(shown: tuple[int, str]):
    columns, written = shown
    lines = CONTROL.sub("", written).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert max(map(cell_len, lines)) == columns
    last = "\n".join(lines[max(i for i, line in enumerate(lines) if line.startswith("╭")) :])
    assert re.search(r"a run ␛\[2J", last)
    assert "60 of 60" in last
    assert re.search(r"bits per byte +1\.802 +best so far", last)
    assert re.search(r"xz -9 +1\.840", last)
    assert re.search(r"training loss +2\.002", last)
    assert re.search(r"tokens/s +12,346", last)
    assert "sample at step 60" in last
    assert "    return ␛[31m1␛[0m"[: columns - 4] in last
    assert "●" in last
    assert ("[bold]not markup[/bold] ␇ \\u202e \\ud800" in last) == (columns == 120)
    note = lines.index("precision: float32 ␛[1m".ljust(len(lines[0])).rstrip()) if columns > 25 else 0
    assert note < len(lines) - 10


def test_the_terminal_is_left_as_it_was(shown: tuple[int, str]):
    _, written = shown
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1
    assert set(re.findall(r"[\x00-\x1f\x7f]", CONTROL.sub("", written))) <= {"\r", "\n"}
    assert "\x1b[2J" not in written
    assert "\x1b[31m1" not in written


COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")


def test_colours(shown: tuple[int, str]):
    assert COLOUR.search(shown[1])


def test_no_color():
    assert not COLOUR.search(on_terminal(80, NO_COLOR="1"))


@pytest.mark.parametrize("environment", [dict(TERM="dumb"), dict(PYTHONUTF8="0", PYTHONIOENCODING="ascii:replace")])
def test_a_terminal_that_cannot_show_it_gets_plain_lines(environment: dict[str, str]):
    written = on_terminal(80, **environment)
    assert "\x1b" not in written
    assert "step 60/60  bits per byte 1.802 (best so far)" in written


@pytest.mark.parametrize("rows", [10, 24])
def test_a_low_terminal(rows: int):
    assert "60 of 60" in CONTROL.sub("", on_terminal(80, rows))


def live(**more: Any) -> Live:
    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    return Live(Console(file=file, force_terminal=True, width=100, height=40, legacy_windows=False), **more)


def test_drawing_takes_little_of_the_time():
    picture = live()
    picture.start(10**6)
    began = time.perf_counter()
    pauses, costs, step = [], [], 0
    while time.perf_counter() - began < 2.0:
        step, due, before = step + 1, picture.next, time.perf_counter()
        picture.train(record(step, 3.0))
        if picture.next != due:
            costs.append(picture.cost)
            pauses.append(picture.next - before)
    picture.stop()
    assert 1 <= len(pauses) <= 20
    assert all(cost / pause < 0.01 for cost, pause in zip(costs, pauses, strict=True))
    assert step > 1000


def test_a_slow_moment_does_not_stop_the_picture():
    picture = live()
    picture.start(10)
    picture.cost, draw = 0.001, picture.screen.refresh
    picture.screen.refresh = lambda: (draw(), [sum(range(1000)) for _ in range(5000)])
    picture.train(record(1, 3.0))
    assert picture.cost == 0.002
    picture.stop()


def test_what_is_kept_is_bounded():
    progress = Progress(Clock())
    for step in range(1, 5 * MOST):
        progress.train(record(step, float(step)))
    progress.train(record(5 * MOST, float("nan")))
    assert MOST / 2 <= len(progress.losses) <= MOST
    assert all(x == y for x, y in progress.losses)
    assert [x for x, _ in progress.losses] == sorted(x for x, _ in progress.losses)
    assert progress.losses[-1][0] > 5 * MOST - 20


def test_a_run_that_goes_back_draws_each_step_once():
    progress = Progress(Clock())
    for step in (1, 2, 3, 4, 2, 3):
        progress.train(record(step, float(step)))
    assert progress.losses == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_before_anything_is_known():
    picture = live(yardsticks={"xz -9": 1.84})
    picture.start(10)
    picture.stop()
    picture.console.file.flush()
    written = picture.console.file.buffer.getvalue().decode()
    assert "step 0 of 10" in written
    assert "1.840" in written


DOTS = {dot: (column, row) for column in (0, 1) for row, dot in enumerate(braille.BITS[column])}


def dots(rows: list[str]) -> set[tuple[int, int]]:
    """The dots of a plot: column and row."""
    return {
        (2 * x + column, 4 * y + row)
        for y, line in enumerate(rows)
        for x, character in enumerate(line)
        if character not in (" ", braille.MARK)
        for bit, (column, row) in DOTS.items()
        if (ord(character) - braille.BLANK) & bit
    }


def test_a_straight_line_is_drawn_straight():
    rows = braille.plot([(x, -x) for x in range(8)], [], 4, 2)
    assert dots(rows) == {(x, x) for x in range(8)}
    assert rows == ["⠑⢄  ", "  ⠑⢄"]


@given(
    values=st.lists(st.floats(-100, 100), min_size=1, max_size=60),
    width=st.integers(2, 20),
    height=st.integers(1, 6),
)
def test_a_curve_is_whole_and_inside(values: list[float], width: int, height: int):
    line = list(enumerate(values))
    rows = braille.plot(line, [], width, height)
    assert [len(row) for row in rows] == [width] * height
    drawn = dots(rows)
    assert all(0 <= x < 2 * width and 0 <= y < 4 * height for x, y in drawn)
    if len(values) <= 20 and max(values) > min(values):
        assert {x for x, _ in drawn} == set(range(2 * width)) or len(values) == 1


def test_marks_stand_over_the_line():
    rows = braille.plot([(0, 1.0), (10, 0.0)], [(0, 1.0), (10, 0.0), (5, 9.0), (11, 0.5)], 6, 3)
    assert [row.find(braille.MARK) for row in rows] == [0, -1, 5]
    assert sum(row.count(braille.MARK) for row in rows) == 2
