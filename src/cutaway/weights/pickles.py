"""Files of ``torch.save``: read by torch's reader that builds tensors and refuses to run anything."""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .safetensors import WORDS, Stored


def read_pickle(path: Path) -> dict[str, Stored]:
    """What a file holds. Raises ValueError that names the file and what is wrong, or what it would run."""
    with open(path, "rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    try:
        if zipped:
            _refuse_compressed(path)
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        called = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"would run {called[1]}" if called else "holds more than tensors"
        raise ValueError(f"{path} {what} when it is read, so it was not read; use a safetensors copy") from error
    # Damaged bytes come out of that reader as exceptions of a dozen classes.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ValueError(f"{path}: corrupted, or no file of torch.save: {type(error).__name__}: {reason}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a dictionary of tensors, got {type(found).__name__}")
    size = path.stat().st_size
    return {name: _stored(name, tensor, size, path) for name, tensor in found.items()}


def _refuse_compressed(path: Path) -> None:
    """ValueError for parts that torch.save never writes, and that may unpack to any size."""
    with zipfile.ZipFile(path) as parts:
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts.infolist()):
            raise ValueError("it has compressed parts")


def _stored(name: Any, tensor: Any, size: int, path: Path) -> Stored:
    if not isinstance(name, str) or not isinstance(tensor, Tensor):
        raise ValueError(f"{path}: expected names and tensors, got {name!r:.80}: {type(tensor).__name__}")
    if tensor.layout != torch.strided or tensor.dtype not in WORDS:
        raise ValueError(f"{path}: {name!r} is no plain tensor: {tensor.dtype}, {tensor.layout}")
    # A tensor that repeats its bytes (stride 0) can claim any size.
    if tensor.nbytes > size:
        shape = tuple(tensor.shape)
        raise ValueError(f"{path}: {name!r} of shape {shape} needs more than the file's {size} bytes")
    return Stored(tensor.dtype, tuple(tensor.shape), tensor.detach)
