"""Cost as the work grows: ``python benchmarks/scaling.py [length batch width depth context] [--json F] [--svg F]``.

A point is a forward pass up to the last token's logits in a process of its own: its time, the best of a few, and the
peak memory of the process, libraries included (``VmHWM``). Lines grow one thing: the tokens of a row (causal, in a
window, packed, under ALiBi, recorded), the rows, the width, the depth, or what a new token looks back on. Between two
points stands the local exponent, the slope in double logarithms: 1 is proportional, 2 is square; beside it that of the
operations that ``cutaway.costs`` counts. Where the two part, the machine bends the curve, not the model."""

import argparse
import itertools
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import torch

import cutaway
from cutaway.costs import count
from cutaway.model import Model
from cutaway.parts import ALiBi
from cutaway.scores import window
from cutaway.train.report.axes import Axis
from cutaway.train.report.curves import COLOURS, mark, path, style

WINDOW, DOCUMENT = 256, 1000
KINDS = ("causal", "window", "packed", "alibi", "recorded")


@dataclass(frozen=True)
class Point:
    """One pass: ``batch`` rows of ``length`` tokens through GPT-2 of this shape, after ``context`` tokens."""

    kind: str = "causal"
    length: int = 512
    batch: int = 1
    width: int = 768
    depth: int = 12
    context: int = 0

    def flops(self) -> float:
        """The operations that the pass needs: every token's products, and those with the keys that it sees."""
        with torch.device("meta"):
            counted = count(self.model())
        head = 2 * self.width * 50_257
        reach = {"window": WINDOW, "packed": DOCUMENT}.get(self.kind, self.length + self.context)
        seen = self.context + (self.length + 1) / 2 if reach >= self.length else reach
        if self.kind == "packed":
            seen = min(seen, DOCUMENT / 2)
        tokens = self.batch * self.length
        return tokens * (counted.flops - head + seen * counted.flops_per_key) + self.batch * head

    def model(self) -> Model:
        """Random weights of the shape, with the mask or bias of the kind."""
        heads = max(1, self.width // 64)
        length = self.length + self.context
        model = cutaway.build("gpt2", width=self.width, heads=heads, depth=self.depth, length=length).eval()
        if self.kind == "window":
            model.stack.mask = window(WINDOW)
        if self.kind == "alibi":
            model.stack.bias = ALiBi(heads)
        return model


LINES: dict[str, Callable[[int], list[Point]]] = {
    "length": lambda most: [Point(kind, n) for kind in KINDS for n in doubling(256, most)],
    "batch": lambda _: [Point(length=128, batch=b) for b in doubling(1, 32)],
    "width": lambda _: [Point(width=w, depth=4) for w in (128, 256, 512, 768, 1024, 1536, 2048)],
    "depth": lambda _: [Point(depth=d) for d in doubling(1, 32)],
    "context": lambda most: [Point(length=1, context=n) for n in doubling(256, most)],
}


def doubling(first: int, last: int) -> list[int]:
    return [first << i for i in range(int(math.log2(last / first)) + 1)]


def measured(point: Point, threads: int, rounds: int) -> dict[str, float]:
    """What the pass takes, in this process: call it in a fresh one."""
    torch.set_num_threads(threads)
    model = point.model()
    ids = torch.arange(point.length)[None].expand(point.batch, -1) % 50_257
    more = {"document_ids": torch.arange(point.length).expand_as(ids) // DOCUMENT} if point.kind == "packed" else {}
    best = math.inf
    with torch.inference_mode():
        cache = model.cache(point.context + rounds + 1) if point.context else None
        if cache is not None:
            model.states(torch.arange(point.context)[None] % 50_257, cache=cache)
        model.head(model.states(ids[:, :8]).hidden[:, -1:])  # whatever is made at the first call
        built, began = status("VmRSS"), time.perf_counter()
        for _ in range(rounds):
            start = time.perf_counter()
            with cutaway.record(model) if point.kind == "recorded" else nullcontext():
                model.head(model.states(ids, cache=cache, **more).hidden[:, -1:])
            best = min(best, time.perf_counter() - start)
            if cache is not None:
                cache.cut(point.context)
            if time.perf_counter() - began > 10:
                break
    return {"seconds": best, "peak": status("VmHWM"), "built": built, "flops": point.flops()}


def status(key: str) -> int:
    """A figure of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def apart(point: Point, threads: int, rounds: int) -> dict[str, float]:
    """The same in a process of its own. Raises RuntimeError with what it said if it failed."""
    words = [sys.executable, __file__, "--point", json.dumps(asdict(point))]
    words += ["--threads", str(threads), "--rounds", str(rounds)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{point} ended with {ran.returncode}: {ran.stderr[-2000:]}")
    return json.loads(ran.stdout)


Row = dict[str, Any]


def slopes(rows: list[Row], axis: str, key: str) -> list[float]:
    """The local exponents of a figure, from each row to the next."""
    pairs = itertools.pairwise(rows)
    return [math.log(b[key] / a[key]) / math.log(b[axis] / a[axis]) for a, b in pairs]


def table(axis: str, rows: list[Row]) -> str:
    """The rows of one line, with exponents; memory's is that of what the pass takes beside the model."""
    said = [f"{axis:>8}{'seconds':>11}{'exponent':>10}{'counted':>9}{'GFLOP/s':>9}{'peak, MiB':>11}{'exponent':>10}"]
    figures = [["", *(f"{s:.2f}" for s in slopes(rows, axis, key))] for key in ("seconds", "flops", "taken")]
    for row, *shown in zip(rows, *figures, strict=True):
        speed, peak = row["flops"] / row["seconds"] / 1e9, row["peak"] / 2**20
        said.append(
            f"{row[axis]:>8,}{row['seconds']:>11.4f}{shown[0]:>10}{shown[1]:>9}{speed:>9.1f}{peak:>11,.0f}{shown[2]:>10}"
        )
    return "\n".join(said)


def bends(axis: str, rows: list[Row]) -> Iterator[str]:
    """Where a curve of time bends: its exponent changes by a quarter or more, and whether the operations' does, too."""
    exponents = [itertools.pairwise(slopes(rows, axis, key)) for key in ("seconds", "flops")]
    for row, (before, after), (counted, then) in zip(rows[1:-1], *exponents, strict=True):
        if abs(after - before) >= 0.25:
            why = (
                "as the operations do" if (then - counted) / (after - before) >= 0.5 else "at no bend of the operations"
            )
            yield f"time bends at {axis} {row[axis]:,}: exponent {before:.2f} to {after:.2f}, {why}"


def picture(lines: dict[str, dict[str, list[Row]]], title: str) -> str:
    """Time above, memory below, one column for each thing that grows; both axes logarithmic."""
    wide, high, left, top = 250, 210, 64, 70
    width, height = left + len(lines) * (wide + 70), top + 2 * (high + 64) + 10
    kinds = [kind for kind in KINDS if any(kind in line for line in lines.values())]
    parts = [f'<text class="title" x="{left}" y="26">{escape(title)}</text>']
    for i, kind in enumerate(kinds):
        parts += [f'<path class="line s{i % COLOURS}" d="M{left + i * 110} 46h24"/>', mark(left + i * 110 + 12, 46, i)]
        parts.append(f'<text x="{left + i * 110 + 32}" y="50">{kind}</text>')
    for column, (axis, line) in enumerate(lines.items()):
        for row, (key, unit, by) in enumerate((("seconds", "s", 1.0), ("peak", "MiB", 2.0**20))):
            x0, y0 = left + column * (wide + 70), top + row * (high + 64)
            points = {kind: [(float(r[axis]), r[key] / by) for r in rows] for kind, rows in line.items()}
            every = [p for some in points.values() for p in some]
            x = Axis(min(a for a, _ in every), max(a for a, _ in every), x0, x0 + wide, log=True)
            y = Axis(min(b for _, b in every) / 1.2, max(b for _, b in every) * 1.2, y0 + high, y0, log=True)
            parts.append(f'<path class="axis" d="M{x0} {y0}V{y0 + high}H{x0 + wide}"/>')
            parts.append(f'<text class="middle" x="{x0 + wide / 2}" y="{y0 + high + 40}">{axis}</text>')
            parts.append(f'<text class="soft" x="{x0 + 6}" y="{y0 + 4}">{unit}</text>')
            for v in y.ticks(6):
                parts.append(f'<path class="grid" d="M{x0} {y(v):.1f}h{wide}"/>')
                parts.append(f'<text class="soft right" x="{x0 - 6}" y="{y(v) + 4:.1f}">{v:,g}</text>')
            places = sorted({a for a, _ in every})
            for v in places[:: -(-len(places) // 4)]:
                parts.append(f'<text class="soft middle" x="{x(v):.1f}" y="{y0 + high + 20}">{v:,.0f}</text>')
            for kind, some in points.items():
                i = kinds.index(kind)
                parts.append(f'<path class="line s{i % COLOURS}" d="{path(some, x, y)}"/>')
                parts += [mark(x(a), y(b), i, f"{kind}, {axis} {a:,.0f}: {b:,.4g} {unit}") for a, b in some]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    paper = f'<rect class="paper" width="{width}" height="{height}"/>'
    return "\n".join([head, f"<title>{escape(title)}</title><style>{style()}</style>{paper}", *parts, "</svg>\n"])


def processor() -> str:
    """This machine, in words."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[[], *LINES], default=[])
    parser.add_argument("--most", type=int, default=4096, help="the longest row, and context")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--depth", type=int, default=12, help="layers, but where they or the width are what grows")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--point", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        print(json.dumps(measured(Point(**json.loads(args.point)), args.threads, args.rounds)))
        return
    told = f"{processor()}, {args.threads} threads, torch {torch.__version__}"
    print(told)
    lines: dict[str, dict[str, list[Row]]] = {}
    for axis in args.what or LINES:
        points = [p for p in LINES[axis](args.most) if p.kind in args.kinds]
        points = points if axis in ("depth", "width") else [replace(p, depth=args.depth) for p in points]
        lines[axis] = {}
        for kind, some in itertools.groupby(points, lambda p: p.kind):
            rows = [asdict(p) | apart(p, args.threads, args.rounds) for p in some]
            lines[axis][kind] = [row | {"taken": max(row["peak"] - row["built"], 1)} for row in rows]
            print(f"\n{axis}, {kind}\n{table(axis, lines[axis][kind])}")
            print("\n".join(bends(axis, lines[axis][kind])), flush=True)
            if args.json:
                args.json.write_text(json.dumps({"machine": told, "lines": lines}, indent=1) + "\n")
    if args.svg:
        args.svg.write_text(picture(lines, f"Cost as the work grows: GPT-2's shape on {told}"))


if __name__ == "__main__":
    main()
