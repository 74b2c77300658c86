"""Low-rank adaptation (Hu et al., 2021): a frozen Linear learns by the product of two thin matrices beside it.

Kalajdzievski (2023) divides by √rank instead of the rank."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ...model import Model
from ...quantization import refuse_codes
from .patterns import choose


@dataclass(frozen=True)
class LoRA:
    """What to adapt and how: ``targets`` are patterns of names, ours (``attention.sublayer.q``, ``*.mlp.*``) or the
    published ones (``q_proj``, ``c_attn``); ``rslora`` scales by alpha/√rank instead of alpha/rank.

    Raises ValueError for a rank below 1, a dropout outside [0, 1), and for no targets."""

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("attention.*.q", "attention.*.v")
    dropout: float = 0.0
    rslora: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 <= self.dropout < 1 or not self.targets:
            raise ValueError(f"LoRA needs a rank from 1, a dropout in [0, 1) and targets; this is {self}")

    @property
    def scale(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


class LoRALinear(nn.Linear):
    """``y = W x + b + scale · B A dropout(x)``: a Linear with its own weight and bias, and two matrices more.

    It is made of a Linear, whose parameters it takes over under the same names. ``lora_a`` begins as a Linear does
    (He et al., 2015), ``lora_b`` at 0, both in float32: so at first it computes what the Linear does."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float, dropout: float = 0.0):
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.rank, self.scale, self.dropout = rank, scale, nn.Dropout(dropout)
        new = lambda *shape: nn.Parameter(linear.weight.new_zeros(shape, dtype=torch.float32))
        self.lora_a, self.lora_b = new(rank, linear.in_features), new(linear.out_features, rank)
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))
        self.train(linear.training)

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        y = super().forward(x)
        low = F.linear(self.dropout(x).to(self.lora_a.dtype), self.lora_a)
        return (y + F.linear(low, self.lora_b) * self.scale).to(y.dtype)

    def merged(self) -> nn.Linear:
        """One Linear that computes the same, ``W + scale · B A``, added in float32."""
        linear = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        weight = self.weight.float() + self.scale * (self.lora_b @ self.lora_a)
        linear.weight, linear.bias = nn.Parameter(weight.to(self.weight.dtype), self.weight.requires_grad), self.bias
        return linear.train(self.training)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank={self.rank}, scale={self.scale:g}"


def linears(model: Model) -> dict[str, nn.Linear]:
    """The Linears of a model's network by name, adapted or not. Raises ValueError for a quantised model."""
    refuse_codes(model)
    return {name: part for name, part in model.network.named_modules() if isinstance(part, nn.Linear)}


def adapters(model: Model) -> dict[str, LoRALinear]:
    """The adapted Linears of a model's network by name."""
    return {name: part for name, part in model.network.named_modules() if isinstance(part, LoRALinear)}


def places(model: Model) -> dict[str, dict[str, Tensor]]:
    """The published format's Linears: their name -> the names of ours in it -> which of its outputs are theirs.

    Layouts reorder outputs, never inputs: so numbers in place of the weights' rows show where each row goes."""
    ours = linears(model)
    names, most = list(ours), max(part.out_features for part in ours.values())
    numbers = {f"{n}.weight": torch.arange(ours[n].out_features) + i * most for i, n in enumerate(names)}
    their: dict[str, dict[str, Tensor]] = {}
    for published, mixed in model.format.save(model.network.config, numbers).items():
        owner, row = mixed // most, mixed % most
        at = {names[i]: (owner == i).nonzero().flatten() for i in owner.unique().tolist()}
        their[published.removesuffix(".weight")] = {name: rows[row[rows].argsort()] for name, rows in at.items()}
    return their


def spellings(model: Model) -> dict[str, list[str]]:
    """The Linears of a model's network by name -> that name and the published one."""
    names = {name: [name] for name in linears(model)}
    for published, inside in places(model).items():
        for name in inside:
            names[name].append(published)
    return names


def add(model: Model, lora: LoRA) -> list[str]:
    """Freeze a model and adapt the Linears that ``lora`` targets; returns their names.

    What else shall learn, a new head for one, is said with ``unfreeze``. Raises ValueError for a target that fits no
    Linear, and for a Linear that is adapted already."""
    chosen = choose(spellings(model), lora.targets, "Linear")
    if twice := sorted(adapters(model).keys() & chosen):
        raise ValueError(f"{twice[0]} has an adapter already; merge it first")
    model.requires_grad_(False)
    for name in chosen:
        linear = model.network.get_submodule(name)
        assert isinstance(linear, nn.Linear)  # only these were to choose from
        model.network.set_submodule(name, LoRALinear(linear, lora.rank, lora.scale, lora.dropout))
    return chosen


@torch.no_grad()
def merge(model: Model) -> None:
    """Make the adapters part of the weights, equal up to rounding; the model is then as it was published.

    Raises ValueError when there is none."""
    found = adapters(model)
    if not found:
        raise ValueError("there is no adapter to merge")
    for name, part in found.items():
        model.network.set_submodule(name, part.merged())


@torch.no_grad()
def dense(model: Model) -> dict[str, Tensor]:
    """The network's tensors as they would be with its adapters merged; those of a model without are its own."""
    tensors = model.network.state_dict()
    for name, part in adapters(model).items():
        tensors[f"{name}.weight"] = part.merged().weight
        del tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]
    return tensors
