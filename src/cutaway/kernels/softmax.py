"""``softmax(scale q kᵀ + bias | mask) v`` (Vaswani et al., 2017) four ways, and its weights on demand.

Every function takes the rule and two slots: ``at``, where queries begin, and ``start``, where keys do. A query that
may see nothing gets 0 and finite gradients."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..scores import CAUSAL, FULL, OPEN, Band, Mask, Padding, Rule, as_rule, axes, dense, mods

Queries = Float[Tensor, "B H Q d"]
Keys = Float[Tensor, "B G K d"]
Values = Float[Tensor, "B G K e"]
Mixed = Float[Tensor, "B H Q e"]
ROWS, GRAIN, CELLS = 768, 64, 2**25  # the most queries of a block; the fewest, and its keys' grain; its scores


def weights(
    q: Float[Tensor, "B H R d"], k: Keys, rule: Rule, scale: float, rows: Int[Tensor, " R"], start: int = 0
) -> Float[Tensor, "B H R K"]:
    """The attention weights of the query slots ``rows`` only; ``q`` holds just those rows."""
    return distribute(products(q, k, scale), rule, rows, start)


def products(q: Queries, k: Keys, scale: float) -> Float[Tensor, "B H Q K"]:
    """``scale q kᵀ``"""
    groups = q.shape[1] // k.shape[1]
    return scale * q @ (k if groups == 1 else k.repeat_interleave(groups, 1)).mT


def bounded(s: Tensor, rule: Rule, at: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor | None]:
    """Scores under a rule, biases added and capped, and which of them are seen (None: all).

    ``at`` are the indices of batch, head, query slot and key slot, which broadcast to the shape of ``s``: any block
    of any heads."""
    if rule.biases:
        s = s + rule.bias(*at)
    if rule.cap is not None:
        s = rule.cap * torch.tanh(s / rule.cap)
    return s, None if rule.mask == FULL else rule.mask(*at)


def distribute(
    s: Float[Tensor, "B H R K"], rule: Rule, rows: Int[Tensor, " R"], start: int = 0
) -> Float[Tensor, "B H R K"]:
    """Weights from the scores of query slots ``rows``: ``softmax(s + bias | mask)``; rows that see nothing get 0."""
    batch, heads, _, keys = s.shape
    cols, dtype = torch.arange(start, start + keys, device=s.device), s.dtype
    s, seen = bounded(s, rule, axes(rows, cols, batch, heads))
    s = s.float() if s.dtype in (torch.float16, torch.bfloat16) else s
    if seen is None:
        return s.softmax(-1).to(dtype)
    some = seen.any(-1, keepdim=True)
    s = s.masked_fill(~seen & some, -torch.inf)  # a row that sees nothing stays finite, and is put to 0 below
    return (s.softmax(-1) * some).to(dtype)


def eager(
    q: Queries,
    k: Keys,
    v: Values,
    rule: Rule,
    scale: float,
    at: int = 0,
    start: int = 0,
    dropout: float = 0.0,
) -> Mixed:
    """The formula, written out: holds the whole Q x K matrix."""
    rows = torch.arange(at, at + q.shape[2], device=q.device)
    w = F.dropout(weights(q, k, rule, scale, rows, start), dropout)
    return w @ v.repeat_interleave(q.shape[1] // v.shape[1], 1)


def flag(rule: Rule, at: int, queries: int, start: int, keys: int) -> bool | None:
    """``is_causal``, where that and nothing else says the rule for these slots; None where it takes a mask."""
    band = rule.mask.within(at, queries, start, keys) if isinstance(rule.mask, Band) and not rule.biases else None
    return band == CAUSAL if band == FULL or (band == CAUSAL and at == start and queries == keys) else None


def lower(rule: Rule, q: Tensor, keys: int, at: int, start: int) -> tuple[Tensor | None, bool]:
    """What SDPA is told: ``(mask, is_causal)``. Flags where they can say it, otherwise what is added to the scores."""
    causal = flag(rule, at, q.shape[2], start, keys)
    if causal is not None:
        return None, causal
    memo = {} if rule.memo is None else rule.memo
    key = (q.shape[2], keys, at, start, q.dtype)
    if key not in memo:
        rows, cols = (torch.arange(s, s + n, device=q.device) for s, n in ((at, q.shape[2]), (start, keys)))
        batch, heads = q.shape[:2]
        bias = dense(rule.bias, rows, cols, batch, heads) if rule.biases else torch.zeros((), device=q.device)
        seen = None if rule.mask == FULL else dense(rule.mask, rows, cols, batch, heads)
        memo[key] = (bias if seen is None else bias.masked_fill(~seen, -torch.inf)).to(q.dtype)
    return memo[key], False


def sdpa(
    q: Queries,
    k: Keys,
    v: Values,
    rule: Rule,
    scale: float,
    at: int = 0,
    start: int = 0,
    dropout: float = 0.0,
) -> Mixed:
    """PyTorch's fused kernels (flash, memory-efficient, cuDNN): nothing of size Q x K but a mask that needs it."""
    if rule.cap is not None:
        raise ValueError("sdpa cannot cap scores: use eager, blocks or flex for a rule with a soft cap")
    mask, causal = lower(rule, q, k.shape[2], at, start)
    groups = True if q.shape[1] != k.shape[1] else False  # noqa: SIM210 (a plain bool, also when sizes are traced)
    return F.scaled_dot_product_attention(q, k, v, mask, dropout, causal, scale=scale, enable_gqa=groups)


class Joined(torch.autograd.Function):
    """Neighbouring pieces of ``whole``, from slot ``first`` on, as the view that they are; so are their gradients.

    A slice's gradient would be as large as the whole, and those of all slices together n x n."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, first: int, *pieces: Tensor) -> Tensor:
        ctx.sizes = [piece.shape[2] for piece in pieces]
        return whole[:, :, first : first + sum(ctx.sizes)]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        return None, None, *grads[0].split(ctx.sizes, 2)


def blocks(
    q: Queries,
    k: Keys,
    v: Values,
    rule: Rule,
    scale: float,
    at: int = 0,
    start: int = 0,
    dropout: float = 0.0,
) -> Mixed:
    """Some queries at a time with the keys that they may reach: memory grows with the length, not with its square.

    A block is what ``sdpa``, or ``eager`` under a soft cap, makes of it. Where there are gradients, it is computed once
    more on the way back (Chen et al., 2016), so that no mask is kept."""
    kernel, lone = sdpa if rule.cap is None else eager, replace(rule, memo=None)
    maps = q.shape[0] * (q.shape[1] if rule.biases or rule.cap is not None else 1)
    rows = int(min(ROWS, max(GRAIN, rule.mask.reach + 1), max(16, CELLS // (maps * k.shape[2]))))
    pieces = [(t.detach(), t.split(GRAIN, 2)) for t in (k, v)]
    last = (k.shape[2] - 1) // GRAIN

    def block(part: Tensor, at: int) -> Tensor:
        first, stop = rule.mask.span(at, part.shape[2], start, k.shape[2])
        i = min((first - start) // GRAIN, last)
        j = max((stop - start - 1) // GRAIN, i)  # one piece at least, also where nothing is seen
        keys, values = (Joined.apply(whole, i * GRAIN, *some[i : j + 1]) for whole, some in pieces)
        return kernel(part, keys, values, lone, scale, at, start + i * GRAIN, dropout)

    run = partial(checkpoint, block, use_reentrant=False) if torch.is_grad_enabled() else block
    done = [run(part, at + n * rows).transpose(1, 2) for n, part in enumerate(q.split(rows, 2))]
    return torch.cat(done, 1).transpose(1, 2)


@cache
def compiled_flex() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


def flex(
    q: Queries,
    k: Keys,
    v: Values,
    rule: Rule,
    scale: float,
    at: int = 0,
    start: int = 0,
    dropout: float = 0.0,
) -> Mixed:
    """FlexAttention (Dong et al., 2024): the rule compiled into the kernel, blocks that a mask hides are skipped.

    Compiled on GPUs; on CPU it runs the uncompiled reference, forward only (PyTorch has no backward there)."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    if dropout:
        raise ValueError("flex has no dropout on attention weights: use sdpa, or set the dropout to 0")
    if q.device.type == "cpu" and torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v)):
        raise ValueError("flex has no gradients on CPU: use sdpa, or run under torch.no_grad()")
    mask_mod, score_mod = mods(rule, at, start)
    sizes = (q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    block = None if mask_mod is None else create_block_mask(mask_mod, *sizes, device=q.device)
    run: Any = flex_attention if q.device.type == "cpu" else compiled_flex()
    return run(q, k, v, score_mod, block, scale, enable_gqa=q.shape[1] != k.shape[1])


KERNELS: dict[str, Callable[..., Tensor]] = {"eager": eager, "sdpa": sdpa, "blocks": blocks, "flex": flex}


def choose(rule: Rule, device: str, queries: int, keys: int, dropout: float = 0.0) -> tuple[str, str]:
    """The kernel that ``how="auto"`` takes, and why. First match:

    1. a GPU, 128 queries, 1,024 keys or more, no dropout: ``flex`` under a soft cap, or a mask beyond SDPA's flags and
       no bias, as it skips hidden blocks;
    2. more than 1,024 x 1,024 scores, not traced: ``blocks`` where they, or a mask or bias, would be held whole;
    3. a soft cap: ``eager``, as SDPA has no place for one;
    4. otherwise ``sdpa``."""
    flags = flag(rule, keys - queries, queries, 0, keys) is not None
    if device == "cuda" and dropout == 0 and queries >= 128 and keys >= 1024:
        if rule.cap is not None:
            return "flex", "soft cap, long input on a GPU"
        if not flags and not rule.biases:
            return "flex", "sparse mask, long input on a GPU"
    whole = rule.cap is not None or rule.biases or not (flags or isinstance(rule.mask, Padding))
    if whole and queries * keys > 1024**2 and not torch.compiler.is_compiling():
        return "blocks", "scores, mask or bias of a long input"
    return ("eager", "soft cap") if rule.cap is not None else ("sdpa", "no soft cap")


class Softmax(nn.Module):
    """The kernel as a module, so that PyTorch's own hooks see q, k, v and the rule.

    ``how`` is "auto" (see :func:`choose`) or the name of one kernel; ``dropout`` falls on the weights in training."""

    def __init__(self, scale: float, dropout: float = 0.0, how: str = "auto"):
        super().__init__()
        self.scale, self.dropout, self.how = scale, dropout, how

    def forward(self, q: Queries, k: Keys, v: Values, rule: Rule = OPEN, at: int = 0, start: int = 0) -> Mixed:
        dropout = self.dropout if self.training else 0.0
        name = choose(rule, q.device.type, q.shape[2], k.shape[2], dropout)[0] if self.how == "auto" else self.how
        if name not in KERNELS:
            raise ValueError(f"unknown kernel {name!r}; choose one of: auto, {', '.join(KERNELS)}")
        return KERNELS[name](q, k, v, rule, self.scale, at, start, dropout)

    def weights(
        self, q: Float[Tensor, "B H R d"], k: Keys, rule: Rule, rows: Int[Tensor, " R"], start: int = 0
    ) -> Float[Tensor, "B H R K"]:
        """The weights of any rows, whichever kernel ran."""
        return weights(q, k, rule, self.scale, rows, start)

    def scores(self, q: Queries, k: Keys) -> Float[Tensor, "B H Q K"]:
        """``scale q kᵀ``: scores before the rule."""
        return products(q, k, self.scale)

    def extra_repr(self) -> str:
        return f"scale={self.scale:.4g}, how={self.how}" + (f", dropout={self.dropout}" if self.dropout else "")


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rule: Rule | Mask = OPEN,
    *,
    scale: float | None = None,
    how: str = "auto",
) -> Tensor:
    """Scaled dot-product attention ``softmax(q kᵀ / √d) v`` on raw tensors.

    q [..., H, Q, d], k [..., G, K, d], v [..., G, K, e] -> [..., H, Q, e], or without the head axis; G divides H.
    ``rule`` says which keys are seen: ``attention(q, k, v, CAUSAL)``. ``scale`` defaults to 1/√d.

    Raises ValueError when the sizes do not fit."""
    if not 2 <= q.ndim == k.ndim == v.ndim <= 4:
        raise ValueError(f"q, k, v need the same 2, 3 or 4 axes, got {q.ndim}, {k.ndim} and {v.ndim}")
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"q and k must have one head width, got {q.shape[-1]} and {k.shape[-1]}")
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"every key needs a value, got {k.shape[-2]} keys and {v.shape[-2]} values")
    full = [t.reshape((1,) * (4 - t.ndim) + t.shape) if t.ndim != 3 else t[:, None] for t in (q, k, v)]
    if full[0].shape[1] % full[1].shape[1] or full[1].shape[:2] != full[2].shape[:2]:
        raise ValueError(f"key heads must divide query heads, got {full[1].shape[1]} and {full[0].shape[1]}")
    kernel = Softmax(q.shape[-1] ** -0.5 if scale is None else scale, how=how)
    out = kernel(*full, as_rule(rule))
    return out.reshape(*q.shape[:-1], v.shape[-1])
