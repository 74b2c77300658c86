"""Decoding with little of Python between two tokens: all blocks in one call of :mod:`..compiled.step`.

:class:`Swift` runs the blocks of a stack (:attr:`Cache.run`) for a few new tokens on a CPU that has Numba. What it does
not know, what has hooks, what trains or is on another device runs as always: the modules are the plain version."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..compiled import PHASES
from ..kernels.product import CREW, ROWS, bare, compiled, flat, numba, run
from ..kernels.softmax import lower
from ..parts import Context
from ..parts.context import plainly
from ..parts.rotary import Rotary
from ..scores import OPEN, Rule
from .layers import NOTHING, Layer, layer_of

AHEAD = 64  # slots whose cosines and sines are made before they are needed


@dataclass
class Swift:
    """Runs blocks, as many in one call as are known to be the same; keeps how, for one decoding."""

    layers: dict[nn.Module, Layer | None] = field(default_factory=dict)
    kinds: dict[Any, int] = field(default_factory=dict)
    weights: dict[tuple[Layer, ...], Any] = field(default_factory=dict)  # what the kernel takes for blocks,
    kept: dict[tuple[Layer, ...], tuple[list[Any], Any, Any]] = field(default_factory=dict)  # and for what they keep
    turned: dict[Any, tuple[int, int, Tensor, Tensor]] = field(default_factory=dict)  # cosines and sines from a slot on

    def __call__(self, blocks: Sequence[nn.Module], contexts: Sequence[Context], x: Tensor) -> Tensor:
        if not fits(x, contexts[0]):
            return plainly(blocks, contexts, x)
        self.layers.update({block: layer_of(block, self.kinds) for block in blocks if block not in self.layers})
        pairs = list(zip(blocks, contexts, strict=True))
        key = lambda pair: (id(pair[1]), layer.kind) if (layer := self.layer(pair[0])) else None
        for kind, some in groupby(pairs, key):
            group = list(some)
            if kind is None:
                x = plainly([block for block, _ in group], [ctx for _, ctx in group], x)
            else:
                found = tuple(layer for block, _ in group if (layer := self.layers[block]))
                y = x.to(torch.float32, copy=True).contiguous()
                self.run(found, y, group[0][1], x.dtype)
                x = y.to(x.dtype)
        return x

    def layer(self, block: nn.Module) -> Layer | None:
        """How a block is run now; None: as always."""
        layer = self.layers[block]
        return layer if layer is not None and layer.usual else None

    def run(self, layers: tuple[Layer, ...], x: Tensor, ctx: Context, dtype: torch.dtype) -> None:
        """Add blocks to the stream [B, N, D], in place; new keys and values go into the cache as ``dtype``."""
        a, cache, (batch, queries, width) = layers[0].own, ctx.cache, x.shape
        assert cache is not None  # or fits says no
        like = x.new_empty(1, dtype=dtype).expand(batch, a.kv_heads, queries, a.head_dim)
        claims = [cache.claim(layer.own, (like, like), ctx.at, ctx.rule.mask.reach) for layer in layers]
        first = claims[0][2]
        count = ctx.at + queries - first
        shape = batch, a.heads, queries, count
        seen: tuple[Any, ...] = first, count, *added(ctx.rule, x, shape, ctx.at, first)
        kept: list[Any] = [(buffers, begin) for buffers, begin, _ in claims]
        name = "layers"
        if layers[0].cross is not None:
            pairs, memory_seen = self.memory(layers, x, ctx, dtype)
            kept, seen, name = [*kept, *pairs], (seen, memory_seen), "reading_layers"
        if layers not in self.weights:
            self.weights[layers] = table([layer.parts for layer in layers])
        wide = max(width + 2 * (a.heads + a.kv_heads) * a.head_dim, 2 * layers[0].parts[-2][0])
        args = (
            flat(x), width, (batch, queries, a.heads, a.heads // a.kv_heads, a.head_dim), self.turns(a.rotary, x, ctx),
            ctx.at, seen, layers[0].parts, self.weights[layers], *self.places(layers, kept),
            flat(torch.empty(batch * queries * (width + wide))),
        )  # fmt: skip
        kind, phases = (name, sum(layer.size for layer in layers), x.numel()), PHASES * len(layers)
        run(kind, lambda threads: CREW.run(compiled(name), args, threads, phases))

    def memory(
        self, layers: Sequence[Layer], x: Tensor, ctx: Context, dtype: torch.dtype
    ) -> tuple[list[tuple[tuple[Tensor, Tensor], int]], tuple[Any, ...]]:
        """Keys and values of the memory for each layer, and what all see of it."""
        assert ctx.memory is not None  # a network without one has no such layers
        assert ctx.cache is not None
        memory, pairs = ctx.memory.to(dtype), []
        for layer in layers:
            cross = layer.cross
            assert cross is not None  # layers of one kind all have one
            pairs.append((ctx.cache.once(cross, lambda: cross.keys(memory, ctx)), 0))  # noqa: B023 (called at once)
        shape = x.shape[0], layers[0].own.heads, x.shape[1], memory.shape[1]
        return pairs, (0, memory.shape[1], *added(ctx.memory_rule or OPEN, x, shape, ctx.at, 0))

    def turns(self, rotary: nn.Module | None, x: Tensor, ctx: Context) -> tuple[Any, ...]:
        """Cosines and sines of the new tokens, the step from one token's to the next, and how many pairs turn.

        Where they depend on nothing but the slot, those of slots ahead are made, too."""
        if not isinstance(rotary, Rotary):
            return flat(NOTHING), flat(NOTHING), 0, 0
        rows, count, _ = x.shape
        if ctx.positions is None and (rotary.scaling is None or rotary.scaling.kind not in ("dynamic", "longrope")):
            key, at = (rotary.dim, rotary.theta, rotary.scaling), ctx.at
            begin, end, cos, sin = self.turned.get(key, (0, 0, NOTHING, NOTHING))
            if not begin <= at < at + count <= end:
                begin, end = at, at + count + AHEAD
                cos, sin = rotary.table(x.new_empty(1).expand(1, 1, end - begin, rotary.dim), ctx)
                self.turned[key] = begin, end, cos, sin
            cos, sin = (t[:, :, at - begin :][:, :, :count] for t in (cos, sin))
        else:
            cos, sin = rotary.table(x.new_empty(1).expand(rows, 1, count, rotary.dim), ctx)
        cos, sin = (t.expand(rows, -1, -1, -1).contiguous() for t in (cos, sin))
        return flat(cos), flat(sin), cos.shape[-1], cos.shape[-1]

    def places(self, layers: tuple[Layer, ...], kept: list[tuple[tuple[Tensor, ...], int]]) -> tuple[Any, Any]:
        """What one layer keeps, and all of them, made anew where buffers are not those of the last call."""
        known = self.kept.get(layers)
        if known is None or any(a is not b or i != j for (a, i), (b, j) in zip(known[0], kept, strict=True)):
            found = [(*strided(k), *strided(v), begin) for (k, v), begin in kept]
            own, read = found[: len(layers)], found[len(layers) :]
            each: list[Any] = list(zip(own, read, strict=True)) if read else own
            known = self.kept[layers] = kept, each[0], table(each)
        return known[1:]


def fits(x: Tensor, ctx: Context) -> bool:
    """Whether this is a step of decoding on a CPU that has Numba, under rules that are known."""
    return (
        ctx.cache is not None
        and not any(rule.cap is not None and rule.biases for rule in (ctx.rule, ctx.memory_rule or OPEN))
        and x.shape[0] * x.shape[1] <= ROWS
        and x.dtype in (torch.float32, torch.bfloat16)
        and not torch.is_grad_enabled()
        and bare(x)
        and numba()
    )


def table(parts: Sequence[Any]) -> Any:
    """Parts of one outline as a row of int64 each: where arrays lie, and the numbers themselves."""
    return np.array([list(leaves(part)) for part in parts]).ravel()


def leaves(part: Any) -> Iterator[int]:
    if isinstance(part, tuple):
        for one in part:
            yield from leaves(one)
    elif isinstance(part, np.ndarray):
        yield part.__array_interface__["data"][0]
    else:
        yield int(np.float64(part).view(np.int64)) if isinstance(part, float) else int(part)


def strided(x: Tensor) -> tuple[Any, tuple[int, ...]]:
    """The numbers of a tensor [B, H, N, d] as they lie, and the strides of its first three axes."""
    reach = 1 + sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True))
    line = x.as_strided((reach,), (1,))
    return flat(line.view(torch.uint16) if x.dtype == torch.bfloat16 else line), x.stride()[:3]


def added(rule: Rule, x: Tensor, shape: tuple[int, int, int, int], at: int, start: int) -> tuple[float, Any, Any]:
    """What bounds scores [B, H, Q, K] (0: nothing does), what a rule adds to them (nothing where all is seen), and the
    strides of its first three axes."""
    batch, heads, queries, keys = shape
    memo: Any = {} if rule.memo is None else rule.memo
    key = (added, queries, keys, at, start)
    if key not in memo:
        found, causal = lower(rule, x.new_empty(1).expand(batch, heads, queries, 1), keys, at, start)
        if causal and queries > 1:
            found = torch.full((queries, keys), -torch.inf).triu(1)
        memo[key] = (flat(NOTHING), (0, 0, 0)) if found is None else strided(found.contiguous().expand(shape))
    return (rule.cap or 0.0, *memo[key])
