"""What an architecture is, said in the field's words: read off the parts, printed as a blueprint, compared."""

from collections.abc import Iterable

from torch import nn

from .kernels import Additive, Softmax
from .model import Model
from .parts import (
    MLP,
    ALiBi,
    Attention,
    Block,
    GatedMLP,
    LayerNorm,
    Learned,
    MixtureOfExperts,
    Network,
    OutputNorm,
    ParallelBlock,
    PostNorm,
    PreNorm,
    RelativeBias,
    RMSNorm,
    Rotary,
    SandwichNorm,
    Sinusoidal,
    Stack,
    Unembed,
)
from .scores import CAUSAL, FULL, Band, Mask

ACTS = {"gelu": "GELU", "gelu_tanh": "GELU (tanh)", "gelu_quick": "GELU (sigmoid)", "relu": "ReLU", "silu": "SiLU"}
SCORES: dict[type[nn.Module], str] = {Additive: "additive scores (Bahdanau)", Softmax: "products as scores (Luong)"}
PLACES = {
    PreNorm: "before each sublayer",
    PostNorm: "after each residual sum",
    OutputNorm: "on each sublayer's output",
    SandwichNorm: "before and after each sublayer",
}


def traits(model: Model | Network) -> dict[str, str]:
    """Name -> value of everything that distinguishes one architecture from another, sizes last."""
    network = model.network if isinstance(model, Model) else model
    modules = list(network.modules())
    attentions = [m for m in modules if isinstance(m, Attention)]
    found = {
        "kind": network.kind,
        "attention": each(masking(m) for m in modules if isinstance(m, Stack)),
        "heads": each(sharing(a) for a in attentions),
        "cells": each(m.mode.split("_")[0] for m in modules if isinstance(m, nn.RNNBase)),
        "alignment": "" if attentions else each(SCORES[type(m)] for m in modules if type(m) in SCORES),
        "positions": positions(modules),
        "norm": each(norm(m) for m in modules if isinstance(m, LayerNorm | RMSNorm)),
        "norms stand": each(PLACES[type(m)] for m in modules if type(m) in PLACES),
        "sublayers": each(order(m) for m in modules if isinstance(m, Block)),
        "feed-forward": each(feed(m) for m in modules if isinstance(m, MLP)),
        "experts": each(f"{len(m.experts)}, {m.top} per token" for m in modules if isinstance(m, MixtureOfExperts)),
        "biases": biases(attentions, modules),
        "query and key norm": each(type(a.q_norm).__name__ for a in attentions if a.q_norm is not None),
        "score scale": each(scale(a) for a in attentions),
        "output": each(output(m) for m in modules if isinstance(m, Unembed)),
    }
    return {k: v for k, v in (found | sizes(network, attentions)).items() if v}


def each(values: Iterable[str]) -> str:
    """The different values, in order of appearance."""
    return ", ".join(dict.fromkeys(values))


def masking(stack: Stack) -> str:
    masks = [stack.mask] if isinstance(stack.mask, Mask) else dict.fromkeys(stack.mask)
    return " / ".join(said(mask) for mask in masks)


def said(mask: Mask) -> str:
    """A mask in words where the field has some."""
    if mask == FULL:
        return "both ways"
    if mask == CAUSAL:
        return "causal"
    if isinstance(mask, Band) and mask.after == 0:
        return f"causal, window {int(mask.before) + 1}"
    return repr(mask)


def sharing(a: Attention) -> str:
    if a.kv_heads == a.heads:
        return "own keys and values"
    return "one key head for all (multi-query)" if a.kv_heads == 1 else f"{a.heads // a.kv_heads} share keys (grouped)"


def positions(modules: list[nn.Module]) -> str:
    """Every way in which tokens are told where they stand."""
    words = []
    for m in modules:
        match m:
            case Learned():
                words.append("learned")
            case Sinusoidal():
                words.append("sinusoidal")
            case Rotary():
                words.append("rotary" + (f", {m.scaling.kind} scaling" if m.scaling else ""))
            case ALiBi():
                words.append("ALiBi (linear biases)")
            case RelativeBias():
                words.append("relative buckets (T5)")
            case Attention() if m.relative is not None and not isinstance(m.relative, RelativeBias):
                words.append(f"{type(m.relative).__name__.lower()} relative")
    return each(words) or "none"


def norm(m: nn.Module) -> str:
    return "LayerNorm" if isinstance(m, LayerNorm) else "RMSNorm" + (" (1 + weight)" if m.offset else "")


def order(block: Block) -> str:
    names = [name for name, step in block.named_children() if not isinstance(step, LayerNorm | RMSNorm)]
    return (" beside " if isinstance(block, ParallelBlock) else ", then ").join(names)


def feed(m: MLP) -> str:
    act = ACTS.get(m.name, m.name)
    return f"gated {act}" if isinstance(m, GatedMLP) else f"{act} MLP"


def biases(attentions: list[Attention], modules: list[nn.Module]) -> str:
    """Which projections have one."""
    linear = lambda m: m[0] if isinstance(m, nn.Sequential) else m
    named = each(n for a in attentions for n in "qkvo" if linear(getattr(a, n)).bias is not None).replace(", ", " ")
    inner = any(m.up.bias is not None for m in modules if isinstance(m, MLP))
    return " and ".join(filter(None, [named, "feed-forward" if inner else ""])) or "none"


def scale(a: Attention) -> str:
    return "1/√d" if abs(a.kernel.scale - a.head_dim**-0.5) < 1e-9 else f"{a.kernel.scale:.4g}"


def output(m: Unembed) -> str:
    words = ["tied to the embedding" if m.tied[0] is not None else "a matrix of its own"]
    return " ".join(words + (["with bias"] if m.bias is not None else []) + ([f"capped at {m.cap:g}"] if m.cap else []))


def sizes(network: Network, attentions: list[Attention]) -> dict[str, str]:
    """The numbers: of the config where it has them, else of the parts."""
    c, stacks = network.config, [m for m in network.modules() if isinstance(m, Stack)]
    mlps = [m for m in network.modules() if isinstance(m, MLP)]
    rotaries = [m for m in network.modules() if isinstance(m, Rotary)]
    numbers = {
        "vocabulary": f"{c.vocab:,}",
        "layers": " + ".join(str(len(s.order)) for s in stacks),
        "width": f"{c.width:,}",
        "head count": each(shape(a) for a in attentions),
        "hidden width": each(f"{m.up.out_features:,}" for m in mlps),
        "rotary base": each(f"{r.theta:,.0f} over {r.dim} of each head" for r in rotaries),
        "position table": each(f"{m.length:,}" for m in network.modules() if isinstance(m, Learned)),
    }
    return {k: v for k, v in numbers.items() if v}


SIZES = ("vocabulary", "layers", "width", "head count", "hidden width", "rotary base", "position table")


def blueprint(model: Model | Network) -> str:
    """The traits, one per line."""
    found = traits(model)
    wide = max(map(len, found))
    return "\n".join(f"{name:<{wide}}  {value}" for name, value in found.items())


def shape(a: Attention) -> str:
    return f"{a.heads} x {a.head_dim}" + (f", {a.kv_heads} of keys" if a.kv_heads != a.heads else "")


Difference = tuple[str, str, str]


def differences(a: Model | Network, b: Model | Network) -> tuple[list[Difference], list[Difference]]:
    """``(trait, a's, b's)`` where they differ: what distinguishes the architectures, then the sizes."""
    one, two = traits(a), traits(b)
    names = [*one, *(n for n in two if n not in one)]
    rows = [(n, one.get(n, "none"), two.get(n, "none")) for n in names if one.get(n) != two.get(n)]
    return [r for r in rows if r[0] not in SIZES], [r for r in rows if r[0] in SIZES]
