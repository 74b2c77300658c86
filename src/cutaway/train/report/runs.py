"""Run folders: what is in one, whether somebody trains in it, and how several compare."""

import fcntl
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal

from ...storage import read_json
from ...weights import read_tensors
from ..checkpoints import folder_of, steps
from ..recipes import flat
from .metrics import Record, best, read
from .wording import aligned, amount, duration, visible

RECIPE, METRICS, RESULT, LOCK = "recipe.json", "metrics.jsonl", "model", ".lock"
State = Literal["finished", "running", "stopped", "unreadable"]


@dataclass(frozen=True)
class Run:
    """A run folder as it was when it was read; ``problem`` says what could not be."""

    folder: Path
    state: State
    recipe: dict[str, Any] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    parameters: int | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def model(self) -> str:
        return str(self.recipe.get("model_type", "?"))

    @property
    def step(self) -> int:
        return max((r["step"] for r in self.records if r["kind"] in ("train", "validation")), default=0)

    def last(self, key: str) -> Any:
        """The newest value of a figure that grows with the run; None if no record has it."""
        return next((r[key] for r in reversed(self.records) if key in r), None)

    def results(self) -> dict[str, str]:
        """What came of it, as it is shown; a figure that is not known is left out."""
        tokens, seconds, found = self.last("tokens"), self.last("seconds"), best(self.records)
        total = self.recipe.get("steps")
        shown = {
            "parameters": None if self.parameters is None else amount(self.parameters),
            "step": f"{self.step:,}" + (f" of {total:,}" if isinstance(total, int) and total != self.step else ""),
            "tokens": tokens and amount(tokens),
            "time": seconds and duration(seconds),
            "best": found and f"{found[0].name} {found[0].text(found[1])}",
            "at step": found and f"{found[2]:,}",
        }
        return {key: value for key, value in shown.items() if value}


@contextmanager
def holding(folder: str | Path) -> Iterator[None]:
    """Keep a run folder to this process until the end of the block; so others see that the run is running.

    Raises ValueError when another process trains in it."""
    with open(Path(folder, LOCK), "a") as file:
        for attempt in range(11):  # who looks holds the lock for a moment, too
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == 10:
                    raise ValueError(f"another process trains in {folder}; choose another folder, or wait") from None
                time.sleep(0.05)
            except OSError:  # a file system without locks
                break
        yield


def held(folder: Path) -> bool:
    """Whether some process is holding a run folder."""
    if not (folder / LOCK).exists():
        return False
    with open(folder / LOCK) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return isinstance(error, BlockingIOError)
    return False


def look(folder: str | Path) -> Run:
    """A run folder, however broken: what could be read of it, and what could not."""
    folder = Path(folder)
    problems: list[str] = []
    recipe: dict[str, Any] = {}
    records: list[dict[str, Any]] = []
    state: State = "stopped"
    try:
        recipe = read_json(folder / RECIPE)
        state = "running" if held(folder) else "finished" if (folder / RESULT).is_dir() else "stopped"
    except (OSError, ValueError) as error:
        problems.append(said(error))
    try:
        records = read(folder / METRICS) if (folder / METRICS).exists() else []
    except (OSError, ValueError) as error:
        problems.append(said(error))
    if problems:
        state = "unreadable"
    return Run(folder, state, recipe, records, parameters(folder), "; ".join(problems))


def said(error: OSError | ValueError) -> str:
    """An error in one line."""
    words = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)
    return visible(words).replace("\n", " ")


def parameters(folder: Path) -> int | None:
    """How many numbers the result, or else the newest checkpoint, has; None if there is none to be read."""
    places = [folder / RESULT, *(folder_of(folder, step) / "model" for step in reversed(steps(folder)))]
    for place in places:
        try:
            tensors = read_tensors(place)
            return sum(prod(tensors.shape(name)) for name in tensors)
        except (OSError, ValueError):
            continue
    return None


def is_run(folder: Path) -> bool:
    return (folder / RECIPE).exists() or (folder / METRICS).exists()


def find(folders: Iterable[str | Path]) -> list[Run]:
    """The runs that are these folders, or lie in them, in the order of their names.

    Raises FileNotFoundError for a folder that is not there."""
    found: dict[Path, Run] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}; runs lie in the folder that cutaway train made")
        inside = [p for p in sorted(folder.iterdir()) if p.is_dir() and p.name[0] != "."]
        for path in [folder] if is_run(folder) else inside:
            found.setdefault(path.resolve(), look(path))
    return list(found.values())


def names(runs: Sequence[Run]) -> list[str]:
    """What to call each: its folder's name, or where two share one, its path."""
    short = [run.name for run in runs]
    return [visible(name if short.count(name) == 1 else str(run.folder)) for name, run in zip(short, runs, strict=True)]


def listing(runs: Sequence[Run]) -> str:
    """A table of runs, one a line; what is wrong with one stands below."""
    heads = ["parameters", "step", "tokens", "time", "best"]
    rows = [["run", "model", *heads, "state"]]
    for name, run in zip(names(runs), runs, strict=True):
        results = run.results()
        rows.append([name, visible(run.model), *(results.get(head, "-") for head in heads), run.state])
    wrong = [f"{name}: {run.problem}" for name, run in zip(names(runs), runs, strict=True) if run.problem]
    return "\n".join([aligned(rows, {2, 3, 4, 5}), *wrong])


def differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The keys in which the recipes are not all alike: dotted name -> each run's value, None where it has none."""
    flats = [flat(run.recipe) for run in runs]
    keys = dict.fromkeys(key for one in flats for key in one)
    values = {key: [one.get(key) for one in flats] for key in keys}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


def comparison(runs: Sequence[Run]) -> str:
    """A table with a column for each run: what differs in their recipes, then what came of them."""
    show = lambda value: "-" if value is None else visible(str(value)).replace("\n", " ")[:40]
    rows = [["", *names(runs)]]
    rows += [[key, *map(show, row)] for key, row in differences(runs).items()]
    results = [run.results() for run in runs]
    rows += [[key, *(one.get(key, "-") for one in results)] for key in results_in(results)]
    rows.append(["state", *(run.state for run in runs)])
    return aligned(rows)


def results_in(results: Sequence[dict[str, str]]) -> list[str]:
    """The results that any run has, in their usual order."""
    order = ["parameters", "step", "tokens", "time", "best", "at step"]
    return [key for key in order if any(key in one for one in results)]


def curves(runs: Sequence[Run]) -> dict[str, Sequence[Record]]:
    """The records of the runs that have some, by name, as a picture wants them."""
    return {name: run.records for name, run in zip(names(runs), runs, strict=True) if run.records}
