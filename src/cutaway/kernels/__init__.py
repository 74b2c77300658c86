"""Kernels: what turns queries, keys and values into the mean of the values that a rule allows."""

from .additive import Additive
from .softmax import Softmax, attention, blocks, choose, eager, flex, sdpa, weights

__all__ = ["Additive", "Softmax", "attention", "blocks", "choose", "eager", "flex", "sdpa", "weights"]
