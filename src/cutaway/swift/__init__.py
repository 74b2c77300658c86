"""Decoding with little of Python between two tokens: all blocks in one call of :mod:`..compiled.step`."""

from .runner import Swift

__all__ = ["Swift"]
