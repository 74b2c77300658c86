"""What a run shows while it runs: a live picture on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .braille import MARK, plot, window
from .metrics import Record, best, figure
from .wording import duration, visible

Clock = Callable[[], float]
NONE: Mapping[str, float] = MappingProxyType({})
SHARE = 0.008  # of the time may go into drawing
MOST = 1024  # points of a curve that are kept; then neighbours are joined


@dataclass
class Progress:
    """What is known of a run so far; both displays read it."""

    clock: Clock
    total: int = 0
    step: int = 0
    first: int = 0
    began: float = 0.0
    training: dict[str, Any] = field(default_factory=dict)
    validations: list[Record] = field(default_factory=list)
    losses: list[tuple[float, float]] = field(default_factory=list)
    sample: str = ""
    sampled: int = 0

    def start(self, total: int, done: int) -> None:
        self.total, self.first, self.step, self.began = total, done, done, self.clock()

    def train(self, record: Record) -> None:
        self.step = record["step"]
        self.training = dict(record)
        if self.losses and self.step <= self.losses[-1][0]:  # the run went back to a checkpoint
            self.losses = [point for point in self.losses if point[0] < self.step]
        if math.isfinite(record["loss"]):
            self.losses.append((self.step, record["loss"]))
        if len(self.losses) > MOST:
            pairs = zip(self.losses[::2], self.losses[1::2], strict=False)
            self.losses = [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in pairs]

    def validation(self, record: Record) -> None:
        self.step = max(self.step, record["step"])
        self.validations.append({"kind": "validation", **record})

    def sampling(self, text: str) -> None:
        self.sample, self.sampled = visible(text), self.step

    @property
    def elapsed(self) -> float:
        return self.clock() - self.began

    @property
    def left(self) -> str:
        """Time left at the pace so far."""
        made, ahead = self.step - self.first, self.total - self.step
        return duration(self.elapsed / made * ahead) + " left" if made > 0 and ahead > 0 else ""

    def figures(self) -> list[tuple[str, str]]:
        """Names and values of the latest training record."""
        forms = {
            "loss": ("training loss", ".3f"),
            "rate": ("learning rate", ".2e"),
            "norm": ("gradient norm", ".2f"),
            "tokens_per_second": ("tokens/s", ",.0f"),
        }
        return [(name, format(self.training[key], form)) for key, (name, form) in forms.items() if key in self.training]

    def judged(self) -> list[tuple[str, str, str]]:
        """The latest validation: name, value, and how it stands to the best one."""
        found = best(self.validations)
        if found is None:
            return []
        by, value, step = found
        last = self.validations[-1]
        beside = "best so far" if last["step"] == step else f"best {by.text(value)}, step {step:,}"
        return [(by.name, by.text(last[by.key]), beside)] if by.key in last else []


class Plain:
    """A line of text per validation and, between them, one every ``every`` seconds."""

    def __init__(self, write: Callable[[str], Any], every: float = 10.0, clock: Clock = time.monotonic):
        self.put, self.every, self.state, self.said = write, every, Progress(clock), 0.0

    def start(self, total_steps: int, done: int = 0) -> None:
        self.state.start(total_steps, done)
        self.said = self.state.began

    def train(self, record: Record) -> None:
        self.state.train(record)
        if self.state.clock() - self.said >= self.every:
            self.said = self.state.clock()
            figures = "  ".join(f"{name} {value}" for name, value in self.state.figures())
            self.line(f"{figures}  {duration(self.state.elapsed)} gone  {self.state.left}")

    def validation(self, record: Record) -> None:
        self.state.validation(record)
        self.line("  ".join(f"{name} {value} ({beside})" for name, value, beside in self.state.judged()))

    def sample(self, text: str) -> None:
        self.state.sampling(text)
        self.line("sample\n" + "\n".join(f"    {line}".rstrip() for line in self.state.sample.split("\n")))

    def note(self, text: str) -> None:
        self.put(visible(text) + "\n")

    def stop(self) -> None:
        """Nothing is left to say."""

    def line(self, text: str) -> None:
        self.put(f"step {self.state.step:,}/{self.state.total:,}  {text.rstrip()}\n")


class Live:
    """A picture that is redrawn in place, so rarely that drawing takes less than one percent of the time."""

    def __init__(
        self,
        console: Console,
        title: str = "",
        yardsticks: Mapping[str, float] = NONE,
        clock: Clock = time.monotonic,
    ):
        self.console, self.title, self.yardsticks, self.state = console, title, yardsticks, Progress(clock)
        self.screen = Screen(self, console=console, auto_refresh=False, vertical_overflow="crop")
        self.next, self.cost = 0.0, math.inf

    def start(self, total_steps: int, done: int = 0) -> None:
        self.state.start(total_steps, done)
        self.screen.start(refresh=True)

    def train(self, record: Record) -> None:
        self.state.train(record)
        self.draw()

    def validation(self, record: Record) -> None:
        self.state.validation(record)
        self.draw()

    def sample(self, text: str) -> None:
        self.state.sampling(text)
        self.draw()

    def note(self, text: str) -> None:
        """A line that stays, above the picture."""
        self.console.print(Text(visible(text)))

    def stop(self) -> None:
        """Leave the last picture on the terminal, and the terminal as it was."""
        if self.screen.is_started:
            self.screen.refresh()
            self.screen.stop()

    def draw(self) -> None:
        """Draw, unless the last drawing cost too much to draw again already."""
        began = time.perf_counter()
        if began >= self.next:
            self.screen.refresh()
            now = time.perf_counter()
            self.cost = min(now - began, 2 * self.cost)  # a moment's load must not stop the picture for long
            self.next = now + max(0.1, self.cost / SHARE)

    def __rich__(self) -> RenderableType:
        width = self.console.width - 4
        parts = [self.bar(width), Text()]
        if width >= 86:
            sides = Table.grid(padding=(0, 3, 0, 0))
            sides.add_row(self.curve(width - 50, 7), self.table())
            parts.append(sides)
        else:
            parts += [self.curve(width, 5), Text(), self.table()]
        parts += self.sampled(max(2, self.console.height - (13 if width >= 86 else 20)))
        return Panel(Group(*parts), title=Text(visible(self.title), "bold"), title_align="left", border_style="dim")

    def bar(self, width: int) -> RenderableType:
        s = self.state
        row = Table.grid(padding=(0, 2, 0, 0), expand=True)
        row.add_column(ratio=1)
        row.add_column(justify="right", no_wrap=True)
        words = [f"step {s.step:,} of {s.total:,}", f"{duration(s.elapsed)} gone" if width >= 70 else "", s.left]
        said = Text("   ".join(filter(None, words)))
        row.add_row(
            ProgressBar(max(s.total, 1), s.step, style="bright_black", complete_style="cyan", finished_style="cyan"),
            said,
        )
        return row

    def curve(self, width: int, height: int) -> RenderableType:
        """The training loss as a line, the validation loss as marks."""
        s = self.state
        if len(s.losses) < 2:
            return Text("\n" * (height - 1) + "the curve begins here", "dim")
        low, high = window(s.losses)
        marks = [(r["step"], r["loss"]) for r in s.validations if math.isfinite(r.get("loss", math.nan))]
        labels = [f"{high:.2f}", *[""] * (height - 2), f"{low:.2f}"]
        wide = max(map(len, labels))
        drawn = Text(no_wrap=True)
        for label, row in zip(labels, plot(s.losses, marks, width - wide - 2, height), strict=True):
            drawn.append(f"{label:>{wide}} │", "dim")
            drawn.append_text(marked(row))
            drawn.append("\n")
        drawn.append(" " * (wide + 2) + "training loss", "cyan")
        drawn.append(f"   {MARK} validation loss" if marks else "", "yellow")
        drawn.append(f"   to step {s.losses[-1][0]:,.0f}", "dim")
        return drawn

    def table(self) -> RenderableType:
        """Figures: validation first, what it is to beat, then training."""
        rows = Table.grid(padding=(0, 2, 0, 0))
        rows.add_column(no_wrap=True)
        rows.add_column(justify="right", no_wrap=True)
        for name, value, beside in self.state.judged():
            rows.add_row(Text(name, "bold yellow"), Text(value, "bold yellow"), Text(beside, "dim"))
        judged = figure(self.state.validations)
        for name, limit in self.yardsticks.items():
            rows.add_row(Text(name, "dim"), Text(judged.text(limit) if judged else f"{limit:.3f}", "dim"))
        for name, value in self.state.figures():
            rows.add_row(Text(name), Text(value, "cyan" if name == "training loss" else ""))
        return rows

    def sampled(self, most: int) -> list[RenderableType]:
        """The latest sample, as far as there is room."""
        if not self.state.sample:
            return []
        lines = self.state.sample.split("\n")
        shown = lines[: min(most, 10)]
        text = Text("\n".join(shown) + (" …" if len(lines) > len(shown) else ""), overflow="ellipsis", no_wrap=True)
        return [Text(), Text(f"sample at step {self.state.sampled:,}", "dim"), text]


def marked(row: str) -> Text:
    """A row of the curve in its colours."""
    text = Text(row, "cyan")
    text.highlight_regex(MARK, "yellow")
    return text


def display(
    console: Console | None = None, title: str = "", yardsticks: Mapping[str, float] = NONE, every: float = 10.0
) -> Plain | Live:
    """The live picture if the console (standard output's) is a terminal that can show it, else plain lines."""
    console = console or Console()
    if console.is_terminal and not console.is_dumb_terminal and console.encoding.startswith("utf"):
        return Live(console, title, yardsticks)

    def write(text: str) -> None:
        console.file.write(text)
        console.file.flush()

    return Plain(write, every)
