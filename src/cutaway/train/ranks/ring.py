"""Ring attention (Liu et al., 2023): every rank holds a chunk of the sequence; keys and values go round.

Each rank meets one chunk of keys after the other and merges what it reads by the log-sum-exp of the scores, as
FlashAttention (Dao et al., 2022) does with tiles. On the way back the gradients of keys and values travel with them."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ...kernels import Softmax
from ...kernels.softmax import Keys, Mixed, Queries, Values
from ...scores import CAUSAL, FULL, OPEN, Band, Mask, Rule, dense
from ...scores.masks import Placed, SlotMask
from ...scores.rules import Given, PerToken


@dataclass(frozen=True)
class Meeting:
    """The queries from slot ``at`` on with the keys from slot ``start`` on, under a rule of the whole sequence."""

    rule: Rule
    scale: float
    at: int
    start: int

    def band(self, q: Tensor, k: Tensor) -> Mask:
        """The mask for these slots, without edges that cut nothing here."""
        mask = self.rule.mask
        return mask.within(self.at, q.shape[2], self.start, k.shape[2]) if isinstance(mask, Band) else mask

    def apart(self, q: Tensor, k: Tensor) -> bool:
        """Whether no query may see any key."""
        mask, last_q, last_k = self.rule.mask, self.at + q.shape[2] - 1, self.start + k.shape[2] - 1
        return isinstance(mask, Band) and (self.start > last_q + mask.after or last_k < self.at - mask.before)

    def fused(self, q: Tensor, k: Tensor, v: Tensor) -> bool | None:
        """``is_causal`` for a fused kernel, None where flags cannot say the rule or there is no such kernel."""
        band, plain = self.band(q, k), not self.rule.biases and self.rule.cap is None and k.shape[3] == v.shape[3]
        if not plain or q.device.type != "cpu":
            return None
        causal = band == CAUSAL and self.at == self.start and q.shape[2] == k.shape[2]
        return causal if causal or band == FULL else None

    def scores(self, q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
        """[B, H, Q, K] in float32 or wider, -inf where a key is hidden; written out."""
        s = self.scale * q @ k.mT
        s = s.float() if s.dtype in (torch.float16, torch.bfloat16) else s
        s = s if bias is None else s + bias
        s = s if self.rule.cap is None else self.rule.cap * torch.tanh(s / self.rule.cap)
        return s if self.rule.mask == FULL else s.masked_fill(~self.dense(self.rule.mask, q, k), -torch.inf)

    def dense(self, value: Callable[..., Tensor], q: Tensor, k: Tensor) -> Tensor:
        """A mask or bias for these slots."""
        rows, cols = (torch.arange(s, s + t.shape[2], device=q.device) for s, t in ((self.at, q), (self.start, k)))
        return dense(value, rows, cols, q.shape[0], q.shape[1])

    def read(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """What the queries read of these keys alone, and the log-sum-exp [B, H, Q] of their scores."""
        causal = self.fused(q, k, v)
        if causal is not None:
            out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q, k, v, 0.0, causal, scale=self.scale
            )
            return out, lse
        s = self.scores(q, k, self.dense(self.rule.bias, q, k) if self.rule.biases else None)
        lse = s.logsumexp(-1)
        return (s - finite(lse)[..., None]).exp().to(v.dtype) @ v, lse

    def back(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, learned: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """Gradients of q, k, v and what the biases learn; ``out`` and ``lse`` are those of all keys together."""
        causal = self.fused(q, k, v)
        if causal is not None:
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad, q, k, v, out, lse, 0.0, causal, scale=self.scale
            )
        with torch.enable_grad():
            bias = self.dense(self.rule.bias, q, k) if self.rule.biases else None
        s = self.scores(q, k, None if bias is None else bias.detach())
        p = (s - finite(lse)[..., None]).exp()
        g = grad.to(p.dtype)
        ds = p * (g @ v.mT.to(p.dtype) - (g * out).sum(-1, keepdim=True))
        if self.rule.cap is not None:
            ds = ds * (1 - (s.masked_fill(s == -torch.inf, 0.0) / self.rule.cap).square())
        taught: tuple[Tensor, ...] = ()
        if learned and bias is not None:
            taught = torch.autograd.grad(bias, learned, ds.sum_to_size(bias.shape).to(bias.dtype))
        dk, dq = self.scale * ds.mT @ q.to(ds.dtype), self.scale * ds @ k.to(ds.dtype)
        return dq, dk, p.mT @ g, *taught


def finite(lse: Tensor) -> Tensor:
    """0 for queries that see nothing, whose weights ``exp(-inf - 0)`` are then 0."""
    return lse.masked_fill(lse == -torch.inf, 0.0)


def merge(out: Tensor, lse: Tensor, other: Tensor, more: Tensor) -> tuple[Tensor, Tensor]:
    """Two readings of different keys as one: weighted by their shares of the softmax, and their log-sum-exp."""
    both = torch.logaddexp(lse, more)
    share = lambda part: (part - finite(both)).exp()[..., None]
    return out * share(lse) + other * share(more), both


def widen(x: Tensor, heads: int) -> Tensor:
    """Key heads repeated to as many as there are query heads."""
    return x.repeat_interleave(heads // x.shape[1], 1)


def narrow(grad: Tensor, groups: int) -> Tensor:
    """The gradient of what :func:`widen` was given."""
    return grad.unflatten(1, (groups, -1)).sum(2)


def rotate(tensors: list[Tensor], group: dist.ProcessGroup) -> list[Tensor]:
    """What the rank before this one holds; the rank after it gets what this one holds."""
    rank, size = dist.get_rank(group), dist.get_world_size(group)
    after, before = (dist.get_global_rank(group, (rank + step) % size) for step in (1, -1))
    sent = [t.contiguous() for t in tensors]
    got = [torch.empty_like(t) for t in sent]
    moves = [dist.P2POp(dist.isend, t, after, group) for t in sent]
    moves += [dist.P2POp(dist.irecv, t, before, group) for t in got]
    for move in dist.batch_isend_irecv(moves):
        move.wait()
    return got


class Turn(torch.autograd.Function):
    """The ring, forward and back. Inputs: rule, scale, group, q, k, v, and the tensors that the biases learn."""

    @staticmethod
    def forward(
        ctx: Any, rule: Rule, scale: float, group: Any, q: Tensor, k: Tensor, v: Tensor, *learned: Tensor
    ) -> Tensor:
        rank, size, heads = dist.get_rank(group), dist.get_world_size(group), q.shape[1]
        wide = torch.promote_types(q.dtype, torch.float32)
        out = q.new_zeros(*q.shape[:3], v.shape[3], dtype=wide)
        lse = q.new_full(q.shape[:3], -torch.inf, dtype=wide)
        at, travelling = rank * q.shape[2], [k, v]
        for step in range(size):
            meeting = Meeting(rule, scale, at, (rank - step) % size * k.shape[2])
            if not meeting.apart(q, k):
                read, more = meeting.read(q, *(widen(t, heads) for t in travelling))
                out, lse = merge(out, lse, read, more)
            if step < size - 1:
                travelling = rotate(travelling, group)
        out = out.to(q.dtype)
        ctx.save_for_backward(q, k, v, out, lse, *learned)
        ctx.told = rule, scale, group
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        (grad,), (rule, scale, group) = grads, ctx.told
        q, k, v, out, lse, *learned = ctx.saved_tensors
        rank, size, heads, groups = dist.get_rank(group), dist.get_world_size(group), q.shape[1], k.shape[1]
        sums = [torch.zeros_like(t, dtype=lse.dtype) for t in (q, k, v, *learned)]
        travelling, at = [k, v], rank * q.shape[2]
        for step in range(size):
            meeting = Meeting(rule, scale, at, (rank - step) % size * k.shape[2])
            if not meeting.apart(q, k):
                wide_k, wide_v = (widen(t, heads) for t in travelling)
                dq, dk, dv, *taught = meeting.back(grad.contiguous(), q, wide_k, wide_v, out, lse, tuple(learned))
                for total, part in zip(sums, (dq, narrow(dk, groups), narrow(dv, groups), *taught), strict=False):
                    total += part
            # Gradients go on once more than keys do: after the last step they are back where they belong.
            keys = travelling if step < size - 1 else []
            *travelling, sums[1], sums[2] = rotate([*keys, *sums[1:3]], group)
        given = [t.to(like.dtype) for t, like in zip(sums, (q, k, v, *learned), strict=True)]
        return None, None, None, *given


class Ring(nn.Module):
    """The place of a :class:`~cutaway.kernels.Softmax` where each rank of ``group`` holds one chunk of the sequence.

    Ranks hold equal chunks in their order, q [B, H, Q, d] and k, v [B, G, K, d]; the rule speaks of the whole
    sequence. Masks laid out by slot (padding, documents) are put together from all ranks. Raises ValueError for
    dropout, for a cache, and for what is laid out by slot and cannot be put together."""

    def __init__(self, kernel: Softmax, group: dist.ProcessGroup):
        super().__init__()
        self.scale, self.dropout, self.group = kernel.scale, kernel.dropout, group

    def forward(self, q: Queries, k: Keys, v: Values, rule: Rule = OPEN, at: int = 0, start: int = 0) -> Mixed:
        if self.dropout and self.training:
            raise ValueError(f"ring attention has no dropout on its weights; this one has {self.dropout}")
        if at or start:
            raise ValueError(f"ring attention is for whole sequences, not for slots after a cache ({at}, {start})")
        memo = {} if rule.memo is None else rule.memo
        if Ring not in memo:
            memo[Ring] = replace(rule, mask=whole(rule.mask, self.group), memo=None)
        for bias in rule.biases:
            if isinstance(bias, PerToken | Given):
                raise ValueError(f"{type(bias).__name__} holds scores of one chunk: ring attention cannot place them")
        tensors = [t for bias in rule.biases for f in fields(bias) if torch.is_tensor(t := vars(bias)[f.name])]  # type: ignore[arg-type]
        learned = [t for t in tensors if t.requires_grad]
        return Turn.apply(memo[Ring], self.scale, self.group, q, k, v, *learned)

    def extra_repr(self) -> str:
        return f"scale={self.scale:.4g}, {dist.get_world_size(self.group)} chunks"


def whole(mask: Mask, group: dist.ProcessGroup) -> Mask:
    """A mask of one chunk's slots as one of all. Raises ValueError for masks on positions that padding has moved."""
    if isinstance(mask, Placed):
        raise ValueError(f"{mask} reads positions of one chunk only: ring attention needs rows without padding for it")
    changed: dict[str, Any] = {}
    for f in fields(mask):  # type: ignore[arg-type]
        value = vars(mask)[f.name]
        if isinstance(value, Mask):
            changed[f.name] = whole(value, group)
        elif torch.is_tensor(value) and isinstance(mask, SlotMask):
            here = value.contiguous()
            chunks = [torch.empty_like(here) for _ in range(dist.get_world_size(group))]
            dist.all_gather(chunks, here, group=group)
            changed[f.name] = torch.cat(chunks, 1)
    return replace(mask, **changed) if changed else mask  # type: ignore[type-var]
