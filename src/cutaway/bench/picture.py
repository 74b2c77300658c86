"""A benchmark as one picture: bars of speed, one block for each work, as SVG that any browser opens.

Bars of one work share a scale; lines show quartiles, a mark the machine's limit, hollow bars that answers differ."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .peers import OURS
from .report import figure, quartiles
from .results import Measured, Result

WIDTH, LEFT, RIGHT, LINE, BAR = 900, 220, 250, 20, 12
STYLE = """
text{font:12px system-ui,sans-serif;fill:#222}.soft{fill:#6a6a6a}.head{font-weight:600}.right{text-anchor:end}
.paper{fill:#fff}.ours{fill:#d55e00}.peer{fill:#8aa4b8}.hollow{fill:none;stroke:#8aa4b8}
.spread{stroke:#222;stroke-width:1.2}.limit{stroke:#009e73;stroke-width:2}
@media(prefers-color-scheme:dark){text{fill:#e6e6e6}.soft{fill:#a0a0a0}.paper{fill:#161616}.ours{fill:#ff8a3d}
.peer{fill:#54708a}.hollow{stroke:#54708a}.spread{stroke:#e6e6e6}.limit{stroke:#2fc79a}}
"""


def speeds(measured: Measured, result: Result) -> list[float]:
    """Quartiles of units a second."""
    return quartiles([measured.work.units / t for t in result.seconds])


def note(measured: Measured, result: Result) -> str:
    """What stands at the right of a bar."""
    told = f"{figure(speeds(measured, result)[1])} {measured.work.unit}"
    if not result.comparable:
        return f"{told}, differs"
    ratios = result.ratios
    if ratios and result.entry.peer != OURS:
        told += f", Cutaway {figure(quartiles(ratios)[1])}x"
    share = measured.of_limit(result)
    return told + (f", {share:.0%} of limit" if share is not None and result.entry.peer == OURS else "")


def bar(measured: Measured, result: Result, top: float, scale: float) -> list[str]:
    """A contestant's line."""
    low, middle, high = (LEFT + v * scale for v in speeds(measured, result))
    kind = "hollow" if not result.comparable else "ours" if result.entry.peer == OURS else "peer"
    at = top + LINE / 2
    parts = [
        f'<text class="right" x="{LEFT - 8}" y="{at + 4}">{escape(result.entry.name)}</text>',
        f'<rect class="{kind}" x="{LEFT}" y="{at - BAR / 2}" width="{middle - LEFT:.1f}" height="{BAR}"/>',
        f'<path class="spread" d="M{low:.1f} {at}H{high:.1f}"/>',
        f'<text class="soft" x="{WIDTH - RIGHT + 12}" y="{at + 4}">{escape(note(measured, result))}</text>',
    ]
    share = measured.of_limit(result)
    if share and (x := LEFT + (middle - LEFT) / share) <= WIDTH - RIGHT + 6:
        parts.append(f'<path class="limit" d="M{x:.1f} {at - LINE / 2 + 2}V{at + LINE / 2 - 2}"/>')
    return parts


def block(measured: Measured, top: float) -> tuple[list[str], float]:
    """A work with its bars, and where it ends."""
    results = [result for result in measured.results if result.seconds and not result.said]
    parts = [f'<text class="head" x="20" y="{top + 14}">{escape(str(measured.work))}</text>']
    scale = (WIDTH - LEFT - RIGHT) / max((speeds(measured, r)[2] for r in results), default=1.0)
    for i, result in enumerate(results):
        parts += bar(measured, result, top + 22 + i * LINE, scale)
    return parts, top + 22 + len(results) * LINE + 18


def picture(found: Sequence[Measured], about: Mapping[str, Any]) -> str:
    """The text of an SVG file."""
    told = f"{about['processor']}, {about['threads']} threads, {about['device']}; commit {about['commit']}"
    parts = [f'<text class="soft" x="20" y="24">{escape(told)}</text>']
    end = 40.0
    for measured in found:
        more, end = block(measured, end)
        parts += more
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {end:.0f}" role="img">'
    paper = f'<rect class="paper" width="{WIDTH}" height="{end:.0f}"/>'
    return "\n".join([head, f"<title>cutaway bench</title><style>{STYLE}</style>", paper, *parts, "</svg>\n"])
