"""Decoding with little of Python between two tokens: a residual step in one call of :mod:`.compiled.step`.

:class:`Swift` runs the blocks of a stack (:attr:`Context.run`) for a few new tokens on a CPU that has Numba. What it
does not know, what has hooks, what trains or is on another device runs as always: the modules are the plain version."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .kernels import Softmax
from .kernels.product import NUMBERS, ROWS, compiled, flat, numba, numbers_of, readable, run
from .kernels.softmax import lower
from .parts import MLP, Attention, Block, Context, GatedMLP, LayerNorm, OutputNorm, PostNorm, PreNorm, RMSNorm
from .parts.blocks import SandwichNorm
from .parts.context import plainly
from .parts.feedforward import ACTIVATIONS
from .parts.linear import Linear
from .parts.quantized import QuantizedLinear
from .parts.rotary import Rotary
from .scores import OPEN, Rule

Norm = tuple[int, Any, Any, float]
KNOWN = {Attention, Softmax, Rotary, MLP, GatedMLP, Linear, QuantizedLinear, nn.Dropout}
RESIDUAL = {PreNorm, OutputNorm, SandwichNorm, PostNorm}
NONE, LAYER, RMS = range(3)  # kinds of norm
NOTHING = torch.empty(0)


@dataclass
class Swift:
    """How blocks are run: their steps in one call each, where that is known; ``steps`` keeps how, for one decoding."""

    steps: dict[nn.Module, "Feeding | Mixing | None"] = field(default_factory=dict)
    stream: Tensor | None = None  # what the last block returned, which is nobody else's

    def __call__(self, block: Any, x: Tensor, ctx: Context) -> Tensor:
        if type(block) is not Block or watched(block) or not (x is self.stream or fits(x, ctx)):
            return plainly(block, x, ctx)
        dtype, y = x.dtype, x if x is self.stream and x.dtype == torch.float32 else None
        for step in block.children():
            if step not in self.steps:
                self.steps[step] = plan(step)
            found = self.steps[step]
            if found is None or not found.fits(ctx):
                x, y = step(x if y is None else y.to(dtype), ctx), None
            else:
                y = x.to(torch.float32, copy=True).contiguous() if y is None else y
                found(y, ctx, dtype)
        self.stream = x if y is None else y.to(dtype)
        return self.stream


def fits(x: Tensor, ctx: Context) -> bool:
    """Whether this is a step of decoding on a CPU that has Numba."""
    return (
        ctx.cache is not None
        and x.shape[0] * x.shape[1] <= ROWS
        and x.device.type == "cpu"
        and type(x) is Tensor
        and x.dtype in (torch.float32, torch.bfloat16)
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and numba()
    )


def watched(module: nn.Module) -> bool:
    """Whether somebody looks at a module or changes what it does, or it trains."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module.training)


def plan(step: nn.Module) -> "Feeding | Mixing | None":
    """How a residual step runs in one call; None if that is not known."""
    none: nn.Module = nn.Identity()
    norms: tuple[nn.Module, ...]
    match step:
        case SandwichNorm():
            norms = step.norm, step.after, none
        case OutputNorm():
            norms = none, step.norm, none
        case PreNorm():
            norms = step.norm, none, none
        case PostNorm():
            norms = none, none, step.norm
        case _:
            return None
    read, inside = [norm for norm in map(norm_of, norms) if norm is not None], step.sublayer
    if type(step) not in RESIDUAL or len(read) < 3 or not all(type(m) in KNOWN for m in inside.modules()):
        return None
    if isinstance(inside, Attention):
        parts = matrices(inside.q, inside.k, inside.v, inside.o)
        known = parts is not None and inside.q_norm is None and inside.k_norm is None and inside.relative is None
        usual = inside.head_dim % 16 == 0 and inside.kernel.how == "auto" and not (inside.cross and inside.rotary)
        return Mixing(step, inside, read, *parts) if known and usual and parts is not None else None
    if isinstance(inside, MLP) and inside.name in ACTIVATIONS:
        gate = [inside.gate] if isinstance(inside, GatedMLP) else []
        parts = matrices(inside.up, *gate, inside.down)
        return None if parts is None else Feeding(step, inside, read, *parts)
    return None


def norm_of(norm: nn.Module) -> Norm | None:
    """A norm as the kernel takes it."""
    if type(norm) is nn.Identity:
        return NONE, flat(NOTHING), flat(NOTHING), 0.0
    if type(norm) is LayerNorm and norm.elementwise_affine:
        bias = NOTHING if norm.bias is None else norm.bias
        return LAYER, flat(norm.weight.float()), flat(bias.float()), norm.eps
    if type(norm) is RMSNorm:
        return RMS, flat(norm.weight.float() + norm.offset), flat(NOTHING), norm.eps
    return None


def matrices(*linears: nn.Module) -> tuple[list[Any], int] | None:
    """Matrices and biases one after the other, and their bytes; None if one cannot be read, or all are small."""
    found, size, numbers = [], 0, 0
    for linear in linears:
        assert isinstance(linear, nn.Linear)  # the only kind that the steps are made of
        weight = linear.packed if isinstance(linear, QuantizedLinear) else linear.weight
        if not readable(weight):
            return None
        bits, more = numbers_of(weight)
        found += [bits, flat(NOTHING if linear.bias is None else linear.bias.float())]
        size, numbers = size + more, numbers + linear.in_features * linear.out_features
    return (found, size) if numbers >= NUMBERS else None


class Feeding:
    """A step with a feed-forward network."""

    def __init__(self, step: nn.Module, mlp: MLP, norms: list[Norm], parts: list[Any], size: int):
        none = (parts[0][0][:0], parts[0][1][:0], 0), flat(NOTHING)
        up, down = parts[:2], parts[-2:]
        gate = parts[2:4] if isinstance(mlp, GatedMLP) else none
        self.modules, self.size = list(step.modules()), size
        self.sizes = mlp.up.in_features, mlp.up.out_features
        self.args = tuple(norms), *up, *gate, *down, list(ACTIVATIONS).index(mlp.name)

    def fits(self, ctx: Context) -> bool:
        return not any(map(watched, self.modules))

    def __call__(self, x: Tensor, ctx: Context, dtype: torch.dtype) -> None:
        """Add the step to the stream [B, N, D], in place."""
        run(compiled("feed"), self.size, flat(x), x.shape[0] * x.shape[1], *self.sizes, *self.args)


class Mixing:
    """A step with an attention; the keys and values of new tokens go into the cache as ``dtype``."""

    def __init__(self, step: nn.Module, a: Attention, norms: list[Norm], parts: list[Any], size: int):
        self.a, self.size, self.modules = a, size, list(step.modules())
        self.args = tuple(norms), *parts, not a.cross
        self.kept: tuple[Any, ...] = ()  # the buffers of the last call
        self.read: tuple[Any, ...] = ()  # and their numbers

    def fits(self, ctx: Context) -> bool:
        rule = (ctx.memory_rule or OPEN) if self.a.cross else ctx.rule
        return rule.cap is None and not any(map(watched, self.modules))

    def __call__(self, x: Tensor, ctx: Context, dtype: torch.dtype) -> None:
        """Add the step to the stream [B, N, D], in place."""
        a, cache, (batch, queries, width) = self.a, ctx.cache, x.shape
        buffers: tuple[Tensor, ...]
        assert cache is not None
        if a.cross:
            assert ctx.memory is not None
            memory, rule, at, start = ctx.memory.to(dtype), ctx.memory_rule or OPEN, 0, 0
            buffers = cache.once(a, lambda: a.keys(memory, ctx))
            first, keys = 0, buffers[0].shape[2]
        else:
            rule = ctx.rule
            like = x.new_empty(1, dtype=dtype).expand(batch, a.kv_heads, queries, a.head_dim)
            buffers, begin, start = cache.claim(a, (like, like), ctx.at, rule.mask.reach)
            at, first, keys = ctx.at - begin, start - begin, ctx.at + queries - start
        if buffers is not self.kept:
            self.kept, self.read = buffers, (*strided(buffers[0]), *strided(buffers[1]))
        extra = added(rule, x, (batch, a.heads, queries, keys), ctx.at, start)
        sizes = batch, queries, a.heads, a.heads // a.kv_heads, a.head_dim
        run(
            compiled("mix"), self.size, flat(x), width, sizes, *self.args, *turns(a.rotary, x, ctx), *self.read, at,
            first, keys, *extra, a.kernel.scale,
        )  # fmt: skip


def strided(x: Tensor) -> tuple[Any, tuple[int, ...]]:
    """The numbers of a tensor [B, H, N, d] as they lie, and the strides of its first three axes."""
    reach = 1 + sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True))
    line = x.as_strided((reach,), (1,))
    return flat(line.view(torch.uint16) if x.dtype == torch.bfloat16 else line), x.stride()[:3]


def turns(rotary: nn.Module | None, x: Tensor, ctx: Context) -> tuple[Any, ...]:
    """Cosines and sines of the new tokens, the step from one token's to the next, and how many pairs turn."""
    if not isinstance(rotary, Rotary):
        return flat(NOTHING), flat(NOTHING), 0, 0

    def table() -> tuple[Any, ...]:
        cos, sin = rotary.table(x.new_empty(1).expand(x.shape[0], 1, x.shape[1], rotary.dim), ctx)
        cos, sin = (t.expand(x.shape[0], -1, -1, -1).contiguous() for t in (cos, sin))
        return flat(cos), flat(sin), cos.shape[-1], cos.shape[-1]

    return ctx.once((turns, rotary.dim, rotary.theta, rotary.scaling), table)


def added(rule: Rule, x: Tensor, shape: tuple[int, int, int, int], at: int, start: int) -> tuple[Any, Any]:
    """What a rule adds to scores [B, H, Q, K], and the strides of its first three axes; nothing where all is seen."""
    batch, heads, queries, keys = shape
    memo: Any = {} if rule.memo is None else rule.memo
    key = (added, queries, keys, at, start)
    if key not in memo:
        found, causal = lower(rule, x.new_empty(1).expand(batch, heads, queries, 1), keys, at, start)
        if causal and queries > 1:
            found = torch.full((queries, keys), -torch.inf).triu(1)
        memo[key] = (flat(NOTHING), (0, 0, 0)) if found is None else strided(found.contiguous().expand(shape))
    read: tuple[Any, Any] = memo[key]
    return read
