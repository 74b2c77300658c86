"""Blocks as :mod:`..compiled.step` takes them: which of them it knows, and what it is given of each."""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..compiled import LAYER, NONE, RMS
from ..kernels import Softmax
from ..kernels.product import NUMBERS, Weight, flat, numbers_of, readable
from ..parts import MLP, Attention, Block, GatedMLP, LayerNorm, OutputNorm, PostNorm, PreNorm, RMSNorm
from ..parts.blocks import ParallelBlock, SandwichNorm
from ..parts.feedforward import ACTIVATIONS
from ..parts.linear import Linear
from ..parts.quantized import QuantizedLinear
from ..parts.rotary import Rotary

LINEARS = {Linear, QuantizedLinear}
KNOWN = LINEARS | {Attention, Softmax, Rotary, MLP, GatedMLP, LayerNorm, RMSNorm, nn.Dropout, nn.Sequential}
NOTHING, TRAINING = torch.empty(0), attrgetter("training")


@dataclass(eq=False)
class Layer:
    """A block as the kernel takes it; layers that have one ``kind`` differ in nothing but where their numbers lie."""

    modules: list[nn.Module]
    own: Attention
    cross: Attention | None
    parts: tuple[Any, ...]  # what the kernel takes for its attentions and its feed-forward network
    size: int
    kind: int

    def __post_init__(self) -> None:
        self.hooks = [hooks for m in self.modules for hooks in (m._forward_hooks, m._forward_pre_hooks)]

    @property
    def usual(self) -> bool:
        """Whether nobody looks at it or changes what it does, and it does not train."""
        return not (any(self.hooks) or any(map(TRAINING, self.modules)))


def layer_of(block: nn.Module, kinds: dict[Any, int]) -> Layer | None:
    """A block of an attention, perhaps one to a memory, and a feed-forward network; None for any other."""
    apart, shared = type(block) is ParallelBlock, block.norm if isinstance(block, ParallelBlock) else None
    steps = [step for step in block.children() if step is not shared]
    known = PreNorm if apart else PreNorm | PostNorm
    if not (apart or type(block) is Block) or len(steps) < 2 or not all(isinstance(step, known) for step in steps):
        return None
    parts: list[Any] = [step.sublayer for step in steps]
    own, *cross, mlp = parts
    norms: list[Any] = [norms_of(step, shared) for step in steps]
    attentions = [own, *cross]
    if not (
        len(cross) < (1 if apart else 2)
        and all(isinstance(a, Attention) for a in attentions)
        and isinstance(mlp, MLP)
        and None not in norms
        and not own.cross
        and all(a.cross and a.rotary is None for a in cross)
        and all(type(m) in KNOWN for sublayer in (*attentions, mlp) for m in sublayer.modules())
        and all(a.relative is None for a in attentions)
        and all(a.kernel.how == "auto" for a in attentions)
        and own.head_dim % 16 == 0
        and mlp.name in ACTIVATIONS
    ):
        return None
    gate = mlp.gate if isinstance(mlp, GatedMLP) else None
    projections = [projections_of(a) for a in attentions]
    linears = [m for found, _ in projections for m in found] + [mlp.up, *([gate] if gate else []), mlp.down]
    if any(type(m) not in LINEARS for m in linears) or any(None in found for _, found in projections):
        return None
    weights = [m.packed if isinstance(m, QuantizedLinear) else m.weight for m in linears]
    shapes = {(a.heads, a.kv_heads, a.head_dim) for a in attentions}
    numbers = sum(w.shape[0] * w.shape[1] for w in weights)
    if len(shapes) > 1 or numbers < NUMBERS or not all(map(readable, weights)) or len(set(map(form, weights))) > 1:
        return None
    mixes = [mixing(a, *found, norm) for a, found, norm in zip(attentions, projections, norms, strict=False)]
    turn = own.rotary and (own.rotary.dim, own.rotary.theta, own.rotary.scaling)
    size = sum(numbers_of(w)[1] for w in weights)
    before, *after = norms[-1]
    taken = *mixes, before, feeding(mlp, gate, tuple(after)), apart
    kind = kinds.setdefault((own.heads, own.kv_heads, turn, outline(taken)), len(kinds))
    return Layer(list(block.modules()), own, cross[0] if cross else None, taken, size, kind)


def form(weight: Weight) -> object:
    """What matrices of one kernel have in common."""
    return weight.dtype if isinstance(weight, Tensor) else (weight.bits, weight.group)


def norms_of(step: Any, shared: nn.Module | None) -> tuple[Any, ...] | None:
    """The norms before a sublayer, after it, and of the sum, as the kernel takes them; one may be of all sublayers."""
    none = nn.Identity()
    norms: tuple[nn.Module, ...]
    if type(step) is PreNorm and (shared is None or type(step.norm) is nn.Identity):
        norms = shared or step.norm, none, none
    elif shared is not None:
        return None
    elif type(step) is OutputNorm:
        norms = none, step.norm, none
    elif type(step) is SandwichNorm:
        norms = step.norm, step.after, none
    elif type(step) is PostNorm:
        norms = none, none, step.norm
    else:
        return None
    found = tuple(map(norm_of, norms))
    return None if None in found else found


def norm_of(norm: nn.Module) -> tuple[int, Any, Any, float] | None:
    """A norm as the kernel takes it."""
    if type(norm) is nn.Identity:
        return NONE, flat(NOTHING), flat(NOTHING), 0.0
    if type(norm) is LayerNorm and norm.elementwise_affine:
        bias = NOTHING if norm.bias is None else norm.bias
        return LAYER, flat(norm.weight.float()), flat(bias.float()), norm.eps
    if type(norm) is RMSNorm:
        return RMS, flat(norm.weight.float() + norm.offset), flat(NOTHING), norm.eps
    return None


def matrix(linear: nn.Linear) -> tuple[Any, Any]:
    """The numbers of a product, and its bias."""
    weight = linear.packed if isinstance(linear, QuantizedLinear) else linear.weight
    return numbers_of(weight)[0], flat(NOTHING if linear.bias is None else linear.bias.float())


def projected(linear: nn.Module, norm: nn.Module | None) -> tuple[nn.Module, Any]:
    """A map, and the norm of what it gives: of each head, or of all at once (OLMo 2)."""
    if isinstance(linear, nn.Sequential) and len(linear) == 2 and norm is None:
        linear, norm = linear
    return linear, norm_of(norm or nn.Identity())


def projections_of(a: Attention) -> tuple[list[Any], list[Any]]:
    """The maps to q, k, v and back, and the norms of q and k, if its keys are not made elsewhere."""
    (q, q_norm), (k, k_norm) = projected(a.q, a.q_norm), projected(a.k, a.k_norm)
    return [q, k, a.v, a.o], [q_norm, norm_of(nn.Identity()) if a.cross else k_norm]


def mixing(a: Attention, linears: list[Any], inner: list[Any], norms: Any) -> tuple[Any, ...]:
    """What the kernel takes for an attention."""
    return (*norms, *inner), *zip(*map(matrix, linears), strict=True), not a.cross, a.kernel.scale


def feeding(mlp: MLP, gate: nn.Linear | None, norms: Any) -> tuple[Any, ...]:
    """What the kernel takes for a feed-forward network."""
    up, down = matrix(mlp.up), matrix(mlp.down)
    middle = ((up[0][0][:0], up[0][1][:0], 0), flat(NOTHING)) if gate is None else matrix(gate)
    matrices, biases = zip(up, middle, down, strict=True)
    return mlp.up.out_features, norms, matrices, biases, list(ACTIVATIONS).index(mlp.name)


def outline(part: Any) -> Any:
    """What must be the same in the parts of layers that go together: types, and the sizes of arrays."""
    if isinstance(part, tuple):
        return tuple(map(outline, part))
    return (part.dtype, part.size) if isinstance(part, np.ndarray) else type(part)
