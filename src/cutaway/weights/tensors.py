"""The weights of a checkpoint folder: one file or numbered shards, safetensors or the older pickles."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..storage.folder import listing
from ..storage.settings import read_json, write_json
from .pickles import read_pickle
from .safetensors import WORDS, Stored, read_safetensors, write_safetensors

Reader = Callable[[Path], dict[str, Stored]]
FORMAT = {"format": "pt"}
FILE_NAME = re.compile(r"(?!\.+$)[^/\\\0]+")


class Tensors(Mapping[str, Tensor]):
    """The tensors of a checkpoint by name; their bytes are mapped, and read from disk when they are used.

    ``shape`` and ``dtype`` of a name read no tensor, so a model can be checked before it exists. A tensor
    may be written to: the change stays in memory and never reaches the file."""

    def __init__(self, stored: Mapping[str, Stored], device: str | torch.device = "cpu"):
        self.stored, self.device = stored, torch.device(device)

    def __getitem__(self, name: str) -> Tensor:
        return self.stored[name].read().to(self.device)

    def __contains__(self, name: object) -> bool:
        return name in self.stored

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.stored[name].shape

    def dtype(self, name: str) -> torch.dtype:
        return self.stored[name].dtype


def read_tensors(folder: str | Path, *, device: str | torch.device = "cpu", stem: str = "model") -> Tensors:
    """The weights in a folder: ``model.safetensors`` or ``pytorch_model.bin``, whole or in indexed shards.

    On the CPU a tensor is a view of the mapped file; for another device it is copied there when asked for. Of
    several formats side by side the first in this order is read: safetensors, its index, pickle, its index. Of
    another ``stem`` than "model" there are safetensors only.

    Raises FileNotFoundError for a missing file or shard, ValueError for a file that is not what it says; both
    name the file. Nothing that a file contains is run."""
    readers: list[tuple[str, Reader]] = [(f"{stem}.safetensors", read_safetensors)]
    readers += [("pytorch_model.bin", read_pickle)] if stem == "model" else []
    for name, reader in readers:
        whole, index = Path(folder, name), Path(folder, name + ".index.json")
        if os.path.lexists(whole):
            return Tensors(_read(whole, reader), device)
        if os.path.lexists(index):
            return Tensors(_read_shards(index, reader), device)
    expected = f"{' or '.join(name for name, _ in readers)}, whole or with an index"
    raise FileNotFoundError(f"{folder} has no weights: expected {expected}; it holds {listing(Path(folder))}")


def _read(path: Path, reader: Reader) -> dict[str, Stored]:
    # Links are followed wherever they lead: a hub's cache consists of them, and reading runs nothing.
    if not path.exists():
        raise FileNotFoundError(f"{path} is a link to {os.readlink(path)}, which does not exist")
    if not path.is_file():
        raise ValueError(f"{path} is no file")
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty")
    return reader(path)


def _read_shards(index: Path, reader: Reader) -> dict[str, Stored]:
    place = read_json(index).get("weight_map")
    if not isinstance(place, dict) or not place:
        raise ValueError(f"{index}: weight_map must be an object that names each tensor's shard")
    shards: dict[str, list[str]] = {}
    for name, shard in place.items():
        if not isinstance(shard, str) or not FILE_NAME.fullmatch(shard):
            raise ValueError(f"{index}: {name!r:.200} lies in {shard!r:.200}, which is no file name in the same folder")
        shards.setdefault(shard, []).append(name)
    stored: dict[str, Stored] = {}
    origin: dict[str, str] = {}
    for shard, expected in sorted(shards.items()):
        path = index.parent / shard
        if not os.path.lexists(path):
            raise FileNotFoundError(f"{path} is missing; {index.name} expects it to hold {_some(expected)}")
        found = _read(path, reader)
        if lacking := [name for name in expected if name not in found]:
            raise ValueError(f"{path} lacks {_some(lacking)}; {index.name} expects it there")
        if twice := [name for name in found if name in stored]:
            raise ValueError(f"{path} and {origin[twice[0]]} both hold {_some(twice)}")
        stored |= found
        origin |= dict.fromkeys(found, shard)
    return stored


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def write_tensors(
    folder: str | Path,
    tensors: Mapping[str, Tensor],
    *,
    shard_bytes: int = 5 * 2**30,
    metadata: Mapping[str, str] = FORMAT,
    stem: str = "model",
) -> None:
    """Write ``model.safetensors``, or shards of at most ``shard_bytes`` and an index, into a new folder.

    Another ``stem`` stands in the place of "model".

    Each name gets bytes of its own, whatever tensors share and however they are strided; at most one tensor
    at a time is copied. A tensor larger than ``shard_bytes`` has a shard to itself.

    Raises ValueError for what the format has no word for, OSError with the bytes needed when a disk fails."""
    for name, tensor in tensors.items():
        if name == "__metadata__":
            raise ValueError("__metadata__ is no name for a tensor: safetensors uses it for something else")
        if tensor.dtype not in WORDS or tensor.layout != torch.strided or tensor.is_meta:
            raise ValueError(f"{name!r}: safetensors holds no {tensor.dtype}, {tensor.layout}, on {tensor.device}")
    files = _shards(tensors, shard_bytes, stem)
    total = sum(tensor.nbytes for tensor in tensors.values())
    path = Path(folder)
    try:
        for file, shard in files.items():
            path = Path(folder, file)
            write_safetensors(path, shard, metadata)
        if len(files) > 1:
            path = Path(folder, f"{stem}.safetensors.index.json")
            place = {name: file for file, shard in files.items() for name in shard}
            write_json(path, {"metadata": {"total_size": total}, "weight_map": place})
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; the weights need {total} bytes", str(path)) from error


def _shards(tensors: Mapping[str, Tensor], limit: int, stem: str) -> dict[str, dict[str, Tensor]]:
    """File name -> its tensors, in the given order, none above the limit where a tensor is not by itself."""
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        if shards[-1] and filled + tensor.nbytes > limit:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += tensor.nbytes
    if len(shards) == 1:
        return {f"{stem}.safetensors": shards[0]}
    return {f"{stem}-{i:05}-of-{len(shards):05}.safetensors": shard for i, shard in enumerate(shards, 1)}


def nan_report(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors that hold a NaN or an infinity; reads one tensor at a time and copies none."""
    return [name for name, tensor in tensors.items() if not _finite(tensor.detach())]


def _finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    # The extremes show every NaN without a second tensor; torch has them from two bytes a number on.
    extremes = torch.aminmax(tensor.float() if tensor.element_size() == 1 else tensor)
    return bool(torch.isfinite(torch.stack(extremes)).all())
