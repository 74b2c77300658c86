"""A recipe: everything that a run is made from, as one value that can be printed, compared, saved and changed."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from tyro.conf import arg

from .. import families, storage
from .adaptation.lora import LoRA
from .objectives.special import known
from .optimizers import Optimizer
from .ranks.world import Parallel
from .schedules import Schedule

RECIPE = "recipe.json"  # a run's own, in its folder


def told(text: str) -> Any:
    """What ``--help`` says of a field."""
    return arg(help=text)


@dataclass(frozen=True)
class Data:
    """What is read."""

    train: Annotated[tuple[str, ...], told("'stdlib', 'dates', files, folders, patterns, hub:owner/name[:split]")] = (
        "stdlib",
    )
    validation: Annotated[
        tuple[str, ...],
        told("the same for validation; nothing: every twentieth record of training, or the end of a few texts"),
    ] = ()
    columns: Annotated[dict[str, str], told("input=NAME target=NAME: columns of tables")] = field(default_factory=dict)
    parallel: Annotated[bool, told("two files whose lines belong together: input, then target")] = False
    unit: Annotated[Literal["file", "line"], told("of text files: what one document is")] = "file"
    bad_lines: Annotated[int | None, told("how many unusable lines are too many; nothing: any number is left out")] = 0
    longest: Annotated[int | None, told("ids that a text is cut to")] = None


@dataclass(frozen=True)
class Tokens:
    """How text becomes ids: a tokenizer made from the training texts, or a finished one."""

    kind: Literal["bpe", "wordpiece", "unigram", "characters", "bytes"] = "bpe"
    vocab: Annotated[int, told("tokens to make, special ones included")] = 4096
    folder: Annotated[str | None, told("a checkpoint folder or hub name whose tokenizer to use instead")] = None


@dataclass(frozen=True)
class Batching:
    """What one step sees."""

    kind: Annotated[
        Literal["windows", "packed", "bucketed"],
        told("windows of one long text, rows packed with whole documents, or documents of like length"),
    ] = "windows"
    length: Annotated[int, told("tokens a row (windows, packed)")] = 256
    rows: Annotated[int, told("rows a micro-batch (windows, packed)")] = 16
    tokens: Annotated[int, told("padded tokens a micro-batch, of the longer side (bucketed)")] = 4096
    accumulate: Annotated[int, told("micro-batches a step, over all ranks that read different rows")] = 1


@dataclass(frozen=True)
class Evaluation:
    """When and how a run is judged."""

    every: Annotated[int, told("steps between validations; 0: at the end only")] = 100
    batches: Annotated[int | None, told("micro-batches of a validation on the way; the last one sees all")] = 20
    exact: Annotated[int, told("texts to write and compare with what was expected (seq2seq); 0: none")] = 0
    sample: Annotated[str | None, told("a text to continue")] = None
    patience: Annotated[int, told("stop after so many validations without a better one; 0: never")] = 0


@dataclass(frozen=True)
class Saving:
    """What is kept on disk."""

    every: Annotated[int, told("steps between checkpoints; 0: at the end only")] = 500
    keep: Annotated[int, told("checkpoints that stay")] = 2
    average: Annotated[int, told("checkpoints whose mean is the result; 0: the last weights, or their EMA")] = 0


Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Recipe:
    """A run. ``model`` holds the fields of its family's Config; vocab comes from the tokenizer where it makes one."""

    model_type: str = "llama"
    model: Any = None
    start: Annotated[str | None, arg(name="from", help="a checkpoint folder or hub name to go on from")] = None
    objective: str = "causal-lm"
    options: Annotated[dict[str, Any], told("options of the objective")] = field(default_factory=dict)
    data: Data = Data()
    tokens: Tokens = Tokens()
    batch: Batching = Batching()
    steps: int = 1000
    minutes: Annotated[float | None, told("take fewer steps where so many would take longer than this")] = None
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    clip: Annotated[float, told("largest norm of the gradient; 0: any")] = 1.0
    smoothing: Annotated[float, told("label smoothing")] = 0.0
    ema: Annotated[float, told("decay of a running mean of the weights, which is then the result; 0: none")] = 0.0
    freeze: Annotated[tuple[str, ...], told("patterns of parameters that stay as they are")] = ()
    lora: LoRA | None = None
    evaluate: Evaluation = Evaluation()
    save: Saving = Saving()
    generation: Annotated[dict[str, Any], told("defaults of generation, kept in the checkpoint")] = field(
        default_factory=dict
    )
    yardsticks: Annotated[bool, told("compare with xz and a byte n-gram model")] = False
    precision: Precision = "auto"
    recompute: Annotated[bool, told("compute activations of blocks again instead of keeping them")] = False
    compile: Annotated[bool, told("torch.compile every block")] = False
    parallel: Parallel = field(default_factory=Parallel)
    probe_roles: Annotated[int, told("steps between looks at what each head does; 0: none")] = 0
    tensorboard: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        known(self.objective)
        config = families.module(self.model_type).Config
        if self.model is None:
            object.__setattr__(self, "model", config())
        if type(self.model) is not config:
            raise ValueError(f"a {self.model_type} is described by {config.__module__}.Config, got {self.model!r:.80}")
        for name, value, least in (
            ("steps", self.steps, 1), ("clip", self.clip, 0), ("save.keep", self.save.keep, 1),
            ("batch.rows", self.batch.rows, 1), ("batch.length", self.batch.length, 1),
            ("batch.accumulate", self.batch.accumulate, 1), ("probe_roles", self.probe_roles, 0),
        ):  # fmt: skip
            if value < least:
                raise ValueError(f"{name} is at least {least}, got {value}")
        if not 0 <= self.ema < 1 or not 0 <= self.smoothing < 1:
            raise ValueError(f"ema and smoothing lie in [0, 1), got {self.ema} and {self.smoothing}")


def as_json(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON holds it."""
    found: dict[str, Any] = json.loads(json.dumps(plain(recipe)))
    return found


def plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    return value


def read(path: str | Path) -> Recipe:
    """The recipe in a JSON file; what it does not name is as usual. Raises ValueError for what it should not."""
    return of_json(storage.read_json(path), str(path))


def write(recipe: Recipe, run: Path) -> None:
    """Write a run's recipe into its folder: it has a whole one, or the one before, or is no run."""
    fresh = run.parent / ".data" / f"{run.name}.json"
    fresh.parent.mkdir(parents=True, exist_ok=True)
    storage.write_json(fresh, as_json(recipe))
    fresh.replace(run / RECIPE)


def of_json(found: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """The recipe that :func:`as_json` gave."""
    values = dict(found)
    if isinstance(values.get("model"), dict):
        config = families.module(values.get("model_type", Recipe.model_type)).Config
        values["model"] = strictly(config, values["model"], f"{where}: model")
    recipe: Recipe = strictly(Recipe, values, where)
    return recipe


def strictly(kind: type[Any], values: Any, where: str) -> Any:
    """A dataclass from JSON values. Raises ValueError that names each key that is wrong, with the nearest right one."""
    import pydantic

    there = {f.name: f for f in fields(kind)}
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected an object with {', '.join(there)}, got {values!r:.60}")
    for key in values:
        if key not in there:
            near = difflib.get_close_matches(key, there, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(there)}"
            raise ValueError(f"{where}: {key!r} is no key; {hint}")
    inner = {
        f.name: t
        for f in there.values()
        for t in (f.type, *get_args(f.type))
        if isinstance(t, type) and is_dataclass(t)
    }
    made = {n: strictly(t, values[n], f"{where}: {n}") for n, t in inner.items() if isinstance(values.get(n), dict)}
    told: dict[str, Any] = {n: (there[n].type, ...) for n in values if n not in made}
    strict = pydantic.ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    try:
        rest = pydantic.create_model(kind.__name__, __config__=strict, **told).model_validate(
            {n: tuples(there[n].type, values[n]) for n in told}
        )
    except pydantic.ValidationError as error:
        told_wrong = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r:.60}" for e in error.errors()]
        raise ValueError(f"{where}: " + "; ".join(told_wrong)) from None
    return kind(**{n: getattr(rest, n) for n in told}, **made)


def tuples(kind: Any, value: Any) -> Any:
    """JSON's lists as the tuples that a field holds."""
    return tuple(value) if isinstance(value, list) and "tuple" in str(kind) else value


def differences(a: Recipe, b: Recipe) -> dict[str, tuple[Any, Any]]:
    """Where two recipes differ: dotted name -> both values."""
    one, two = flat(as_json(a)), flat(as_json(b))
    return {
        key: (one.get(key), two.get(key))
        for key in [*one, *(k for k in two if k not in one)]
        if one.get(key) != two.get(key)
    }


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, dict) and value else {f"{above}{key}": value}
    return found
