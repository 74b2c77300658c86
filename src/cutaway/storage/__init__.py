"""Checkpoint folders: find one, read and write its settings, replace it as a whole. No model here."""

from .folder import sweep, write_folder
from .settings import read_json, write_json
from .source import locate

__all__ = ["locate", "read_json", "sweep", "write_folder", "write_json"]
