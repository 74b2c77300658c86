"""The one linear map of all parts: PyTorch's module, with the product that is fastest where it runs."""

from jaxtyping import Float
from torch import Tensor, nn

from ..kernels.product import product


class Linear(nn.Linear):
    """``y = x Wᵀ + b`` (see :func:`.kernels.product.product`)"""

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        return product(x, self.weight, self.bias)
