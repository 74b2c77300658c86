"""Commands that train and compare runs."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from ..train.recipes import Recipe

SIGNALLED = {signal.Signals.SIGINT: 130, signal.Signals.SIGTERM: 143}


def train() -> None:
    """Train: cutaway train [RECIPE ...] [--OPTIONS]; without a word, Python from the standard library's source."""


@dataclass(frozen=True)
class Options:
    """What a run is called, and whether it is one."""

    name: Annotated[
        str | None, arg(help="of the run's folder; nothing: the recipe's, with a number if it is taken")
    ] = None
    runs: Annotated[Path, arg(help="where runs are kept")] = Path("runs")
    resume: Annotated[Path | None, arg(help="a run to go on with from its newest checkpoint")] = None
    again: Annotated[bool, arg(help="go on with the run of this name if it is there, else begin it")] = False
    processes: Annotated[int, arg(help="ranks on this machine; 0: this process alone, or what torchrun started")] = 0
    restarts: Annotated[int, arg(help="how often to go on when a rank dies (with --processes)")] = 3
    show: Annotated[bool, arg(help="print the recipe as JSON, and do nothing")] = False
    plan: Annotated[bool, arg(help="say what a step would take, and do nothing")] = False
    devices: Annotated[int, arg(help="of a plan")] = 1
    device: Annotated[str, arg(help="of a plan: a name of the table, or 'here'")] = "here"


@dataclass(frozen=True)
class Command:
    """Both, as the command line takes them."""

    options: Annotated[Options, arg(name="")]
    recipe: Annotated[Any, arg(name="")]


def command(words: list[str]) -> int:
    """``cutaway train``: recipes by name or file, then options."""
    from ..train.ranks.world import leave

    code = carried_out(words)
    leave()  # here, where nothing of a run is left
    return code


def carried_out(words: list[str]) -> int:
    """The exit code of what the words ask for."""
    from ..train import cookbook, recipes

    stop = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    names, flags = words[:stop], words[stop:]
    chosen = [recipes.read(n) if n.endswith(".json") or Path(n).is_file() else cookbook.named(n) for n in names]
    if not chosen:
        start = value_of(flags, "--from")
        chosen = [cookbook.finetune(start) if start else cookbook.stdlib()]
        names = [f"from-{Path(start).name}" if start else "stdlib"]
    told = [parsed(recipe, flags) for recipe in chosen]
    options = told[0][0]
    if options.resume is not None:
        if len(flags) > (1 if "=" in flags[0] else 2) or words[:stop]:
            raise ValueError("a run is resumed with the recipe it has: nothing goes with --resume RUN")
        return go_on(options.resume)
    if options.name is not None and len(told) > 1:
        raise ValueError(f"--name is for one run, and there are {len(told)} recipes")
    if options.show:
        return shown([recipe for _, recipe in told])
    if options.plan:
        return planned([recipe for _, recipe in told], options)
    if options.processes:
        return supervised(words, options)
    folders = []
    for name, (_, recipe) in zip(names, told, strict=True):
        folder = named_folder(options, Path(name).stem)
        code = go_on(folder) if options.again and (folder / "recipe.json").is_file() else begin(recipe, folder)
        if code:
            return code
        folders.append(folder)
    if len(folders) > 1:
        runs(tuple(folders), picture=options.runs / "comparison.svg")
    return 0


def value_of(flags: Sequence[str], name: str) -> str | None:
    """What follows a flag, before the flags as a whole can be read."""
    for i, flag in enumerate(flags):
        if flag == name and i + 1 < len(flags):
            return flags[i + 1]
        if flag.startswith(name + "="):
            return flag.partition("=")[2]
    return None


def parsed(recipe: "Recipe", flags: list[str]) -> tuple[Options, "Recipe"]:
    """The options of the command, and the recipe with those of its fields that flags name."""
    from ..train.adaptation.lora import LoRA

    if (model_type := value_of(flags, "--model-type")) is not None and model_type != recipe.model_type:
        recipe = replace(recipe, model_type=model_type, model=None)
    if recipe.lora is None and any(flag.startswith("--lora.") for flag in flags):
        recipe = replace(recipe, lora=LoRA())
    if value_of(flags, "--from") and (odd := [f for f in flags if f.startswith(("--model.", "--model-type"))]):
        raise ValueError(f"{odd[0]}: the model to go on from is as it is")
    found = tyro.cli(
        Command, default=Command(Options(), recipe), args=flags, prog="cutaway train [RECIPE ...]",
        config=(tyro.conf.AvoidSubcommands,),
        description=f"Recipes: a JSON file, or one of {', '.join(names_of_recipes())}.",
    )  # fmt: skip
    return found.options, found.recipe


def names_of_recipes() -> list[str]:
    from ..train.cookbook import RECIPES

    return list(RECIPES)


def named_folder(options: Options, usual: str) -> Path:
    """A folder that is not there yet."""
    if options.name is not None:
        return options.runs / options.name
    numbered = (options.runs / f"{usual}{'' if i == 1 else f'-{i}'}" for i in range(1, 10_000))
    return next(folder for folder in numbered if not folder.exists())


def say(text: str) -> None:
    print(text, flush=True)


def this() -> str:
    """How this command line is called: run.py says, who calls it in its own name."""
    return os.environ.get("CUTAWAY_PROG", "cutaway")


def begin(recipe: "Recipe", folder: Path) -> int:
    from ..train import run
    from ..train.report.display import display

    made = run.start(recipe, folder, say, display)
    if made.loop.world.first:
        say(f"{folder}: press Ctrl-C to stop and keep what it has learned")
    return ended(made)


def go_on(folder: Path) -> int:
    from ..train import run
    from ..train.report.display import display

    return ended(run.resume(folder, say, display))


def ended(run: Any) -> int:
    """Run it, and say what came of it."""
    from ..train.checkpoints import steps
    from ..train.report.wording import duration
    from ..train.trouble import DivergedError

    loop, folder = run.loop, run.folder
    try:
        result = run.go()
    except DivergedError as error:
        print(f"cutaway: training stopped: {error}", file=sys.stderr)
        kept = steps(folder)
        stays = f"the checkpoint of step {kept[-1]:,} stays in {folder}" if kept else "there was no checkpoint yet"
        print(f"{stays}; try a lower --optimizer.lr", file=sys.stderr)
        return 1
    if not loop.world.first:
        return 0
    say(f"{result['ended']} after {result['step']:,} steps in {duration(result['seconds'])}")
    if not (folder / "model").is_dir():
        say(f"to go on: {this()} train --resume {folder}")
        return next((code for one, code in SIGNALLED.items() if result["ended"].endswith(one.name)), 0)
    for line in [*verdict(result, run.yardsticks), *sampled(folder)]:
        say(line)
    say(f"\nmodel       {folder / 'model'}\nrecipe      {folder / 'recipe.json'}\ncurve       {folder / 'curve.svg'}\n")
    for line in suggestions(run):
        say(line)
    return 0


def verdict(result: dict[str, Any], yardsticks: dict[str, float]) -> list[str]:
    """What a run has reached, beside what others do."""
    lines = []
    if "exact" in result:
        lines.append(f"exact match on unseen examples: {result['exact']:.2%}")
    if "bits_per_byte" not in result:
        return [*lines, f"validation loss: {result['loss']:.4f} nats per token"]
    ours = result["bits_per_byte"]
    wide = max(map(len, [*yardsticks, "this model"]))
    lines += ["bits per byte on unseen files"]
    rows = sorted([("this model", ours), *yardsticks.items()], key=lambda row: row[1])
    lines += [f"  {name:<{wide}}  {value:.3f}" for name, value in rows]
    if "xz -9" in yardsticks:
        better = ours < yardsticks["xz -9"]
        lines.append(
            f"The model {'needs fewer' if better else 'does NOT need fewer'} bits than xz -9 for the same files."
        )
    return lines


def sampled(folder: Path) -> list[str]:
    """The last sample of a run."""
    from ..train.report.metrics import read
    from ..train.report.wording import visible

    texts = [record["text"] for record in read(folder / "metrics.jsonl") if record["kind"] == "sample"]
    return ["\nA sample:\n", visible(texts[-1])] if texts else []


def suggestions(run: Any) -> list[str]:
    """What to try next."""
    folder, model = run.folder, run.loop.model
    if model.kind == "encoder-decoder":
        first = f'translate {folder} "{run.material.unseen[0]["input"]}"'
    elif run.loop.recipe.evaluate.sample is not None:
        first = f'generate {folder} "{run.loop.recipe.evaluate.sample.strip()}" --temperature 0.7'
    else:
        first = f"show {folder}"
    return ["Next:", *(f"  {this()} {words}" for words in (first, f"check {folder}", f"runs {folder.parent}"))]


def shown(chosen: list["Recipe"]) -> int:
    """Recipes as JSON; of several, where they differ from the first."""
    import json

    from ..train import recipes

    print(json.dumps(recipes.as_json(chosen[0]), indent=2, ensure_ascii=False))
    for other in chosen[1:]:
        print()
        for key, (a, b) in recipes.differences(chosen[0], other).items():
            print(f"{key}: {a} -> {b}")
    return 0


def planned(chosen: list["Recipe"], options: Options) -> int:
    """What a step of each recipe would take."""
    from ..train.planning.devices import device, here
    from ..train.planning.plan import plan

    on = here() if options.device == "here" else device(options.device)
    for r in chosen:
        dtype = r.precision if r.precision != "auto" else "bfloat16" if on.kind == "cuda" else "float32"
        made = plan(
            r.model_type, r.model, batch=r.batch.rows * r.batch.accumulate, length=r.batch.length,
            devices=options.devices, on=on, how=r.parallel, rows=r.batch.rows, dtype=dtype,
            optimiser=r.optimizer.kind, recompute=r.recompute,
        )  # fmt: skip
        print(made, end="\n\n")
    return 0


def supervised(words: list[str], options: Options) -> int:
    """The same command on several ranks, which go on from the last checkpoint when one of them dies."""
    from ..train.ranks.supervise import supervise

    if options.name is None:
        raise ValueError("a run on several ranks needs a name, by which it is found again: --name NAME")
    kept, skip = [], False
    for word in words:
        if not skip and word.split("=")[0] not in ("--processes", "--restarts"):
            kept.append(word)
        skip = not skip and word in ("--processes", "--restarts")
    run = options.runs / options.name / "recipe.json"
    return supervise(["-m", "cutaway.cli", "train", *kept, "--again"], options.processes, options.restarts, run.is_file)


def runs(
    folders: Positional[tuple[Path, ...]] = (Path("runs"),),
    /,
    *,
    picture: Annotated[Path | None, arg(help="an SVG file to draw their curves into")] = None,
    across: Annotated[Literal["step", "tokens", "seconds"], arg(help="the picture's flat axis")] = "step",
    log: bool = False,
) -> None:
    """Runs as a table; two or more run folders are compared."""
    from ..train.report import tables

    print(tables.runs(folders, picture, across=across, log=log))


def check_resume(run: Path) -> int:
    """Prove that a run resumes bit for bit."""
    from ..train.proof import prove

    finding = prove(run, say)
    print(finding)
    return 0 if finding.kept else 1
