"""What was measured, for people (tables) and for programs (JSON)."""

import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from .peers import ours
from .referee import Settings
from .results import Measured, Result

PACKAGES = ("torch", "transformers", "x-transformers", "ctranslate2", "llama-cpp-python", "numba", "numpy")


def versions() -> dict[str, str]:
    """Of what took part, as far as it is installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of the repository that this Cutaway lies in, with a + if its source was changed since."""
    here = Path(__file__).parents[1]
    git = lambda *words: subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True)
    try:
        head, changed = git("rev-parse", "--short=12", "HEAD"), git("status", "--porcelain", "--", ".")
    except FileNotFoundError:
        return None
    return None if head.returncode else head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def machine(s: Settings) -> dict[str, Any]:
    """What figures depend on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    found: dict[str, Any] = {
        "machine": platform.node(), "processor": next(names, platform.processor() or platform.machine()),
        "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
        "versions": versions(), "commit": commit(), "when": datetime.now(UTC).isoformat(timespec="seconds"),
        **asdict(s),
    }  # fmt: skip
    if s.device.startswith("cuda"):
        import torch

        found["device_name"] = torch.cuda.get_device_name(s.device)
    return found


def quartiles(values: Sequence[float]) -> list[float]:
    """Lower quartile, median, upper quartile."""
    return [float(v) for v in np.quantile(values, (0.25, 0.5, 0.75))]


def figure(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def spread(values: Sequence[float]) -> str:
    low, middle, high = quartiles(values)
    return f"{figure(middle)} ({figure(low)} to {figure(high)})"


def kept(result: Result) -> float | None:
    """The share of speed that was kept beside a busy process."""
    if not result.beside:
        return None
    return float(np.median([a / b for a, b in zip(result.seconds, result.beside, strict=True)]))


def row(measured: Measured, result: Result) -> list[str]:
    """A contestant's line of the table."""
    entry, gap = result.entry, result.difference
    if result.said:
        return [entry.name, result.said]
    ratios, share, fast = result.ratios, measured.of_limit(result), kept(result)
    assert gap is not None
    ratio = f"{figure(quartiles(ratios)[1])}x" if ratios and entry != ours(entry.dtype) else ""
    return [
        entry.name,
        spread([measured.work.units / t for t in result.seconds]),
        ratio if result.comparable else "differs",
        "" if share is None else f"{share:.0%}",
        f"{result.peak / 2**20:,.0f}",
        f"{gap.rms:.1e}",
        f"{gap.most:.1e}",
        "" if gap.kl is None else f"{gap.kl:.1e}",
        "" if fast is None else f"{fast:.0%}",
    ]


def limits(measured: Measured) -> str:
    """The machine's limits in words."""
    if not measured.limits:
        return ""
    found = measured.limit
    peaks = ", ".join(f"{found[name] / 1e9:,.0f} {name}" for name in ("fp32", "bf16", "int8"))
    told = f"matrix products {peaks} GFLOP/s; reads {found['read'] / 1e9:.1f} GB/s of memory"
    return told + (f", {found['file'] / 1e9:.1f} of a file" if "file" in found else "")


def table(measured: Measured) -> Table:
    """One work."""
    beside = any(result.beside for result in measured.results)
    columns = [measured.work.unit, "Cutaway is", "of limit", "MB", "rms", "largest", "KL"] + ["kept"] * beside
    found = Table(title=str(measured.work), caption=limits(measured), title_justify="left", caption_justify="left")
    found.add_column("contestant", no_wrap=True)
    for column in columns:
        found.add_column(column, justify="right")
    for result in measured.results:
        found.add_row(*row(measured, result)[: len(columns) + 1])
    return found


def as_json(found: Iterable[Measured], missing: Sequence[str], about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, with the times of every round."""

    def one(measured: Measured, result: Result) -> dict[str, Any]:
        ratios = result.ratios
        return {
            **asdict(result), "name": result.entry.name, "comparable": result.comparable,
            "speed": quartiles([measured.work.units / t for t in result.seconds]) if result.seconds else None,
            "ratio": quartiles(ratios) if ratios else None, "of_limit": measured.of_limit(result),
            "kept": kept(result),
        }  # fmt: skip

    works = [
        {
            "work": asdict(m.work), "unit": m.work.unit, "units": m.work.units, "limits": m.limits,
            "contestants": [one(m, r) for r in m.results],
        }
        for m in found
    ]  # fmt: skip
    return {"about": dict(about), "not_installed": list(missing), "works": works}


def summary(about: Mapping[str, Any], missing: Sequence[str]) -> str:
    """Machine, versions, commit, and who could not take part."""
    packages = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    told = f"{about['processor']}, {about['threads']} threads, {about['device']}; commit {about['commit']}\n{packages}"
    return told + (f"\nnot installed: {', '.join(missing)}" if missing else "")
