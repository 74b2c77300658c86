"""Tensors in files: read lazily and checked, written in one pass. Nothing here knows a model."""

from .tensors import Tensors, nan_report, read_tensors, write_tensors

__all__ = ["Tensors", "nan_report", "read_tensors", "write_tensors"]
