"""One step on many ranks: data parallel (Li et al., 2020), fully sharded (Rajbhandari et al., 2020; Zhao et al., 2023),
tensor parallel (Shoeybi et al., 2019), and their products. Plain torch.distributed; model code does not change.

Ranks are numbered with tensor parallel innermost, so that it stays within a machine, then chunks of one sequence,
then rows. Gradients end as the sum over ranks: divide a rank's summed loss by the targets of all ranks, and the step is
the one that a single process would take."""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.nn.parallel import DistributedDataParallel

from ...parts import MLP, Attention, GatedMLP, Stack
from ...parts.rotary import Rotary
from .ring import Ring
from .world import GATHERED, World


def prepare(learner: nn.Module, world: World) -> nn.Module:
    """The learner as its world runs it: matrices split, attention in rings, then copies or shards.

    Weights must already be equal on all ranks (one seed, or one checkpoint), and on the world's device; meta tensors
    are sharded as they are. What comes back is called as the learner was. Raises ValueError for parts that cannot be
    split and say so."""
    if world.mesh is None:
        return learner
    if world.how.tensor > 1:
        split_matrices(learner, world.mesh["tensor"])
    if world.ring is not None:
        for attention in parts(learner, Attention):
            scaling = attention.rotary.scaling if isinstance(attention.rotary, Rotary) else None
            if scaling is not None and scaling.kind in ("dynamic", "longrope"):
                raise ValueError(
                    f"{scaling.kind} rotary positions need the length of a row, of which a rank has a chunk"
                )
            attention.kernel = Ring(attention.kernel, world.ring)
    data = world.mesh["data"]
    if world.how.data == "fsdp":
        return shard(learner, data, GATHERED[world.how.gathered])
    if data.size() == 1:
        return learner
    if world.how.tensor > 1:
        raise ValueError("PyTorch's DDP does not take split matrices: use Parallel(data='fsdp') beside tensor parallel")
    copies = DistributedDataParallel(learner, process_group=data.get_group(), gradient_as_bucket_view=True)
    copies.register_comm_hook(data.get_group(), summed)
    return copies


def parts(module: nn.Module, kind: type[nn.Module]) -> list[Any]:
    """All parts of a kind."""
    return [part for part in module.modules() if isinstance(part, kind)]


def summed(group: dist.ProcessGroup, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """DDP's reduction without its division by the number of ranks."""
    work = dist.all_reduce(bucket.buffer(), group=group, async_op=True)
    return work.get_future().then(lambda done: done.value()[0])


def shard(learner: nn.Module, mesh: DeviceMesh, dtype: torch.dtype) -> nn.Module:
    """FSDP2: every block of every stack by itself, then what is left with the root."""
    policy = MixedPrecisionPolicy(None if dtype == torch.float32 else dtype, torch.float32)
    blocks = [block for stack in parts(learner, Stack) for block in stack.blocks]
    for module in [*blocks, learner]:
        wrapped = fully_shard(module, mesh=mesh, mp_policy=policy)
        wrapped.set_gradient_divide_factor(1.0)
        wrapped.set_force_sum_reduction_for_comms(True)  # gloo has no other
    wrapped.register_forward_hook(part_again)
    return learner


def part_again(root: nn.Module, args: object, output: object) -> None:
    """Shards again after a pass that no backward pass follows: PyTorch leaves the root whole, and the next pass would
    take the numbers that it had then, whatever was written to its shards."""
    if not torch.is_grad_enabled():
        cast(FSDPModule, root).reshard()


def once(mesh: DeviceMesh) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    """Makes the input of a part one tensor of all ranks, so that its gradient is summed once and not per projection."""
    return lambda module, args: (DTensor.from_local(args[0], mesh, [Replicate()], run_check=False), *args[1:])


def settle(weight: Tensor) -> None:
    """Sum a gradient that tensor parallel ranks hold in parts, where every rank holds all of the weight."""
    if isinstance(weight, DTensor) and isinstance(weight.grad, DTensor):
        weight.grad = weight.grad.redistribute(placements=weight.placements)


def split_matrices(learner: nn.Module, mesh: DeviceMesh) -> None:
    """Tensor parallel: heads and hidden units are divided over the ranks, two sums per block bring them together.

    Embeddings, norms and the head are whole on every rank. Raises ValueError for parts that cannot be divided."""
    ways = mesh.size()
    for stack in parts(learner, Stack):
        if stack.bias is not None:
            raise ValueError(f"{type(stack.bias).__name__} adds to the scores of all heads, so heads cannot be divided")
    for attention in parts(learner, Attention):
        if attention.relative is not None:
            raise ValueError(f"{type(attention.relative).__name__} reads all heads, so heads cannot be divided")
        if attention.heads % ways or attention.kv_heads % ways:
            heads = f"{attention.heads} heads and {attention.kv_heads} key heads"
            raise ValueError(f"{heads} cannot be divided by {ways} tensor parallel ranks")
        if not all(isinstance(attention.get_submodule(name), nn.Linear) for name in "qkvo"):
            raise ValueError("norms over whole projections see all heads, so heads cannot be divided")
        styles: dict[str, Any] = {name: ColwiseParallel() for name in "qkv"} | {"o": RowwiseParallel()}
        for name in {"q_norm", "k_norm"} & dict(attention.named_children()).keys():
            # Of each head: weights are whole, their gradients are sums over the ranks.
            styles[name] = SequenceParallel(sequence_dim=1, use_local_output=True)
        parallelize_module(attention, mesh, styles)
        for weight in attention.parameters():
            if isinstance(weight, DTensor):
                weight.register_post_accumulate_grad_hook(settle)
        attention.heads, attention.kv_heads = attention.heads // ways, attention.kv_heads // ways
        attention.register_forward_pre_hook(once(mesh))
    for mlp in parts(learner, MLP):
        if mlp.up.out_features % ways:
            raise ValueError(f"{mlp.up.out_features} hidden units cannot be divided by {ways} tensor parallel ranks")
        styles = {"up": ColwiseParallel(), "down": RowwiseParallel()}
        parallelize_module(mlp, mesh, styles | ({"gate": ColwiseParallel()} if isinstance(mlp, GatedMLP) else {}))
        mlp.register_forward_pre_hook(once(mesh))
