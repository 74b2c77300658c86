"""The training loop. A step is a pure function of the weights, the optimiser's memory and the step's number: random
numbers are drawn anew from (seed, step), and the place in the data is the number. So a run that is interrupted and
resumed is the same run, bit for bit."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import hub
from ..data.batches import Batches
from ..data.order import key
from ..heap import keeping
from ..model import Model
from ..storage import read_json
from . import checkpoints
from .adaptation.lora import dense
from .evaluation import Judge, judging, wearing
from .heed import heeding
from .learner import Learner
from .objectives import Batch, Objective
from .optimizers import Optimizers
from .precision import autocast
from .probe import Probe
from .ranks import pieces
from .ranks.world import World, accumulating, cut
from .recipes import Recipe, write
from .report.metrics import FIGURES, Metrics, Record, TensorBoard
from .trouble import DivergedError, culprit

LINES = 2000  # training records of a run, about
PACED = 20  # steps by which the pace of a machine is judged at least
SPARE = 0.9  # of the minutes go into steps; the rest is for validation, checkpoints and other programs


class Screen:
    """What a display is told; this one shows nothing."""

    def start(self, total_steps: int, done: int = 0) -> None: ...
    def train(self, record: Record) -> None: ...
    def validation(self, record: Record) -> None: ...
    def sample(self, text: str) -> None: ...
    def note(self, text: str) -> None: ...
    def stop(self) -> None: ...


@dataclass
class Progress:
    """How far a run has come."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float | None = None
    worse: int = 0  # validations since the best one


@dataclass
class Loop:
    """A run: everything it needs, and how far it has come. :meth:`run` goes on from there to the end."""

    recipe: Recipe
    folder: Path
    learner: Learner
    prepared: nn.Module  # the learner as its world runs it
    optimizers: Optimizers
    objective: Objective
    batches: Batches
    judge: Judge | None
    world: World
    precision: str
    about: Mapping[str, Any]  # what else a checkpoint says: versions, threads, data
    screen: Any = field(default_factory=Screen)
    metrics: list[Metrics | TensorBoard] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)
    ema: dict[str, Tensor] = field(default_factory=dict)
    stopping: str | None = None
    probe: Probe | None = None

    @property
    def model(self) -> Model:
        return self.learner.model

    def weights(self) -> dict[str, Tensor]:
        """All weights by the network's names; tied ones once."""
        return dict(self.model.network.named_parameters()) | dict(self.model.network.named_buffers())

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a run goes on from."""
        kept = {f"weights/{name}": t for name, t in self.weights().items()}
        kept |= {f"optimizer/{name}": t for name, t in self.optimizers.state().items()}
        return kept | {f"ema/{name}": t for name, t in self.ema.items()}

    def micro_batches(self, step: int) -> list[Batch]:
        """What this rank reads of a step."""
        share, ranks = self.world.rows
        count = self.recipe.batch.accumulate
        found = []
        for index in range(step * count + share, (step + 1) * count, ranks):
            random = torch.Generator().manual_seed(key(self.recipe.seed, "batch", index) >> 1)
            batch = self.objective.batch(self.batches[index], random)
            inputs, targets = cut(batch.inputs, batch.targets, self.world)
            found.append(Batch({n: t.to(self.world.device) for n, t in inputs.items()}, targets.to(self.world.device)))
        return found

    def step(self) -> dict[str, float]:
        """One update of the weights: the loss in nats per target, the gradient's norm, the rate, the targets."""
        number, recipe = self.progress.step, self.recipe
        torch.manual_seed(key(recipe.seed, "step", number, self.world.rank) >> 1)
        batches = self.micro_batches(number)
        counted = torch.tensor([sum(b.count for b in batches)], dtype=torch.float64)
        targets = int(self.world.sum(counted).item())
        total = torch.zeros(1, dtype=torch.float64)
        for i, batch in enumerate(batches):
            with accumulating(self.prepared, i + 1 < len(batches)):
                with autocast(self.world.device, self.precision):
                    loss = self.prepared(batch.inputs, batch.targets)
                (loss / max(targets, 1)).backward()
            total += loss.item()
        loss = self.world.sum(total).item() / max(targets, 1)
        gradients = {n: p.grad for n, p in self.learner.named_parameters() if p.grad is not None}
        norm = pieces.norm(gradients, self.world)
        if not math.isfinite(loss) or not math.isfinite(norm.item()):
            raise DivergedError(culprit(self.learner, batches, number, self.world.device, self.precision))
        if recipe.clip and norm > recipe.clip:
            torch._foreach_mul_([pieces.held(g) for g in gradients.values()], recipe.clip / (norm + 1e-6))
        factor = recipe.schedule(number, recipe.steps)
        self.optimizers.step(factor)
        self.optimizers.zero_grad()
        self.average()
        self.progress.step += 1
        self.progress.tokens += targets
        return {"loss": loss, "norm": norm.item(), "rate": recipe.optimizer.lr * factor}

    def average(self) -> None:
        """Move the running mean of the weights a little towards them; a young mean moves faster."""
        if self.recipe.ema:
            decay = min(self.recipe.ema, (1 + self.progress.step) / (10 + self.progress.step))
            now = self.weights()
            means = [pieces.held(t) for t in self.ema.values()]
            torch._foreach_lerp_(means, [pieces.held(now[n]) for n in self.ema], 1 - decay)

    def start_average(self) -> None:
        """Begin the running mean at the weights as they are."""
        if self.recipe.ema:
            self.ema = {n: p.detach().clone() for n, p in self.weights().items() if p.is_floating_point()}

    def run(self, until: int | None = None) -> str:
        """Train to the end (or only to step ``until``); returns why it ended: "finished" or the reason.

        Raises DivergedError when the loss or a gradient is no longer a number; the last checkpoint stays."""
        began, before = time.perf_counter(), self.progress.seconds
        spacing = max(1, self.recipe.steps // LINES)
        window: list[tuple[float, int]] = [(began, self.progress.tokens)]
        with heeding(self.stop), keeping():
            self.screen.start(self.recipe.steps, self.progress.step)
            while self.stopping is None and self.progress.step < self.last(until):
                record = {"kind": "train", **self.step(), "step": self.progress.step, "tokens": self.progress.tokens}
                now = time.perf_counter()
                window = [*window[-20:], (now, self.progress.tokens)]
                self.progress.seconds = before + now - began
                rate = (window[-1][1] - window[0][1]) / (window[-1][0] - window[0][0])
                record |= {"seconds": round(self.progress.seconds, 3), "tokens_per_second": round(rate, 1)}
                self.tell(record, self.progress.step % spacing == 0 or self.progress.step == self.last(until))
                self.agree()
                self.after_step(self.last(until))
        self.progress.seconds = before + time.perf_counter() - began
        return self.stopping or "finished"

    def last(self, until: int | None) -> int:
        """The step to end at."""
        return self.recipe.steps if until is None else min(until, self.recipe.steps)

    def stop(self, reason: str) -> None:
        """End after this step."""
        self.stopping = reason

    def fit(self) -> None:
        """As many steps as the minutes allow, by the pace so far; from then on they stand in the recipe.

        It is decided as late as the schedule allows: when a rate that stood still has to begin to fall."""
        recipe, step, seconds = self.recipe, self.progress.step, self.progress.seconds
        room = (recipe.minutes or 0) * 60 * SPARE
        share = recipe.schedule.stable
        fit = step + max(0, int((room - seconds) * step / seconds)) if step >= PACED and seconds >= share * room else 0
        decided = int(self.world.everywhere(torch.tensor([float(fit if self.world.first else 0)])).item())
        if decided or step >= share * recipe.steps > 0:
            steps = min(recipe.steps, max(decided, step + 1)) if decided else recipe.steps
            if steps < recipe.steps:
                text = f"{steps:,} of {recipe.steps:,} steps fit into {recipe.minutes:g} minutes on this machine"
                self.tell({"kind": "note", "step": step, "text": text})
            self.recipe = replace(recipe, steps=steps, minutes=None)
            if self.world.first:
                write(self.recipe, self.folder)
                self.screen.start(steps, step)

    def steps(self, until: int) -> None:
        """Step on without a word, a validation or a checkpoint."""
        while self.progress.step < until:
            self.step()

    def after_step(self, last: int) -> None:
        """Validation and checkpoints when they are due."""
        step, recipe = self.progress.step, self.recipe
        due = lambda every: every > 0 and step % every == 0
        if recipe.minutes is not None:
            self.fit()
        if step < self.recipe.steps and due(recipe.evaluate.every):
            self.validate(whole=False)
        if self.probe is not None and (due(recipe.probe_roles) or step == self.recipe.steps):
            with judging(self.learner), wearing(self.weights(), self.ema):
                self.tell({**self.probe.record(self.model), "step": step})
        if due(recipe.save.every) or step == last or self.stopping is not None:
            self.save()

    def agree(self) -> None:
        """Ranks stop together: when one was asked to, all do."""
        if self.world.mesh is not None:
            asked = self.world.everywhere(torch.tensor([float(self.stopping is not None)]))
            self.stopping = self.stopping or ("another rank was stopped" if asked.item() else None)

    def validate(self, whole: bool) -> dict[str, Any] | None:
        """Judge the weights as they are (or their running mean), tell, and notice when it no longer gets better."""
        if self.judge is None:
            return None
        with judging(self.learner), wearing(self.weights(), self.ema):
            found = self.judge.loss(self.prepared, whole)
            samples = []
            if self.world.size == 1 and self.judge.how.exact:
                found["exact"], shown = self.judge.exact(self.model, self.judge.how.exact if whole else 100)
                samples.append(shown)
            if self.world.size == 1 and (sample := self.judge.sample(self.model)) is not None:
                samples.append(sample)
        step = self.progress.step
        record = {"kind": "validation", "step": step, "tokens": self.progress.tokens, **found}
        self.tell(record | {"seconds": round(self.progress.seconds, 3)})
        for text in samples:
            self.tell({"kind": "sample", "step": step, "text": text})
        self.notice(found)
        return record

    def notice(self, found: Mapping[str, Any]) -> None:
        """Count validations since the best one; too many end the run."""
        figure = next(f for f in FIGURES if f.key in found)
        value = found[figure.key] if figure.falls else -found[figure.key]
        better = self.progress.best is None or value < self.progress.best
        self.progress.best = value if better else self.progress.best
        self.progress.worse = 0 if better else self.progress.worse + 1
        if 0 < self.recipe.evaluate.patience <= self.progress.worse and self.progress.step < self.recipe.steps:
            self.stopping = f"no better {figure.name} in {self.progress.worse} validations"

    def save(self) -> Path:
        """Write a checkpoint of this step, and drop old ones."""
        state = {"progress": vars(self.progress), **self.about}
        result = self.result()
        export = lambda folder: hub.write(self.model, folder, result) if self.world.first else None
        made = checkpoints.write(self.folder, self.progress.step, self.tensors(), state, export, self.world)
        if self.world.first:
            checkpoints.prune(self.folder, max(self.recipe.save.keep, self.recipe.save.average))
        return made

    def result(self) -> dict[str, Tensor]:
        """The weights to use, whole and on the CPU of the first rank: adapters merged, the running mean if there is."""
        with wearing(self.weights(), self.ema):
            whole = pieces.gather(dense(self.model), self.world)
            return {name: t.clone() for name, t in whole.items()} if self.ema else whole

    def restore(self, checkpoint: Path) -> None:
        """Take up weights, memory and progress of a checkpoint."""
        reader = checkpoints.reader(checkpoint)
        if self.recipe.ema:
            self.start_average()
        memory = self.optimizers.blank(
            name.removeprefix("optimizer/") for name in reader if name.startswith("optimizer/")
        )
        wanted = {f"weights/{n}": t for n, t in self.weights().items()} | {f"ema/{n}": t for n, t in self.ema.items()}
        pieces.restore(wanted | {f"optimizer/{n}": t for n, t in memory.items()}, reader)
        self.optimizers.load(memory)
        self.progress = Progress(**read_json(checkpoint / checkpoints.STATE)["progress"])

    def tell(self, record: Record, write: bool = True) -> None:
        """Show a record, and write it down; the first rank speaks for all."""
        if not self.world.first:
            return
        if record["kind"] in ("sample", "note"):
            getattr(self.screen, record["kind"])(record["text"])
        elif record["kind"] != "roles":
            getattr(self.screen, record["kind"])(record)
        for metrics in self.metrics if write else ():
            metrics.write(record)
