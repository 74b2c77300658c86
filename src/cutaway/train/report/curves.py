"""Learning curves as SVG that any browser opens: no scripts, light or dark as the reader's system is.

The colours are those of Okabe and Ito (2008), which people with any colour vision tell apart; runs differ in the
shape of their marks as well."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate
from types import MappingProxyType
from typing import Literal

from .axes import Axis, labels, spread
from .metrics import FIGURES, Figure, Record, best
from .wording import visible

Points = list[tuple[float, float]]
LIGHT = ("#0072b2", "#d55e00", "#009e73", "#b0518b", "#b07a00", "#2f8fc4")
DARK = ("#56b4e9", "#ff8a3d", "#2fc79a", "#e39ac5", "#f0c83c", "#9fd4f3")
WIDTH, HEIGHT, LEFT, LINE = 900, 380, 68, 22
COLOURS = len(LIGHT)
MOST = 600  # points of one line
NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Series:
    """One run in one frame: its name, the figure's training and validation points, and which run it is."""

    name: str
    training: Points
    validation: Points
    index: int


@dataclass(frozen=True)
class Frame:
    """One pair of axes: what is on the upright one, the runs, and the levels to compare them with."""

    figure: Figure
    title: str
    series: list[Series]
    yardsticks: Mapping[str, float]


def picture(
    runs: Mapping[str, Sequence[Record]],
    yardsticks: Mapping[str, float] = NONE,
    *,
    title: str = "",
    across: Literal["step", "tokens", "seconds"] = "step",
    log: bool = False,
) -> str:
    """One or several runs, name -> records, as the text of an SVG file.

    Training is a thin line, smoothed, validation marks; where validation is in bits per byte, so is training, by the
    validation's tokens per byte. ``yardsticks`` are levels of the figure that the runs are judged by. ``log`` spreads
    the beginning: the flat axis is logarithmic. Raises ValueError when there is nothing to draw."""
    frames = framed(runs, yardsticks, across, log)
    if not any(s.training or s.validation for frame in frames for s in frame.series):
        raise ValueError(f"nothing to draw: {', '.join(runs) or 'no run'} has no records with {across} and a loss")
    keys, top = legend(runs, 20 + 26 * bool(title))
    body: list[str] = []
    right = WIDTH - 24 - 6.3 * max((len(label) for frame in frames for _, label, _ in ends(frame)), default=0)
    places = [at for frame in frames for s in frame.series for at, _ in (*s.training, *s.validation)]
    first, last = min(places) if log else 0.0, max(places)
    x = Axis(first, last if last > first else first + 1, LEFT, right, log)
    for i, frame in enumerate(frames):
        body += drawn(frame, x, top + i * (HEIGHT + 70), across, f"inside{i}")
    height = top + len(frames) * (HEIGHT + 70) - 8
    head = [f'<text class="title" x="{LEFT}" y="26">{text(title)}</text>'] if title else []
    head += keys
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{text(title or 'learning curves')}</title>",
            f"<style>{style()}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
            *head,
            *body,
            "</svg>\n",
        ]
    )


def framed(
    runs: Mapping[str, Sequence[Record]], yardsticks: Mapping[str, float], across: str, log: bool
) -> list[Frame]:
    """The frames to draw: the loss, in bits per byte if every run can say it, and the exact matches if there are."""
    exact, bits, loss = FIGURES
    rates = {name: per_byte(records) for name, records in runs.items()}
    by = bits if all(rates.values()) else loss
    least = 1 if log else 0

    def series(judged: Figure, trained: bool) -> list[Series]:
        made = []
        for i, (name, records) in enumerate(runs.items()):
            usable = [r for r in records if r.get(across, -1) >= least]
            rate = (rates[name] or 1.0) if by is bits else 1.0
            line = [(x, value * rate) for x, value in values(usable, "train", "loss", across)] if trained else []
            made.append(Series(name, line, values(usable, "validation", judged.key, across), i))
        return made

    frames = [(by, "bits per byte" if by is bits else "loss (nats per token)", series(by, True))]
    matches = series(exact, False)
    if any(s.validation for s in matches):
        frames.append((exact, "exact match", matches))
    return [Frame(*frame, yardsticks if frame is frames[-1] else NONE) for frame in frames]


def values(records: Iterable[Record], kind: str, key: str, across: str) -> Points:
    """A figure of the records of one kind that have it."""
    having = (r for r in records if r["kind"] == kind and key in r)
    return [(float(r[across]), float(r[key])) for r in having if math.isfinite(r[key])]


def per_byte(records: Iterable[Record]) -> float | None:
    """Bits per byte for one nat per token, as the last validation that says both has it."""
    both = [r for r in records if r["kind"] == "validation" and r.get("loss") and "bits_per_byte" in r]
    return both[-1]["bits_per_byte"] / both[-1]["loss"] if both else None


def smooth(points: Points) -> Points:
    """Each value with its neighbours, a fiftieth of the run, as many before it as after (moving mean)."""
    sums = [0.0, *accumulate(y for _, y in points)]
    found = []
    for i, (x, _) in enumerate(points):
        reach = min(i, len(points) // 100)
        first, last = i - reach, min(i + reach + 1, len(points))
        found.append((x, (sums[last] - sums[first]) / (last - first)))
    return thinned(found)


def thinned(points: Points) -> Points:
    """At most ``MOST`` of the points, evenly chosen, the last one included."""
    every = -(-len(points) // MOST)
    return points if every <= 1 else points[::-1][::every][::-1]


def window(frame: Frame, smoothed: Sequence[Points], log: bool) -> tuple[float, float]:
    """The values to show. Where the flat axis is even, the steep first twentieth of training may begin above it."""
    every = [y for s in frame.series for _, y in s.validation] + list(frame.yardsticks.values())
    for points in smoothed:
        every += [y for _, y in (points if log or len(points) < 20 else points[len(points) // 20 :])]
        every += [min(y for _, y in points)] if points else []
    low, high = min(every), max(every)
    pad = max((high - low or abs(high) or 1.0) * 0.05, 1e-9)  # ticks have 12 decimals
    return low - pad, high + pad


def ends(frame: Frame) -> list[tuple[float, str, str]]:
    """What is written at the right: the levels, and each run's last validation, with the class of its text."""
    levels = [(y, f"{text(name, 20)} {frame.figure.text(y)}", "soft") for name, y in frame.yardsticks.items()]
    last = [(s.validation[-1][1], s.index) for s in frame.series if s.validation]
    return levels + [(y, frame.figure.text(y), f"t{index % COLOURS}") for y, index in last]


def drawn(frame: Frame, x: Axis, top: float, across: str, name: str) -> list[str]:
    """A frame with its axes, lines, marks and levels."""
    smoothed = [smooth(s.training) for s in frame.series]
    y = Axis(*window(frame, smoothed, x.log), top + HEIGHT, top)
    parts = grid(x, y, frame, across)
    parts.append(f'<clipPath id="{name}"><rect x="{LEFT}" y="{top}" width="{x.end - LEFT:.1f}" height="{HEIGHT}"/>')
    parts.append(f'</clipPath><g clip-path="url(#{name})">')
    for s in frame.series:
        if len(s.training) > 50:
            parts.append(f'<path class="raw s{s.index % COLOURS}" d="{path(thinned(s.training), x, y)}"/>')
    for s, line in zip(frame.series, smoothed, strict=True):
        if points := line or s.validation:
            parts.append(f'<path class="line s{s.index % COLOURS}"{dash(s.index)} d="{path(points, x, y)}"/>')
    parts += [f'<path class="level" d="M{LEFT} {y(v):.1f}H{x.end:.1f}"/>' for v in frame.yardsticks.values()]
    parts.append("</g>")
    for s in frame.series:
        note = lambda a, b, s=s: f"{s.name}: {frame.figure.name} {frame.figure.text(b)} at {across} {a:,.0f}"
        parts += [mark(x(a), y(b), s.index, note(a, b)) for a, b in s.validation]
    places = spread([y(value) for value, _, _ in ends(frame)], 14, top, top + HEIGHT)
    for (_, label, kind), at in zip(ends(frame), places, strict=True):
        parts.append(f'<text class="end {kind}" x="{x.end + 9:.1f}" y="{at + 4:.1f}">{label}</text>')
    return parts


def grid(x: Axis, y: Axis, frame: Frame, flat: str) -> list[str]:
    """Both axes: fine lines, numbers, names."""
    across, up = x.ticks(8), y.ticks(7)
    written = [f"{v:.0%}" for v in up] if frame.figure.form.endswith("%") else labels(up)
    parts = [f'<path class="grid" d="M{LEFT} {y(v):.1f}H{x.end:.1f}"/>' for v in up]
    parts += [f'<path class="grid" d="M{x(v):.1f} {y.end}V{y.begin + 5}"/>' for v in across]
    parts += [
        f'<text class="soft right" x="{LEFT - 9}" y="{y(v) + 4:.1f}">{label}</text>'
        for v, label in zip(up, written, strict=True)
    ]
    parts += [
        f'<text class="soft middle" x="{x(v):.1f}" y="{y.begin + 20}">{label}</text>'
        for v, label in zip(across, labels(across), strict=True)
    ]
    middle = (y.begin + y.end) / 2
    parts.append(f'<path class="axis" d="M{LEFT} {y.end}V{y.begin}H{x.end:.1f}"/>')
    parts.append(f'<text class="middle" transform="translate(18 {middle}) rotate(-90)">{frame.title}</text>')
    parts.append(f'<text class="middle" x="{(LEFT + x.end) / 2:.1f}" y="{y.begin + 42}">{flat}</text>')
    if any(s.training for s in frame.series):
        what = "line: training, smoothed · marks: validation"
        parts.append(f'<text class="soft right" x="{x.end:.1f}" y="{y.begin + 42}">{what}</text>')
    return parts


def path(points: Points, x: Axis, y: Axis) -> str:
    """A line through points."""
    return "M" + "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in points)


SHAPES = (
    "M{x:.1f} {y:.1f}m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "M{x:.1f} {y:.1f}m-3.6 -3.6h7.2v7.2h-7.2z",
    "M{x:.1f} {y:.1f}m0 -5.2l5.2 5.2l-5.2 5.2l-5.2 -5.2z",
    "M{x:.1f} {y:.1f}m0 -4.8l4.8 8.4h-9.6z",
)


def dash(index: int) -> str:
    """Lines of the runs that have to share a colour with an earlier one are broken."""
    return ' stroke-dasharray="7 4"' if index >= COLOURS else ""


def mark(x: float, y: float, index: int, note: str = "") -> str:
    """A run's mark at a place, with what the reader sees when pointing at it."""
    inner = f"<title>{text(note)}</title>" if note else ""
    shape = SHAPES[(index + index // COLOURS) % len(SHAPES)].format(x=x, y=y)
    return f'<path class="mark f{index % COLOURS}" d="{shape}">{inner}</path>'


def legend(runs: Mapping[str, Sequence[Record]], top: float) -> tuple[list[str], float]:
    """For each run a piece of its line, its mark, name and best figure, in columns; and where the legend ends."""
    said = []
    for name, records in runs.items():
        found = best(records)
        said.append(text(name, 40) + (f" · best {found[0].name} {found[0].text(found[1])}" if found else ""))
    wide = 56 + 6.5 * max(map(len, said))
    columns = max(1, int((WIDTH - LEFT) / wide))
    parts = []
    for i, words in enumerate(said):
        x, y = LEFT + i % columns * wide, top + i // columns * LINE
        line = f'<path class="line s{i % COLOURS}"{dash(i)} d="M{x:.1f} {y}h26"/>'
        parts += [line, mark(x + 13, y, i), f'<text x="{x + 34:.1f}" y="{y + 4}">{words}</text>']
    return parts, top + -(-len(said) // columns) * LINE


def text(words: str, most: int = 200) -> str:
    """Words as XML, shortened."""
    words = visible(words).replace("\n", " ")
    return escape(words if len(words) <= most else words[: most - 1] + "…")


def style() -> str:
    """Colours for light paper, and for dark."""
    common = (
        "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
        ".title{font-size:15px;font-weight:600}.right{text-anchor:end}.middle{text-anchor:middle}"
        "path{fill:none}.grid{stroke-width:1}.axis{stroke-width:1.2}.line{stroke-width:1.8;stroke-linejoin:round}"
        ".raw{stroke-width:1;opacity:.25}.level{stroke-width:1.3;stroke-dasharray:2 4}.mark{stroke-width:1.2}"
        ".end{font-weight:600}.end.soft{font-weight:400}"
    )
    themes = []
    for colours, paper, ink, soft, fine in (
        (LIGHT, "#ffffff", "#1f2328", "#59636e", "#e7eaee"),
        (DARK, "#0f1419", "#e6edf3", "#9aa4af", "#252c35"),
    ):
        theme = f".paper{{fill:{paper}}}text{{fill:{ink}}}.soft{{fill:{soft}}}.grid{{stroke:{fine}}}"
        theme += f".axis,.level{{stroke:{soft}}}.mark{{stroke:{paper}}}"
        for i, colour in enumerate(colours):
            theme += f".s{i}{{stroke:{colour}}}.f{i},.t{i}{{fill:{colour}}}"
        themes.append(theme)
    return f"{common}{themes[0]}@media(prefers-color-scheme:dark){{{themes[1]}}}"
