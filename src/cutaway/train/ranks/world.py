"""The ranks of a run, this one among them, and what each of them reads: all that a single process needs to know.

What splits models is in ``parallel``, whose imports take a second: it is imported where there are ranks."""

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar, Literal

import torch
import torch.distributed as dist
import torch.distributed.nn  # before there is a group: its functions hold the one that they find, as a default
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from ...model import restarts

GATHERED = {"float32": torch.float32, "bfloat16": torch.bfloat16}


SET_BY_TORCHRUN = (("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", 0))
MESHES: list[DeviceMesh] = []  # of the groups that this process is in


@dataclass(frozen=True)
class Parallel:
    """How ranks share a step.

    ``data``: whole copies of the model ("ddp"), or each rank keeps a shard and gathers a block when it runs ("fsdp");
    ``tensor`` ranks share every matrix, ``sequence`` ranks every row of the batch (ring attention). What is left of the
    ranks reads different rows. ``gathered`` is the dtype in which FSDP gathers weights. Raises ValueError for what does
    not go together."""

    __pydantic_config__: ClassVar = {"extra": "forbid", "strict": True}  # a file's typos are errors
    data: Literal["ddp", "fsdp"] = "ddp"
    tensor: int = 1
    sequence: int = 1
    gathered: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        for value, known in ((self.data, ("ddp", "fsdp")), (self.gathered, tuple(GATHERED))):
            if value not in known:
                raise ValueError(f"expected one of {', '.join(known)}, got {value!r}")
        if self.data == "ddp" and self.gathered != "float32":
            raise ValueError(f"only fsdp gathers weights, so ddp cannot gather them in {self.gathered}")
        if min(self.tensor, self.sequence) < 1:
            raise ValueError(f"tensor and sequence count ranks, got {self.tensor} and {self.sequence}")

    def rows(self, size: int) -> int:
        """How many of ``size`` ranks read different rows. Raises ValueError if the others do not divide them."""
        if size % (self.tensor * self.sequence):
            raise ValueError(f"{size} ranks are no multiple of {self.tensor} (tensor) x {self.sequence} (sequence)")
        return size // (self.tensor * self.sequence)


@dataclass(frozen=True)
class World:
    """The ranks of a run and this one among them. The mesh has two axes: "data" (rows x chunks) and "tensor"."""

    how: Parallel = field(default_factory=Parallel)
    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    mesh: DeviceMesh | None = None
    rings: DeviceMesh | None = None

    @classmethod
    def from_environment(cls, how: Parallel | None = None, timeout: float = 600.0) -> "World":
        """The world that torchrun set up, or a single process without it.

        A rank that waits for another longer than ``timeout`` seconds fails. Raises ValueError if ``how`` does not fit
        the number of ranks."""
        how = how or Parallel()
        size, rank, local = (int(os.environ.get(k, d)) for k, d in SET_BY_TORCHRUN)
        how.rows(size)
        device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
        if size == 1:
            return cls(how, device=device)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if not dist.is_initialized():
            backend = "nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
        return cls.of(how, rank, size, device)

    @classmethod
    def of(cls, how: Parallel, rank: int, size: int, device: torch.device) -> "World":
        """A world over the process group that there is."""
        mesh = meshed(device, {"data": size // how.tensor, "tensor": how.tensor})
        axes = {"rows": how.rows(size), "chunk": how.sequence, "tensor": how.tensor}
        return cls(how, rank, size, device, mesh, meshed(device, axes) if how.sequence > 1 else None)

    @property
    def rows(self) -> tuple[int, int]:
        """Which share of a step's rows this rank reads, of how many: rank ``i`` of ``n`` may read ``rows[i::n]``."""
        return self.rank // (self.how.tensor * self.how.sequence), self.how.rows(self.size)

    @property
    def chunk(self) -> tuple[int, int]:
        """Which chunk of every row this rank reads, of how many."""
        return self.rank // self.how.tensor % self.how.sequence, self.how.sequence

    @property
    def ring(self) -> dist.ProcessGroup | None:
        """The ranks that share this one's rows."""
        return None if self.rings is None else self.rings.get_group("chunk")

    @property
    def first(self) -> bool:
        """Whether this rank speaks for all: logs, and writes what is written once."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks that read different data; equal bits on every rank."""
        if self.mesh is None:
            return values
        values = values.clone().to(self.device)
        dist.all_reduce(values, group=self.mesh.get_group("data"))
        return values

    def everywhere(self, values: Tensor) -> Tensor:
        """The sum over all ranks, tensor parallel ones included."""
        if self.mesh is None:
            return values
        values = values.clone().to(self.device)
        dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.mesh is not None:
            dist.barrier()

    def close(self) -> None:
        """Leave all groups, as :func:`leave` does; a single process is in none."""
        if self.mesh is not None:
            leave()


def meshed(device: torch.device, axes: dict[str, int]) -> DeviceMesh:
    """The ranks along named axes."""
    mesh = init_device_mesh(device.type, tuple(axes.values()), mesh_dim_names=tuple(axes))
    MESHES.append(mesh)
    return mesh


def leave() -> None:
    """Leave all groups. Let go before of whatever ran in them: prepared modules hold them as well.

    A thread of gloo that is late drops a tensor after its sum was waited for, for which it needs the interpreter; if
    that is about to end, the process is aborted (pytorch/pytorch#190489). Groups join their threads when nobody holds
    them any more, but meshes hold them, and what PyTorch keeps of a DTensor holds its mesh."""
    if not dist.is_initialized():
        return
    gc.collect()  # modules that hold each other
    dist.destroy_process_group()
    while MESHES:
        getattr(MESHES.pop(), "_pg_registry", {}).clear()  # private, and not in every release


@contextmanager
def accumulating(prepared: nn.Module, more: bool) -> Iterator[None]:
    """Leave the gradients of copies unsummed over ranks while ``more`` micro-batches of the step are to come.

    Shards are summed each time: whole gradients would take more memory than the shards save."""
    with prepared.no_sync() if more and isinstance(prepared, DistributedDataParallel) else nullcontext():
        yield


def cut(inputs: Mapping[str, Tensor], targets: Tensor, world: World) -> tuple[dict[str, Tensor], Tensor]:
    """This rank's chunk of rows [B, N] that the ranks of a ring share, with the positions of its tokens.

    Padding becomes a document of its own, so that all ranks have masks of one form. Raises ValueError where rows are
    not for one stack, have one target each, or cannot be cut evenly."""
    index, count = world.chunk
    if count == 1:
        return dict(inputs), targets
    if "input_ids" not in inputs or "decoder_input_ids" in inputs or targets.ndim != 2:
        raise ValueError(f"a ring shares rows of one stack with a target per token, not {', '.join(inputs)}")
    whole, (_, length) = dict(inputs), targets.shape
    if length % count:
        raise ValueError(f"{length} tokens cannot be cut into {count} equal chunks: pad the rows")
    slots = torch.arange(length, device=targets.device).expand_as(targets)
    documents, keep = whole.get("document_ids"), whole.pop("attention_mask", None)
    whole.setdefault("position_ids", slots if documents is None else restarts(documents))
    if keep is not None:
        keep = keep.bool()
        whole["document_ids"] = torch.where(keep, torch.zeros_like(slots) if documents is None else documents, -1)
        if documents is None and "position_ids" not in inputs:
            whole["position_ids"] = (keep.long().cumsum(-1) - 1).clamp(min=0)
    step = length // count
    here = slice(index * step, (index + 1) * step)
    return {name: value[:, here] for name, value in whole.items()}, targets[:, here]
