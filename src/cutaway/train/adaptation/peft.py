"""Adapter folders in the format of the PEFT library: ``adapter_config.json``, ``adapter_model.safetensors``.

Its tensors are named after the published model's parts. Where one of those holds several of ours (GPT-2's c_attn is
q, k and v), they share A, and B's rows are divided among them as the family's layout says; the other way round,
different A's are stacked and B has a block for each. A head that learned beside the adapters is kept whole."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...model import Model
from ...names import load
from ...storage import read_json, write_folder, write_json
from ...weights import Tensors
from ...weights.safetensors import read_safetensors, write_safetensors
from .lora import LoRALinear, adapters, linears, places
from .patterns import near

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BEFORE, A, B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
# What they say of where an adapter comes from, or how it was trained; the tensors say the rest.
KEPT = frozenset(
    """
    alpha_pattern auto_mapping base_model_name_or_path corda_config ensure_weight_tying eva_config exclude_modules
    fan_in_fan_out inference_mode init_lora_weights layers_pattern layers_to_transform loftq_config lora_alpha
    lora_dropout lora_ga_config megatron_core modules_to_save peft_type peft_version qalora_group_size r rank_pattern
    revision runtime_config target_modules task_type use_rslora
    """.split()  # noqa: SIM905 (a table of words reads better than one of quotes)
)
# Initialisations that leave the model's own weights as they are.
BEGINNINGS = (True, False, "gaussian", "orthogonal", "eva")
TASKS = {"decoder": "CAUSAL_LM", "encoder-decoder": "SEQ_2_SEQ_LM"}


def read(model: Model, folder: str | Path) -> list[str]:
    """Freeze a model and adapt it by an adapter folder; returns the names of the adapted Linears.

    Raises ValueError or KeyError naming what is not built or does not fit; the model is then as it was."""
    config = read_config(Path(folder, CONFIG))
    tensors = Tensors(read_safetensors(Path(folder, WEIGHTS)), model.device)
    where, ours = places(model), linears(model)
    made: dict[str, LoRALinear] = {}
    pairs, others = sorted_out(tensors)
    learned = whole(model, config, others)
    for published in pairs:
        if published not in where:
            hint = near(published, {name: [name] for name in where})
            raise KeyError(f"{folder} adapts {published}, which is no Linear of this {model.origin.model_type}; {hint}")
        a, b = tensors[BEFORE + published + A], tensors[BEFORE + published + B]
        rank, scale = rank_and_scale(config, published)
        inside = where[published]
        shapes = ((rank, ours[next(iter(inside))].in_features), (sum(map(len, inside.values())), rank))
        if (tuple(a.shape), tuple(b.shape)) != shapes:
            expected = f"{list(shapes[0])} and {list(shapes[1])}"
            raise ValueError(f"{folder}: A and B of {published} must be {expected}, got {[*a.shape]} and {[*b.shape]}")
        for name, rows in inside.items():
            made[name] = adapted(ours[name], scale, config.get("lora_dropout", 0.0), a, b[rows])
    if twice := sorted(adapters(model).keys() & made):
        raise ValueError(f"{twice[0]} has an adapter already; merge it first")
    model.requires_grad_(False)
    for name, part in made.items():
        model.network.set_submodule(name, part)
    for name, tensor in learned.items():
        model.network.get_parameter(name).requires_grad_(True).data.copy_(tensor)
    return list(made)


def whole(model: Model, config: Mapping[str, Any], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of our head that a folder holds whole. Raises KeyError or ValueError for any other."""
    said = config.get("modules_to_save") or ()
    if odd := [name for name in theirs if not any(f".{part}." in f".{name}" for part in said)]:
        raise KeyError(f"{WEIGHTS} holds {odd[0]}, which is not built; only {A[1:]} with {B[1:]} is, and a whole head")
    ours = load(model.format.table(model.network.config), theirs)
    shapes = {name: p.shape for name, p in model.network.named_parameters() if name.startswith("head.")}
    for name, tensor in ours.items():
        if shapes.get(name) != tensor.shape:
            raise ValueError(f"{WEIGHTS} holds {name} of {[*tensor.shape]} whole; this head has {shapes or 'nothing'}")
    return ours


def adapted(linear: nn.Linear, scale: float, dropout: float, a: Tensor, b: Tensor) -> LoRALinear:
    """A Linear with a given adapter."""
    part = LoRALinear(linear, len(a), scale, dropout)
    part.lora_a.data.copy_(a)
    part.lora_b.data.copy_(b)
    return part


def read_config(path: Path) -> dict[str, Any]:
    """Their config, if it asks for nothing but LoRA as it is built here."""
    config = read_json(path)
    if config.get("peft_type") != "LORA":
        raise ValueError(f"{path}: peft_type is {config.get('peft_type')!r}; only 'LORA' is built")
    usual = {"bias": "none"}
    odd = {k: v for k, v in config.items() if k not in KEPT and v and v != usual.get(k)}
    if config.get("init_lora_weights", True) not in BEGINNINGS:
        odd["init_lora_weights"] = config["init_lora_weights"]  # it changed the model's own weights
    if odd:
        raise ValueError(f"{path} asks for what is not built: {', '.join(f'{k} = {v!r}' for k, v in odd.items())}")
    numbers = {key: config.get(key) for key in ("r", "lora_alpha")}
    for key in ("rank_pattern", "alpha_pattern"):
        for pattern, value in (config.get(key) or {}).items():
            if not re.fullmatch(r"\^?(\w|\\?[.-])+", pattern):
                raise ValueError(f"{path}: {key} is read for names of parts, with or without a ^ before: {pattern!r}")
            numbers[f"{key} of {pattern}"] = value
    for name, value in numbers.items():
        if not isinstance(value, int | float) or value <= 0:
            raise ValueError(f"{path}: {name} must be a positive number, got {value!r}")
    return config


def rank_and_scale(config: Mapping[str, Any], published: str) -> tuple[int, float]:
    """An adapter's rank and the factor before its product."""
    rank = of_pattern(config.get("rank_pattern") or {}, published, config["r"])
    alpha = of_pattern(config.get("alpha_pattern") or {}, published, config["lora_alpha"])
    return rank, alpha / (rank**0.5 if config.get("use_rslora") else rank)


def of_pattern(patterns: Mapping[str, Any], published: str, usual: Any) -> Any:
    """The value for a part: of the first name in ``patterns`` that it has or ends with, else the usual one."""
    for pattern, value in patterns.items():
        name = pattern.removeprefix("^").replace("\\", "")
        if published == name or (pattern[0] != "^" and published.endswith(f".{name}")):
            return value
    return usual


def sorted_out(tensors: Tensors) -> tuple[list[str], dict[str, Tensor]]:
    """The published names of the parts that have both matrices, and the tensors that are no such matrix."""
    halves = {end: {n.removeprefix(BEFORE).removesuffix(end) for n in tensors if n.endswith(end)} for end in (A, B)}
    both = halves[A] & halves[B]
    known = {BEFORE + name + end for name in both for end in (A, B)}
    return sorted(both), {n.removeprefix(BEFORE): tensors[n] for n in tensors if n not in known}


def write(model: Model, folder: str | Path, base: str | None = None) -> None:
    """Write a model's adapters as a folder that :func:`read` and PEFT read; ``base`` says what model they are for.

    Raises ValueError when there is none, or when anything else than the head learns beside them."""
    found = adapters(model)
    if not found:
        raise ValueError("there is no adapter to write")
    head = learned_head(model)
    tensors = {BEFORE + name: tensor for name, tensor in head.items()}
    ranks, alphas = {}, {}
    for published, inside in places(model).items():
        parts = {name: rows for name, rows in inside.items() if name in found}
        if parts:
            scale, a, b = joined([(found[n], rows) for n, rows in parts.items()], sum(map(len, inside.values())))
            tensors |= {BEFORE + published + A: a, BEFORE + published + B: b}
            ranks[published], alphas[published] = len(a), round(scale * len(a), 12)
    first = next(iter(ranks))
    config = {
        "peft_type": "LORA", "base_model_name_or_path": base, "bias": "none", "fan_in_fan_out": flipped(model),
        "inference_mode": True, "init_lora_weights": True, "lora_dropout": next(iter(found.values())).dropout.p,
        "r": ranks[first], "lora_alpha": alphas[first], "target_modules": sorted(ranks), "use_rslora": False,
        "rank_pattern": {re.escape(n): r for n, r in ranks.items() if r != ranks[first]},
        "alpha_pattern": {re.escape(n): alpha for n, alpha in alphas.items() if alpha != alphas[first]},
        "modules_to_save": sorted({name.rpartition(".")[0] for name in head}) or None,
        "task_type": TASKS.get(model.kind) if model.network.config.head == "lm" else None,
    }  # fmt: skip
    with write_folder(folder) as fresh:
        write_json(fresh / CONFIG, config)
        write_safetensors(fresh / WEIGHTS, tensors, {"format": "pt"})


def learned_head(model: Model) -> dict[str, Tensor]:
    """The parameters of the head's parts that learn, as the published model has them."""
    every = {n: p for n, p in model.network.named_parameters() if ".lora_" not in n}
    learning = [name for name, parameter in every.items() if parameter.requires_grad]
    if odd := [name for name in learning if not name.startswith("head.")]:
        raise ValueError(f"{odd[0]} learns, too, and an adapter has no place for it; merge, and save the model")
    parts = {name.rpartition(".")[0] for name in learning}
    ours = {name: p.detach() for name, p in every.items() if name.rpartition(".")[0] in parts}
    return model.format.save(model.network.config, ours)


def joined(parts: list[tuple[LoRALinear, Tensor]], outputs: int) -> tuple[float, Tensor, Tensor]:
    """One adapter of several that are one Linear in the published format, each for its rows: scale, A and B."""
    head, _ = parts[0]
    if all(torch.equal(part.lora_a, head.lora_a) and part.scale == head.scale for part, _ in parts):
        b = head.lora_b.new_zeros(outputs, head.rank)
        for part, rows in parts:
            b[rows] = part.lora_b.detach()
        return head.scale, head.lora_a.detach(), b
    a = torch.cat([part.lora_a.detach() for part, _ in parts])
    b = head.lora_b.new_zeros(outputs, len(a))
    at = 0
    for part, rows in parts:
        b[rows, at : at + part.rank] = part.lora_b.detach() * (part.scale / head.scale)
        at += part.rank
    return head.scale, a, b


def flipped(model: Model) -> bool:
    """Whether the published format holds Linears transposed."""
    columns = {f"{name}.weight": torch.empty(part.out_features, 1) for name, part in linears(model).items()}
    saved = model.format.save(model.network.config, columns)
    return any(t.shape[0] == 1 and t.shape[1] > 1 for t in saved.values())
