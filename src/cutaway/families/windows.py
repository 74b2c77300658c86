"""Sliding windows of a decoder's layers: as a pattern that repeats, and as published configs write them."""

from collections.abc import Sequence
from typing import Any

from ..names import Group
from ..scores import CAUSAL, Mask, window


def causal(windows: Sequence[int | None], depth: int) -> Mask | list[Mask]:
    """A stack's mask, or one for each layer; ``windows`` are repeated over the layers, None sees all before."""
    if not windows:
        raise ValueError("windows need at least one layer's: (None,) for none, (4096, None) for every other layer")
    masks = [CAUSAL if n is None else window(n) for n in windows]
    return masks[0] if len(masks) == 1 else [masks[i % len(masks)] for i in range(depth)]


def pattern(windows: Sequence[int | None], depth: int) -> tuple[int | None, ...]:
    """The shortest pattern that gives the same windows."""
    each = (tuple(windows) * depth)[:depth]
    return next(each[:n] for n in range(1, depth + 1) if each == (each[:n] * depth)[:depth])


def read(theirs: dict[str, Any]) -> dict[str, Any]:
    """The windows of all layers as their shortest pattern: by ``layer_types``, else from layer
    ``max_window_layers`` on (Qwen), else in every other layer (Gemma 2)."""
    size = theirs.get("sliding_window") if theirs.get("use_sliding_window", True) else None
    depth, first, kinds = theirs["num_hidden_layers"], theirs.get("max_window_layers"), theirs.get("layer_types")
    if kinds is None:
        local = [i % 2 == 0 if first is None else i >= first for i in range(depth)]
    elif len(kinds) != depth or set(kinds) - {"sliding_attention", "full_attention"}:
        raise ValueError(f"layer_types must be {depth} of sliding_attention or full_attention, got {kinds}")
    elif size is None and "sliding_attention" in kinds:
        raise ValueError("layer_types has sliding_attention, but sliding_window is not set, or not used")
    else:
        local = [kind == "sliding_attention" for kind in kinds]
    windows = tuple(size if near else None for near in local)
    return {"windows": pattern(windows, depth)}


def write(c: Any) -> dict[str, Any]:
    """``layer_types``, and the size of the windows if there are any."""
    windows = (c.windows * c.depth)[: c.depth]
    sizes = set(windows) - {None}
    if len(sizes) > 1:
        raise ValueError(f"config.json can say one size of windows, not {sorted(sizes)}")
    types = ["full_attention" if n is None else "sliding_attention" for n in windows]
    return {"layer_types": types, "sliding_window": max(sizes)} if sizes else {"layer_types": types}


def write_switched(c: Any) -> dict[str, Any]:
    """The same, and Qwen's switch."""
    return {"sliding_window": None, "use_sliding_window": any(c.windows), **write(c)}


SAME = Group(
    ("sliding_window",),
    lambda theirs: {"windows": (theirs.get("sliding_window"),)},
    lambda c: {"sliding_window": c.windows[0]},
)
MIXED = Group(("num_hidden_layers", "sliding_window", "layer_types"), read, write)
SWITCHED = Group((*MIXED.keys, "use_sliding_window", "max_window_layers"), read, write_switched)
