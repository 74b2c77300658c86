"""A run from its recipe: data, tokenizer, model and loop put together; started, resumed, brought to its end."""

import platform
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from .. import __version__, hub, storage
from ..model import Model
from ..parts import Stack
from ..text import Tokenizer
from . import checkpoints, recipes
from .adaptation import lora, patterns, peft
from .evaluation import Judge
from .learner import Learner
from .loop import Loop, Screen
from .material import Material, material
from .muon import iterating
from .objectives import objective_for
from .optimizers import Optimizers
from .precision import Name, probe
from .probe import Probe
from .ranks.world import World
from .recipes import RECIPE, Recipe
from .report.curves import picture
from .report.metrics import Metrics, TensorBoard, read, rewind
from .report.runs import held, holding

METRICS, CURVE, MODEL, ADAPTER = "metrics.jsonl", "curve.svg", "model", "adapter"
Say = Callable[[str], None]


@dataclass
class Run:
    """A run that is ready to go: its loop, and what it says when it is over."""

    loop: Loop
    material: Material
    yardsticks: Mapping[str, float] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.loop.folder

    def go(self) -> dict[str, Any]:
        """Train until it is over. Returns ``ended`` (how), ``step``, ``seconds`` and the last validation's figures."""
        loop = self.loop
        try:
            with holding(self.folder) if loop.world.first else nullcontext():
                ended = loop.run()
                over = ended == "finished" or ended.startswith("no better")
                found = self.finish() if over else {}
        finally:
            loop.screen.stop()
        return {"ended": ended, "step": loop.progress.step, "seconds": loop.progress.seconds, **found}

    def finish(self) -> dict[str, Any]:
        """The result: the weights to use in ``model/``, judged on all of the validation data, and the curve."""
        loop = self.loop
        if loop.recipe.save.average:
            kept = [checkpoints.folder_of(loop.folder, step) for step in checkpoints.steps(loop.folder)]
            loop.ema = dict(checkpoints.mean(kept[-loop.recipe.save.average :], loop.weights(), "weights/"))
        found = loop.validate(whole=True) or {}
        result = loop.result()
        if loop.world.first:
            if lora.adapters(loop.model):
                peft.write(loop.model, loop.folder / ADAPTER, loop.recipe.start)
            self.draw()
            with storage.write_folder(loop.folder / MODEL) as new:  # last: where it is, the run is finished
                hub.write(loop.model, new, result)
        loop.world.wait()
        return {k: v for k, v in found.items() if k not in ("kind", "step", "seconds")}

    def draw(self) -> None:
        """The learning curve."""
        runs = {self.folder.name: read(self.folder / METRICS)}
        (self.folder / CURVE).write_text(picture(runs, self.yardsticks, title=self.folder.name), encoding="utf-8")


def start(recipe: Recipe, folder: Path, say: Say, screen: Callable[..., Any] | None = None) -> Run:
    """A new run in a new folder. Raises ValueError for a recipe that cannot be, before anything is written there."""
    world = World.from_environment(recipe.parallel)
    if folder.exists() and any(folder.iterdir()) and world.first:
        raise ValueError(f"{folder} is there already: resume it (cutaway train --resume {folder}) or name another run")
    world.wait()
    made = assemble(recipe, folder, world, say)
    if world.first:
        folder.mkdir(parents=True, exist_ok=True)
        recipes.write(made.loop.recipe, folder)
    return equip(made, screen)


def resume(folder: Path, say: Say, screen: Callable[..., Any] | None = None) -> Run:
    """A run where its newest whole checkpoint left off.

    Raises ValueError for a folder that holds no run, one that is finished, and data that changed since."""
    if not (folder / RECIPE).is_file():
        raise ValueError(f"{folder} holds no run: it has no {RECIPE}")
    if (folder / MODEL).is_dir():
        raise ValueError(f"{folder} is finished; go on from it in a new run: cutaway train --from {folder}")
    recipe = recipes.read(folder / RECIPE)
    world = World.from_environment(recipe.parallel)
    if world.first:
        if held(folder):
            raise ValueError(f"another process trains in {folder}")
        checkpoints.sweep(folder)
    world.wait()
    found, complaints = checkpoints.newest(folder)
    for complaint in complaints:
        say(f"left aside: {complaint}")
    made = assemble(recipe, folder, world, say)
    if found is None:
        say("there is no checkpoint yet: starting from the beginning")
    else:
        state = storage.read_json(found / checkpoints.STATE)
        compare(state, made.loop.about, say)
        made.loop.restore(found)
    if world.first:
        done = made.loop.progress.step
        for step in checkpoints.steps(folder):
            if step > done:
                shutil.rmtree(checkpoints.folder_of(folder, step))
        rewind(folder / METRICS, done)
    world.wait()
    return equip(made, screen)


def compare(then: Mapping[str, Any], now: Mapping[str, Any], say: Say) -> None:
    """Say what is not as it was when a checkpoint was written. Raises ValueError if that is the data."""
    if then["data"] != now["data"]:
        raise ValueError("the training data or its tokenizer has changed since: a resumed run would be another one")
    for name in ("threads", "torch", "capability", "ranks"):
        if then[name] != now[name]:
            say(f"{name} was {then[name]} and is {now[name]}: the run goes on, but not bit for bit as it would have")


def equip(made: Run, screen: Callable[..., Any] | None) -> Run:
    """Give the first rank something to show progress on and to write it down."""
    loop = made.loop
    if loop.world.first:
        loop.screen = Screen() if screen is None else screen(title=loop.folder.name, yardsticks=made.yardsticks)
        loop.metrics = [Metrics(loop.folder / METRICS)]
        loop.metrics += [TensorBoard(loop.folder / "tensorboard")] if loop.recipe.tensorboard else []
    return made


def assemble(recipe: Recipe, folder: Path, world: World, say: Say, cache: Path | None = None) -> Run:
    """Put a run together. Of several ranks the first makes the shards, in ``cache``, and the others find them."""
    torch.manual_seed(recipe.seed)
    began = time.perf_counter()
    say = say if world.first else quiet
    base = None if recipe.start is None else hub.load(recipe.start, dtype=torch.float32)
    if not world.first:
        world.wait()
    tokenizer = None if base is None else base.tokenizer
    found = material(recipe, cache or folder.parent / ".data", tokenizer, say)
    shards = found.shards("train", say), found.shards("validation", say)
    if world.first:
        world.wait()
    if found.faults.count:
        say(str(found.faults))
    model = fresh(recipe, found.tokenizer) if base is None else base
    model.origin.generation = {**model.origin.generation, **recipe.generation}
    recipe = replace(recipe, model_type=model.origin.model_type, model=model.config)
    adapt(model, recipe)
    learner = Learner(model, recipe.smoothing).to(world.device).train()
    objective = objective_for(model, recipe.objective, **recipe.options)
    batches = found.batches("train", shards[0], recipe.seed)
    precision = fastest(recipe, learner, objective, batches, world, say)
    recipe = replace(recipe, precision=precision)
    speed_up(learner, recipe)
    prepared = placed(learner, world)
    optimizers = Optimizers(learner, recipe.optimizer, iterating(precision))
    text = recipe.objective == "causal-lm"
    judge = Judge(
        recipe.evaluate, found.batches("validation", shards[1]), objective,
        found.validation_bytes() if text else None, found.unseen if recipe.evaluate.exact else [], precision, world,
    )  # fmt: skip
    about = surroundings(world) | {"data": shards[0].about["made_from"]}
    loop = Loop(recipe, folder, learner, prepared, optimizers, objective, batches, judge, world, precision, about)
    loop.probe = Probe.of(recipe, world.size)
    loop.start_average()
    yardsticks = found.yardsticks(say) if recipe.yardsticks and world.first else {}
    say(f"ready in {time.perf_counter() - began:.1f} s: {described(model, shards[0], recipe)}")
    return Run(loop, found, yardsticks)


def quiet(text: str) -> None:
    """Ranks but the first say nothing."""


def described(model: Model, shards: Any, recipe: Recipe) -> str:
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    part = "" if trained == total else f", {trained:,} of them training"
    return f"{model.origin.model_type} of {total:,} parameters{part}; {shards!r}; {recipe.steps:,} steps"


def fresh(recipe: Recipe, tokenizer: Tokenizer) -> Model:
    """A new model for a tokenizer: as many ids as that has, and its special ones."""
    config = {**vars(recipe.model), "vocab": max(len(tokenizer), recipe.model.vocab if recipe.tokens.folder else 0)}
    model = hub.build(recipe.model_type, **config)
    model.tokenizer = tokenizer
    named = ("bos_token_id", "eos_token_id", "pad_token_id")
    ids = {name: i for name in named if (i := getattr(tokenizer, name)) is not None}
    if model.kind == "encoder-decoder":
        ids["decoder_start_token_id"] = ids.get("bos_token_id", ids.get("pad_token_id", 0))
    model.origin.generation = ids
    model.origin.kept = {name: ids.get(name, value) for name, value in model.origin.kept.items()}
    return model


def adapt(model: Model, recipe: Recipe) -> None:
    """Freeze what stays, and put adapters where only those are to learn."""
    if recipe.lora is not None:
        lora.add(model, recipe.lora)
    if recipe.freeze:
        patterns.freeze(model, recipe.freeze)


def fastest(recipe: Recipe, learner: Learner, objective: Any, batches: Any, world: World, say: Say) -> Name:
    """The recipe's precision, or the one that is fastest here: tried by one process, assumed by several."""
    if recipe.precision != "auto":
        return recipe.precision
    if world.size > 1:
        return "bfloat16" if world.device.type == "cuda" else "float32"
    batch = objective.batch(batches[0], torch.Generator().manual_seed(0))
    inputs = {name: t.to(world.device) for name, t in batch.inputs.items()}
    tried = probe(learner, inputs, batch.targets.to(world.device), ("float32", "bfloat16"))
    say(f"precision: {tried}, on {torch.get_num_threads()} threads")
    return tried.best


def speed_up(learner: Learner, recipe: Recipe) -> None:
    """Recompute or compile every block, if the recipe says so; names and numbers of the weights stay."""
    for block in (b for m in learner.modules() if isinstance(m, Stack) for b in m.blocks):
        if recipe.recompute:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        if recipe.compile:
            block.compile()


def placed(learner: Learner, world: World) -> nn.Module:
    """The learner as its world runs it."""
    if world.mesh is None:
        return learner
    from .ranks.parallel import prepare  # a second, which a single process need not wait

    return prepare(learner, world)


def surroundings(world: World) -> dict[str, Any]:
    """What bits may depend on beside the recipe."""
    return {
        "cutaway": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "device": str(world.device.type),
        "ranks": world.size,
    }
