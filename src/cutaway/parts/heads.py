"""What stands on top of a network: from hidden states to logits."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..kernels.product import product
from .feedforward import activation
from .quantized import Quantized


class Unembed(nn.Module):
    """``logits = scale · x Eᵀ + b``: a matrix of its own, or the embedding's (Press and Wolf, 2017).

    ``tied`` is the embedding to share; it stays the embedding's parameter, so a tie cannot come apart. ``cap``
    bounds the logits: ``cap tanh(logits / cap)``."""

    def __init__(
        self,
        width: int,
        vocab: int,
        *,
        tied: nn.Embedding | None = None,
        bias: bool = False,
        scale: float = 1.0,
        cap: float | None = None,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab, width)) if tied is None else None
        self.bias = nn.Parameter(torch.zeros(vocab)) if bias else None
        self.scale, self.cap = scale, cap
        self.tied = (tied,)  # in a tuple: used here, registered where it lives

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        (tied,) = self.tied
        owner, x = self if tied is None else tied, x if self.scale == 1.0 else x * self.scale
        weight = owner.packed if isinstance(owner, Quantized) else owner.weight
        assert weight is not None  # one of the two is there
        logits = product(x, weight, self.bias)
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)

    def extra_repr(self) -> str:
        shown = ["tied to the embedding" if self.weight is None else f"{self.weight.shape[1]}, {self.weight.shape[0]}"]
        shown += [f"bias={self.bias is not None}"]
        shown += [f"scale={self.scale:.4g}"] if self.scale != 1.0 else []
        return ", ".join(shown + ([f"cap={self.cap:g}"] if self.cap is not None else []))


class QuantizedUnembed(Quantized, Unembed):  # type: ignore[misc]
    """An Unembed whose own matrix is quantised."""


class MaskedLM(nn.Module):
    """``unembed(norm(act(dense(x))))``: BERT's prediction of masked tokens (Devlin et al., 2018)."""

    def __init__(
        self,
        width: int,
        norm: Callable[[int], nn.Module],
        unembed: Unembed,
        act: str,
        inner: int | None = None,
    ):
        super().__init__()
        self.dense, self.norm, self.unembed = nn.Linear(width, inner or width), norm(inner or width), unembed
        self.act = activation(act)

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        return self.unembed(self.norm(self.act(self.dense(x))))


class Pooler(nn.Module):
    """``act(dense(x))``, of the summary token mostly."""

    def __init__(self, width: int, act: str = "tanh", dropout: float = 0.0):
        super().__init__()
        self.dense, self.act, self.dropout = nn.Linear(width, width), activation(act), nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        return self.act(self.dense(self.dropout(x)))


class Classifier(nn.Module):
    """``linear(dropout(pooler(x)))``: one score per label, of a summary token or of every token."""

    def __init__(self, width: int, labels: int, pooler: nn.Module | None = None, dropout: float = 0.0):
        super().__init__()
        self.pooler, self.dropout, self.linear = (
            pooler or nn.Identity(),
            nn.Dropout(dropout),
            nn.Linear(width, labels),
        )

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B L"]:
        return self.linear(self.dropout(self.pooler(x)))
