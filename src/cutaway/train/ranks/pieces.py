"""Tensors that ranks share, written in pieces by some ranks and read by any other number of them.

A piece is a box of a whole tensor: where it begins and how far it goes. A rank that needs another box reads, of each
mapped file, only what lies in both."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn

from ...weights.safetensors import Stored, read_safetensors
from .world import World

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

Box = tuple[tuple[int, int], ...]  # begin and end on every axis


@dataclass(frozen=True)
class Piece:
    """This rank's part of a tensor of ``shape``, beginning at ``offset``."""

    tensor: Tensor
    shape: tuple[int, ...]
    offset: tuple[int, ...]


def sharded(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Whether ranks hold it in pieces. A plain tensor does not import the class that says so, which takes a second."""
    if type(tensor) in (Tensor, nn.Parameter):
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def held(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor: a box of a sharded one, all of another. Writing to it writes to the tensor."""
    return own.to_local() if sharded(own := tensor.detach()) else own


def local(tensor: Tensor) -> Piece:
    """What this rank holds of a tensor, and where that lies."""
    if not sharded(tensor):
        return Piece(held(tensor), tuple(tensor.shape), (0,) * tensor.ndim)
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    size, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    assert tuple(held(tensor).shape) == tuple(size)
    return Piece(held(tensor), tuple(tensor.shape), tuple(offset))


def owned(tensor: Tensor, world: World) -> bool:
    """Whether this rank is the first of those that hold the same numbers."""
    if world.mesh is None:
        return True
    shared: set[str] = set()
    if sharded(tensor):
        axes = tensor.device_mesh.mesh_dim_names or ()
        shared = {axis for axis, how in zip(axes, tensor.placements, strict=True) if not how.is_replicate()}
    place = {axis: world.mesh.get_local_rank(axis) for axis in ("data", "tensor")}
    return all(axis in shared or index == 0 for axis, index in place.items())


def pieces(tensors: Mapping[str, Tensor], world: World) -> dict[str, Piece]:
    """What this rank is to write: of every tensor the part it holds, unless an earlier rank holds the same.

    All ranks together write every number once. Parts without a number are left out."""
    found = {name: local(tensor) for name, tensor in tensors.items() if owned(tensor, world)}
    return {name: piece for name, piece in found.items() if piece.tensor.numel()}


def table(written: Mapping[str, Piece]) -> dict[str, dict[str, list[int]]]:
    """What a file of pieces needs to have said beside it, as JSON holds it."""
    return {name: {"shape": list(p.shape), "offset": list(p.offset)} for name, p in written.items()}


class Reader:
    """Pieces in mapped files: for every name, where each begins, and how to read it.

    ``files`` maps a safetensors file to its table. Raises ValueError for a file and a table that do not agree."""

    def __init__(self, files: Mapping[Path, Mapping[str, Mapping[str, Any]]]):
        self.found: dict[str, list[tuple[tuple[int, ...], Stored]]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for path, told in files.items():
            stored = read_safetensors(path)
            if stored.keys() != told.keys():
                odd = sorted(stored.keys() ^ told.keys())
                raise ValueError(f"{path} and its table of pieces do not agree on {', '.join(odd[:3])}")
            for name, entry in told.items():
                shape, offset = tuple(entry["shape"]), tuple(entry["offset"])
                if self.shapes.setdefault(name, shape) != shape:
                    raise ValueError(f"{path}: {name} is a piece of {list(shape)}, others of {list(self.shapes[name])}")
                self.found.setdefault(name, []).append((offset, stored[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)


def overlap(a: Box, b: Box) -> Box | None:
    """The box that lies in both, if there is one."""
    both = tuple((max(x[0], y[0]), min(x[1], y[1])) for x, y in zip(a, b, strict=True))
    return both if all(begin < end for begin, end in both) else None


def box(offset: tuple[int, ...], size: tuple[int, ...]) -> Box:
    return tuple((begin, begin + n) for begin, n in zip(offset, size, strict=True))


def within(part: Box, offset: tuple[int, ...]) -> tuple[slice, ...]:
    """Where ``part`` of the whole lies in a piece that begins at ``offset``."""
    return tuple(slice(begin - first, end - first) for (begin, end), first in zip(part, offset, strict=True))


def assemble(
    reader: Reader, name: str, shape: tuple[int, ...], offset: tuple[int, ...], size: tuple[int, ...]
) -> Tensor:
    """The box ``size`` at ``offset`` of the tensor ``name`` of ``shape``, from whoever wrote parts of it.

    Raises KeyError for a name that nobody wrote, ValueError for another shape or a part that nobody wrote."""
    if name not in reader.found:
        raise KeyError(f"no rank wrote {name}; they wrote {', '.join(sorted(reader.found)[:3])} ...")
    if reader.shapes[name] != tuple(shape):
        raise ValueError(f"{name} was written as {list(reader.shapes[name])}, expected {list(shape)}")
    made = torch.empty(size, dtype=reader.found[name][0][1].dtype)
    filled = 0
    for first, stored in reader.found[name]:
        if (both := overlap(box(offset, size), box(first, stored.shape))) is not None:
            part = stored.read()[within(both, first)]
            made[within(both, offset)] = part
            filled += part.numel()
    if filled != made.numel():
        raise ValueError(f"{name}: {made.numel()} numbers from {list(offset)} on are needed, {filled} were written")
    return made


def restore(tensors: Mapping[str, Tensor], reader: Reader) -> None:
    """Fill what this rank holds of every tensor with what any number of ranks wrote.

    Raises KeyError for a tensor that was not written, ValueError for one that does not fit."""
    with torch.no_grad():
        for name, tensor in tensors.items():
            piece = local(tensor)
            read = assemble(reader, name, piece.shape, piece.offset, tuple(piece.tensor.shape))
            if read.dtype != piece.tensor.dtype:
                raise ValueError(f"{name} was written in {read.dtype}, expected {piece.tensor.dtype}")
            piece.tensor.copy_(read)


def gather(tensors: Mapping[str, Tensor], world: World) -> dict[str, Tensor]:
    """Whole tensors on the CPU of the first rank, nothing on the others; all ranks must call. One at a time is whole
    on every rank."""
    whole = {}
    for name, tensor in tensors.items():
        own = tensor.detach()
        full = own.full_tensor() if sharded(own) else own
        if world.first:
            whole[name] = full.cpu()
    return whole


def norm(tensors: Mapping[str, Tensor], world: World) -> Tensor:
    """The Euclidean norm of all numbers of all tensors, on whatever ranks they are: equal bits on every rank."""
    own = [piece.tensor for piece in pieces(tensors, world).values()]
    lengths = [torch.linalg.vector_norm(t, dtype=torch.promote_types(t.dtype, torch.float32)) for t in own]
    total = torch.stack(lengths).square().sum() if lengths else torch.zeros((), device=world.device)
    return world.everywhere(total).sqrt()
