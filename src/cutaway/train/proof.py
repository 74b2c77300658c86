"""Proof that a run resumes bit for bit: some steps at once, against the same with a stop and a start in between."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import checkpoints, recipes
from .ranks.world import World
from .recipes import RECIPE
from .run import Run, assemble


@dataclass(frozen=True)
class Proof:
    """Checksums of all weights and of the optimiser's memory, without and with an interruption."""

    begin: int
    steps: int
    whole: str
    resumed: str

    @property
    def kept(self) -> bool:
        return self.whole == self.resumed

    def __str__(self) -> str:
        first, last, half = self.begin + 1, self.begin + self.steps, self.begin + self.steps // 2
        return "\n".join(
            [
                f"steps {first} to {last} at once              sha256 {self.whole[:16]}",
                f"the same, stopped and resumed at {half:<6} sha256 {self.resumed[:16]}",
                "resuming is exact, bit for bit" if self.kept else "BROKEN: the resumed run is another one",
            ]
        )


def prove(folder: Path, say: Callable[[str], None], steps: int = 6) -> Proof:
    """Take the newest checkpoint of a run (or its beginning) and train ``steps`` steps from it, twice.

    Nothing in the run's folder changes. Raises ValueError for a folder without a run, FileNotFoundError for none."""
    if not (folder / RECIPE).is_file():
        raise ValueError(f"{folder} holds no run: it has no {RECIPE}")
    recipe = recipes.read(folder / RECIPE)
    found, _ = checkpoints.newest(folder)

    def ready(at: Path) -> Run:
        made = assemble(recipe, at, World.from_environment(recipe.parallel), say, cache=folder.parent / ".data")
        made.loop.judge = None
        return made

    with tempfile.TemporaryDirectory() as place:
        one = ready(Path(place, "whole"))
        if found is not None:
            one.loop.restore(found)
        begin = one.loop.progress.step
        one.loop.steps(begin + steps)
        two = ready(Path(place, "resumed"))
        if found is not None:
            two.loop.restore(found)
        two.loop.steps(begin + steps // 2)
        stopped = two.loop.save()
        three = ready(Path(place, "resumed"))
        three.loop.restore(stopped)
        three.loop.steps(begin + steps)
        digests = [checkpoints.digest(run.loop.tensors()) for run in (one, three)]
    return Proof(begin, steps, *digests)
