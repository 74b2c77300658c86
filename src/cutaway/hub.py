"""From a folder or hub name to a model, and back; or from nothing to a fresh one."""

import difflib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from . import families, quantization, storage, weights
from .model import Model, Origin
from .names import some
from .parts import Network, Unembed
from .text import Tokenizer

# A quantised checkpoint is ours alone: its key in config.json, the name of its weights, which others do not find.
QUANTIZED, CODES = "cutaway_quantization", "quantized"


def load(
    source: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    quantize: str | None = None,
    group: int | None = None,
) -> Model:
    """A model from a checkpoint folder or a hub name, ready to run (in eval mode).

    Weights are memory-mapped and keep their dtype unless ``dtype`` says otherwise; ``quantize`` and ``group`` are
    those of :func:`cutaway.quantize`. No code of a checkpoint is ever run. Raises ValueError or KeyError naming what
    is not understood, FileNotFoundError for what is not there."""
    if group is not None and quantize is None:
        raise ValueError(f"group={group} is for quantize='int8' or 'int4', which was not asked for")
    folder = storage.locate(source)
    network, origin = describe(folder)
    ready = quantization.described(network) is not None
    theirs = weights.read_tensors(folder, device=device or "cpu", stem=CODES if ready else "model")
    form = families.form(origin.model_type)
    ours = theirs if ready else form.load(network.config, theirs)
    network = network if ready else untied(network, origin.model_type, ours)
    fill(network, ours)
    origin.ignored = () if ready else form.ignored(network.config, theirs)
    model = Model(network, origin, Tokenizer.load(folder)).eval()
    if quantize is not None:
        quantization.quantize(model, quantize, group)
    return model.to(dtype or model.dtype) if ready or dtype else model


def outline(source: str) -> Network:
    """A network without weights, to be looked at: of a model type, a named size, a folder or a hub name.

    Names that Cutaway knows come before the hub's: ``gpt2`` needs no download."""
    for model_type in families.MODEL_TYPES:
        form = families.form(model_type)
        if source == model_type or source in form.sizes:
            config = families.module(model_type).Config(**{**form.read({})[0], **form.sizes.get(source, {})})
            return sketch(model_type, config)
    return describe(storage.locate(source))[0]


class Undrawn(TorchFunctionMode):
    """Leaves weights as they are where modules would draw them at random."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        drawing = func in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_)
        return kwargs["tensor"] if drawing else func(*args, **kwargs)


def sketch(model_type: str, config: Any) -> Network:
    """A network on the meta device: shapes and no weights."""
    with torch.device("meta"), Undrawn():  # drawing on the meta device does nothing, and imports a compiler for it
        return families.network(model_type, config)


def describe(folder: Path) -> tuple[Network, Origin]:
    """The network of a checkpoint without its weights (on the meta device), and what else its config says."""
    config = storage.read_json(folder / "config.json")
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise ValueError(
            f"{folder / 'config.json'} has no model_type; known: {', '.join(sorted(families.MODEL_TYPES))}"
        )
    if (theirs := config.get("quantization_config")) is not None:
        method = theirs.get("quant_method") if isinstance(theirs, dict) else theirs
        raise ValueError(
            f"{folder} was quantised by another tool ({method}), which is not read: load the checkpoint that it was "
            "made of with quantize='int8' or 'int4'"
        )
    codes = config.pop(QUANTIZED, None)
    ours, kept = families.form(model_type).read(config)
    network = sketch(model_type, families.module(model_type).Config(**ours))
    if codes is not None:
        if not isinstance(codes, dict) or codes.keys() != {"how", "group"}:
            raise ValueError(f"{folder / 'config.json'}: {QUANTIZED} must say how and group, it is {codes!r}")
        quantization.convert(network, **codes)
    generation = folder / "generation_config.json"
    return network, Origin(model_type, kept, storage.read_json(generation) if generation.exists() else {})


def fill(network: Network, ours: Mapping[str, Tensor]) -> None:
    """Give a network its tensors. Raises KeyError or ValueError for any that is missing, left over or misshapen."""
    state = network.state_dict()
    expected = {n: tuple(p.shape) for n, p in state.items()}
    given = dict(ours)
    for copy, original in ties(network).items():
        if copy in given and not torch.equal(given.pop(copy), given[original]):
            raise ValueError(f"the config ties {copy} to {original}, but the checkpoint holds two different tensors")
    if missing := sorted(expected.keys() - given.keys()):
        raise KeyError(f"{some(missing)} missing from the checkpoint")
    if left := sorted(given.keys() - expected.keys()):
        raise KeyError(f"{some(left)} in the checkpoint, which this architecture has no place for")
    unlike = [(n, t) for n, t in given.items() if tuple(t.shape) != expected[n]]
    wrong = [f"{n} is {list(t.shape)}, not {list(expected[n])}" for n, t in unlike]
    if wrong:
        raise ValueError(f"shapes do not fit the config: {'; '.join(wrong[:5])}" + (" ..." if wrong[5:] else ""))
    codes = (f"{n}.{of}" for n in quantization.quantized(network) for of in ("codes", "scales"))
    if odd := [n for n in codes if given[n].dtype != state[n].dtype]:
        raise ValueError(f"{odd[0]} must be {state[odd[0]].dtype}, got {given[odd[0]].dtype}")
    # a transposed view of a file, as GPT-2's, is read several times slower in every product
    network.load_state_dict({n: t.contiguous() for n, t in given.items()}, assign=True)


def untied(network: Network, model_type: str, ours: Mapping[str, Tensor]) -> Network:
    """The network, with a head of its own if the checkpoint holds another than the embedding that its config ties.

    transformers believes the tensors, too: since version 5 it writes every T5 as tied, with T5 1.1's head beside it."""
    apart = [a for a, b in ties(network).items() if a in ours and b in ours and not torch.equal(ours[a], ours[b])]
    if not apart or "tied" not in vars(network.config):
        return network
    return sketch(model_type, replace(network.config, tied=False))


def ties(network: Network) -> dict[str, str]:
    """Names under which checkpoints may repeat a tied tensor -> the parameter it is."""
    names = {m: n for n, m in network.named_modules()}
    heads = {n: m for n, m in network.named_modules() if isinstance(m, Unembed)}
    return {f"{n}.weight": f"{names[m.tied[0]]}.weight" for n, m in heads.items() if m.tied[0] is not None}


def save(model: Model, folder: str | Path) -> None:
    """Write a checkpoint folder that :func:`load` and transformers read: config, safetensors, tokenizer.

    Only :func:`load` reads that of a quantised model, whose codes and scales go under our own names.
    All of it or nothing: a folder that was there before is replaced only by a complete one."""
    with storage.write_folder(folder) as fresh:
        write(model, fresh, model.network.state_dict())


def write(model: Model, fresh: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the files of a checkpoint into a new folder, with ``tensors`` in place of the network's own."""
    origin, network = model.origin, model.network
    config = model.format.write(network.config, origin.model_type, origin.kept)
    config["dtype"] = str(model.dtype).removeprefix("torch.")
    if (codes := quantization.described(network)) is not None:
        config[QUANTIZED] = codes
    storage.write_json(fresh / "config.json", config)
    if origin.generation:
        storage.write_json(fresh / "generation_config.json", dict(origin.generation))
    if codes is None:
        weights.write_tensors(fresh, model.format.save(network.config, tensors))
    else:
        weights.write_tensors(fresh, tensors, stem=CODES)
    if model.tokenizer is not None:
        model.tokenizer.save(fresh)


def build(name: str, size: str | None = None, **config: Any) -> Model:
    """A fresh model of a family or model type, with the paper's initialisation: ``build("llama", width=256, ...)``.

    ``size`` is a published size, ``build("gpt2", size="gpt3-175b")``; keywords are the fields of the family's
    ``Config``. Raises TypeError for any other, with the nearest; ValueError for a size that is not known, and for
    values that the model type's config.json could not say."""
    module = families.module(name)
    model_type = name if name in module.FORMATS else next(iter(module.FORMATS))
    form = families.form(model_type)
    known = [f.name for f in fields(module.Config)]
    for key in config:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise TypeError(
                f"{name} has no {key!r}" + (f"; did you mean {near[0]}?" if near else f"; it has: {', '.join(known)}")
            )
    if size is not None and size not in form.sizes:
        raise ValueError(f"{model_type} has no size {size!r}; it has: {', '.join(form.sizes) or 'none by name'}")
    usual = form.read({})[0] if name == model_type else {}  # a family of another name begins as in its paper
    c = module.Config(**{**usual, **(form.sizes[size] if size else {}), **config})
    if c.head not in form.heads.values():
        raise ValueError(f"{model_type} has no head {c.head!r}; it has: {', '.join(sorted({*form.heads.values()}))}")
    ours, kept = form.read(form.write(c, model_type, {}))
    again = module.Config(**ours)
    if lost := [f"{k} = {v!r}" for k, v in vars(c).items() if v != vars(again)[k]]:
        raise ValueError(f"the config.json of a {model_type} has no way to say {', '.join(lost)}")
    network = families.network(model_type, c)
    network.initialise()
    return Model(network, Origin(model_type, kept)).eval()
