"""Position-wise networks: MLP (Vaswani et al., 2017), gated (Shazeer, 2020), mixture of experts (Shazeer, 2017)."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .context import Context
from .linear import Linear

Activation = Callable[[Tensor], Tensor]


def gelu_quick(x: Tensor) -> Tensor:
    """``x sigmoid(1.702 x)``"""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "gelu_quick": gelu_quick,
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "identity": lambda x: x,
}


def activation(name: str) -> Activation:
    """An activation by its name. Raises ValueError with the known names."""
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


class MLP(nn.Module):
    """``down(act(up(x)))``"""

    def __init__(self, width: int, hidden: int, act: str = "gelu", bias: bool = True, dropout: float = 0.0):
        super().__init__()
        self.up, self.down = Linear(width, hidden, bias), Linear(hidden, width, bias)
        self.act, self.name, self.dropout = activation(act), act, nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "*B D"], ctx: Context | None = None) -> Float[Tensor, "*B D"]:
        return self.down(self.dropout(self.act(self.up(x))))

    def extra_repr(self) -> str:
        return f"act={self.name}"


class GatedMLP(MLP):
    """``down(act(gate(x)) * up(x))``"""

    def __init__(self, width: int, hidden: int, act: str = "silu", bias: bool = False, dropout: float = 0.0):
        super().__init__(width, hidden, act, bias, dropout)
        self.gate = Linear(width, hidden, bias)

    def forward(self, x: Float[Tensor, "*B D"], ctx: Context | None = None) -> Float[Tensor, "*B D"]:
        return self.down(self.dropout(self.act(self.gate(x)) * self.up(x)))


class MixtureOfExperts(nn.Module):
    """``Σ p_e expert_e(x)`` over the ``top`` experts of each token, ``p`` their softmax (Shazeer et al., 2017)."""

    def __init__(self, width: int, experts: list[nn.Module], top: int):
        super().__init__()
        if not 1 <= top <= len(experts):
            raise ValueError(f"a token goes to 1..{len(experts)} of {len(experts)} experts, not to {top}")
        self.router, self.experts, self.top = (
            Linear(width, len(experts), bias=False),
            nn.ModuleList(experts),
            top,
        )

    def forward(self, x: Float[Tensor, "*B D"], ctx: Context | None = None) -> Float[Tensor, "*B D"]:
        tokens = x.flatten(0, -2)
        chance, chosen = self.router(tokens).float().topk(self.top, -1)
        chance = chance.softmax(-1)
        out = torch.zeros_like(tokens)
        for e, expert in enumerate(self.experts):
            token, place = (chosen == e).nonzero(as_tuple=True)
            out.index_add_(0, token, (chance[token, place, None] * expert(tokens[token], ctx)).to(x.dtype))
        return out.view_as(x)

    def extra_repr(self) -> str:
        return f"top={self.top} of {len(self.experts)}"
