"""Generation: greedy, sampling and beam search over any model that has a next token."""

from .call import generate
from .settings import Settings

__all__ = ["Settings", "generate"]
