"""What the contestants that run on PyTorch share."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from . import TOLD, Act, Array, Job, Mark

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
RATE, DECAY, BETAS, CLIP = 1e-4, 0.1, (0.9, 0.95), 1.0


def tensor(job: Job) -> Tensor:
    """The job's input."""
    return torch.from_numpy(job.ids()).to(job.device)


def numbers(t: Tensor) -> Array:
    found: Array = t.detach().float().cpu().numpy()
    return found


def started(ids: Tensor, start: int) -> Tensor:
    """What a decoder is told to have said when it is scored: the start token, then the first of the source."""
    return torch.cat([torch.full_like(ids[:, :1], start), ids[:, :TOLD]], 1)


def scores(logits: Tensor, told: Tensor) -> Array:
    """The log-probabilities [B, T] that logits [B, T, V] give to the tokens told, one place further."""
    return numbers(logits.float().log_softmax(-1).gather(-1, told[:, 1:, None])[..., 0])


def pair(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Ids [B, N] and, as targets, the ids that follow them, around the end."""
    return ids, ids.roll(-1, 1)


def stepping(job: Job, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], watched: Tensor) -> Act:
    """The training loop that everybody writes; the answer is a step's gradient of one tensor, before any update."""
    ids, targets = pair(tensor(job))
    model.train()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [dict(params=matrices, weight_decay=DECAY), dict(params=vectors, weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, RATE, BETAS, fused=True)

    def backward() -> None:
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=job.entry.dtype == "bf16"):
            found = loss(ids, targets)
        found.backward()

    def turn(mark: Mark) -> Any:
        backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def answer() -> Array:
        backward()
        assert watched.grad is not None
        found = numbers(watched.grad[: ids.shape[1]])
        optimizer.zero_grad(set_to_none=True)
        return found

    return Act(turn, answer)
