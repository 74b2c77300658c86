"""Checkpoint folders changed by hand, as others or older versions would have written them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor


def tensors(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Other tensors in the folder."""
    path = folder / "model.safetensors"
    save_file({n: t.clone() for n, t in change(load_file(path)).items()}, path, {"format": "pt"})


def config(folder: Path, **keys: Any) -> None:
    """Other keys in its config.json; those of None are gone."""
    path = folder / "config.json"
    told = json.loads(path.read_text()) | keys
    path.write_text(json.dumps({k: v for k, v in told.items() if v is not None}))
