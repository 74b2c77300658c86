"""From a batch to the summed loss of its targets, without ever holding all logits.

The vocabulary product makes most of a small model's memory: V logits a token. Here the head runs on a few rows at a
time, and what its gradients need is computed at once while the rows' logits are there (as in Liger Kernel, Hsu et
al., 2024, and Cut Cross-Entropy, Wijmans et al., 2024): no logits are kept, and none are computed twice."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..model import Model
from ..output import IGNORED
from ..parts import Unembed
from ..quantization import refuse_codes

NUMBERS = 2**24  # logits held at a time


def cross_entropy(
    logits: Float[Tensor, "R V"], targets: Int[Tensor, " R"], smoothing: float = 0.0
) -> tuple[Float[Tensor, ""], Float[Tensor, "R V"]]:
    """Summed ``-(1-ε) log p[target] - ε mean log p`` in float32, and its gradient; ``logits`` are overwritten.

    ``ε`` is label smoothing (Szegedy et al., 2016)."""
    z = logits.detach().float()
    goal = targets[:, None]
    top = z.amax(-1, keepdim=True)
    mean = z.mean(-1, keepdim=True) if smoothing else 0.0
    chosen = z.gather(-1, goal)
    grad = z.sub_(top).exp_()
    total = grad.sum(-1, keepdim=True)
    loss = total.log() + top - (1 - smoothing) * chosen - smoothing * mean
    grad.div_(total)
    if smoothing:
        grad.sub_(smoothing / grad.shape[-1])
    grad.scatter_add_(-1, goal, torch.full_like(goal, smoothing - 1, dtype=grad.dtype))
    return loss.sum(), grad


class HeadLoss(torch.autograd.Function):
    """``Σ cross_entropy(head(hidden), targets)``, some rows at a time; gradients are made on the way forward."""

    @staticmethod
    def forward(
        ctx: Any, head: nn.Module, smoothing: float, rows: int, targets: Tensor, hidden: Tensor, *weights: Tensor
    ) -> Tensor:
        total = torch.zeros((), device=hidden.device)
        wanted = [hidden, *weights]
        needed = [t.requires_grad for t in wanted]
        sums: list[Tensor | None] = [None for _ in weights]
        pieces = []
        for h, goal in zip(hidden.split(rows), targets.split(rows), strict=True):
            with torch.enable_grad():
                h = h.detach().requires_grad_(needed[0])
                logits = head(h)
            loss, grad = cross_entropy(logits, goal, smoothing)
            total += loss
            into = [t for t, n in zip([h, *weights], needed, strict=True) if n]
            found = iter(torch.autograd.grad(logits, into, grad.to(logits.dtype)) if into else ())
            if needed[0]:
                pieces.append(next(found))
            for i, new in zip((i for i, n in enumerate(needed[1:]) if n), found, strict=True):
                kept = sums[i]
                sums[i] = new if kept is None else kept.add_(new)
        ctx.grads = [torch.cat(pieces) if pieces else None, *sums]
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = upstream
        grads, ctx.grads = ctx.grads, None
        return (None, None, None, None, *(None if g is None else g.mul_(scale) for g in grads))


def head_loss(
    head: nn.Module, hidden: Float[Tensor, "R D"], targets: Int[Tensor, " R"], smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """The summed cross-entropy of a head that treats rows alike; rows whose target is IGNORED are left out."""
    real = targets != IGNORED
    if not bool(real.all()):
        hidden, targets = hidden[real], targets[real]
    weights = list(head.parameters()) + tied(head)
    vocab = max((w.shape[0] for w in weights), default=1)
    chunks = -(-len(targets) * vocab // NUMBERS)
    rows = max(1, -(-len(targets) // max(1, chunks)))  # of like size: a few rows left over cost nearly a chunk's time
    if torch.is_grad_enabled():
        return HeadLoss.apply(head, smoothing, rows, targets, hidden, *weights)
    parts = [
        cross_entropy(head(h), t, smoothing)[0]
        for h, t in zip(hidden.split(rows), targets.split(rows), strict=True)
        if len(t)
    ]
    return torch.stack(parts).sum() if parts else hidden.new_zeros((), dtype=torch.float32)


def tied(head: nn.Module) -> list[Tensor]:
    """Weights that a head reads and another module owns."""
    shared = [m.tied[0] for m in head.modules() if isinstance(m, Unembed)]
    return [embedding.weight for embedding in shared if embedding is not None]


class Learner(nn.Module):
    """A model and its loss as one module, so that what wraps modules (DDP, FSDP, compilers) sees all of a step.

    Called with keywords of the model's door and aligned targets, it returns the sum of the targets' losses in nats;
    divided by the number of targets, of this batch or of all that a step adds up, that is the mean.

    Raises ValueError for a quantised model: codes do not learn."""

    def __init__(self, model: Model, smoothing: float = 0.0):
        super().__init__()
        refuse_codes(model)
        self.model, self.smoothing = model, smoothing

    def forward(self, inputs: Mapping[str, Any], targets: Int[Tensor, "*N"]) -> Float[Tensor, ""]:
        states = self.model.states(**inputs)
        head = self.model.network.head
        if head is not None and self.model.config.head in ("lm", "masked_lm"):
            smoothing = self.smoothing if self.training else 0.0
            return head_loss(head, states.hidden.flatten(0, 1), targets.flatten(), smoothing)
        logits = self.model.answer(states).logits
        if logits is None:
            raise ValueError(f"a {self.model.origin.model_type} with head {self.model.config.head!r} has no logits")
        return F.cross_entropy(
            logits.flatten(0, -2).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum",
            label_smoothing=self.smoothing if self.training else 0.0,
        )  # fmt: skip
