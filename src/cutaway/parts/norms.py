"""Norms: LayerNorm (Ba et al., 2016) is PyTorch's; RMSNorm (Zhang and Sennrich, 2019)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import LayerNorm

__all__ = ["LayerNorm", "RMSNorm"]


class RMSNorm(nn.Module):
    """``x / sqrt(mean(x²) + eps) * (offset + weight)``, computed in float32.

    Gemma stores weights around 0: ``offset=1``, and multiplies before it rounds."""

    def __init__(self, width: int, eps: float = 1e-6, offset: float = 0.0):
        super().__init__()
        self.weight, self.eps, self.offset = nn.Parameter(torch.full((width,), 1.0 - offset)), eps, offset

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        y = x.float()
        y = y * (y.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        if self.offset:
            return (y * (self.offset + self.weight.float())).to(x.dtype)
        return self.weight * y.to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}" + (f", offset={self.offset:g}" if self.offset else "")
