"""What a call returns, and the losses it may hold."""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

IGNORED = -100  # a label that does not count


@dataclass
class Output:
    """What a call returns; what a model does not have is None.

    ``logits`` [B, N, V] (or [B, L] of a sequence classifier), ``hidden`` [B, N, D] after the final norm, ``loss`` a
    scalar when labels were given, ``start_logits`` and ``end_logits`` [B, N] of question answering, ``pooled``
    [B, D] of a base encoder, ``encoder_hidden`` [B, M, E]."""

    hidden: Float[Tensor, "B N D"]
    logits: Tensor | None = None
    loss: Float[Tensor, ""] | None = None
    start_logits: Float[Tensor, "B N"] | None = None
    end_logits: Float[Tensor, "B N"] | None = None
    pooled: Float[Tensor, "B D"] | None = None
    encoder_hidden: Float[Tensor, "B M E"] | None = None

    def __repr__(self) -> str:
        shown = {f.name: getattr(self, f.name) for f in fields(self)}
        return f"Output({', '.join(f'{n}={list(t.shape)}' for n, t in shown.items() if t is not None)})"


@dataclass
class States:
    """What a call computes before the head: ``hidden`` [B, N, D] of the ``ids`` under their ``mask``, and what an
    encoder-decoder's decoder read, ``memory`` [B, M, D]."""

    hidden: Float[Tensor, "B N D"]
    ids: Int[Tensor, "B _"]
    mask: Tensor | None = None
    memory: Tensor | None = None


def cross_entropy(logits: Float[Tensor, "*B V"], labels: Int[Tensor, "*B"]) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of the labels that count; 0 when none does."""
    total = F.cross_entropy(logits.flatten(0, -2).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)


def sequence_loss(logits: Float[Tensor, "B L"], labels: Tensor, kind: str | None = None) -> Float[Tensor, ""]:
    """Regression for one label, several labels at once for float labels, else one of the labels.

    ``kind`` is the config's ``problem_type``, which decides where it is given."""
    if kind == "regression" or (kind is None and logits.shape[1] == 1):
        return F.mse_loss(logits.float().squeeze(-1), labels.float().squeeze(-1))
    if kind == "multi_label_classification" or (kind is None and labels.is_floating_point()):
        return F.binary_cross_entropy_with_logits(logits.float(), labels.float())
    return cross_entropy(logits, labels)


def replaced_loss(
    logits: Float[Tensor, "B N"], labels: Int[Tensor, "B N"], mask: Tensor | None = None
) -> Float[Tensor, ""]:
    """Was each real token replaced? Mean binary cross-entropy (ELECTRA)."""
    real = labels != IGNORED if mask is None else (labels != IGNORED) & mask.bool()
    total = F.binary_cross_entropy_with_logits(logits[real].float(), labels[real].float(), reduction="sum")
    return total / real.sum().clamp(min=1)


def shift_right(
    labels: Int[Tensor, "B N"], pad: int, start: int | None = None, mask: Tensor | None = None
) -> Int[Tensor, "B N"]:
    """Labels as decoder input: a start token first, or without one the last real token (mBART's language).

    ``mask`` says which are real, else all but ``pad`` are; a left-padded row then starts at its first real token."""
    labels = labels.masked_fill(labels == IGNORED, pad)
    real = (labels != pad if mask is None else mask.bool()).long()
    last = labels.gather(1, labels.shape[1] - 1 - real.flip(-1).argmax(-1, keepdim=True))
    first = last if start is None else torch.full_like(last, start)
    shifted = torch.cat([first, labels[:, :-1]], 1)
    return shifted if mask is None else shifted.scatter(1, real.argmax(-1, keepdim=True), first)
