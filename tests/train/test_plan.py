"""Plans against what really happens: what autograd keeps, what a process takes, what ranks hold and PyTorch counts."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import cutaway
from cutaway import families, hub
from cutaway.parts import Attention
from cutaway.train.planning.devices import DEVICES, device, here
from cutaway.train.planning.plan import operations, plan
from cutaway.train.planning.simulate import pretended, run, shapes, work
from cutaway.train.ranks.parallel import parts
from cutaway.train.ranks.world import Parallel

HERE = Path(__file__).parent
TINY: dict[str, dict[str, Any]] = {
    "gpt2": dict(vocab=101, width=32, depth=3, heads=4, length=32),
    "llama": dict(vocab=101, width=32, depth=3, heads=4, kv_heads=2, hidden=48),
    "bert": dict(vocab=61, width=32, depth=3, heads=4, hidden=48, length=32),
    "t5": dict(vocab=61, width=32, depth=2, heads=4, hidden=48, head_dim=8),
}


def published(name: str) -> Any:
    form = families.form("gpt2")
    return families.module("gpt2").Config(**{**form.read({})[0], **form.sizes[name]})


@pytest.mark.parametrize(
    ("dtype", "recompute"), [(torch.float32, False), (torch.bfloat16, False), (torch.float32, True)]
)
@pytest.mark.parametrize("name", TINY)
def test_activations_are_what_autograd_keeps(
    name: str, dtype: torch.dtype, recompute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where bfloat16 has instructions, for which plans are made; without them no copies of weights are kept."""
    monkeypatch.setattr("cutaway.kernels.product.bfloat16_is_native", lambda: True)
    model = cutaway.build(name, **TINY[name])
    kept = run(model.network, 3, 16, dtype).total(recompute)
    told = work(model.origin.model_type, model.network.config, Parallel(), 3, 16, dtype, False, recompute)
    assert told.activations + told.copies == kept


def test_deep_stacks_are_what_their_patterns_repeat() -> None:
    """A stack of two kinds of layers that is deeper than what is run without numbers."""
    config = dict(vocab=101, width=16, depth=14, heads=2, kv_heads=1, hidden=24, head_dim=8)
    model = cutaway.build("gemma2", **config)
    kept = run(model.network, 1, 8, torch.float32).total(False)
    told = work("gemma2", model.network.config, Parallel(), 1, 8, torch.float32, False, False)
    assert told.activations + told.copies == kept


def test_what_is_kept_is_what_hooks_see() -> None:
    """The counter itself, against a layer whose tensors can be listed by hand."""
    network = cutaway.build("llama", **TINY["llama"] | dict(depth=1)).network
    kept = run(network, 2, 16, torch.float32)
    stream, hidden, wide = (4 * 2 * 16 * n for n in (32, 48, 16))
    assert kept.inputs == [stream]
    assert kept.blocks[0] > 5 * stream + 3 * hidden + 2 * wide
    assert run(network, 4, 16, torch.float32).blocks[0] > 1.9 * kept.blocks[0]


@pytest.mark.slow
def test_memory_is_what_a_process_takes() -> None:
    """The plan's total is within 25 % of what two real steps add to a process's peak."""
    sys.path.insert(0, str(HERE))
    try:
        import step
    finally:
        sys.path.remove(str(HERE))
    words = [sys.executable, str(HERE / "step.py"), "float32", "0", "8", "128"]
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(cutaway.__file__).parents[1])}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    measured = float(done.stdout.split()[0])
    made = plan("gpt2", families.module("gpt2").Config(**step.MODEL), batch=8, length=128, on="cpu", dtype="float32")
    assert 0.75 < made.total / measured < 1.25, f"{made}\nmeasured {measured:,.0f}"


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_operations_are_what_torch_counts(name: str) -> None:
    network = cutaway.build(name, **TINY[name] | dict(dropout=0.0)).network
    for attention in parts(network, Attention):
        attention.kernel.how, attention.kernel.dropout = "eager", 0.0
    ids = torch.zeros(1, 16, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        network.head(network(ids)).sum().backward()
    everything = operations(network, Parallel(), 2 * 16 - 1, recompute=False) * 16  # eager computes hidden scores, too
    assert counter.get_total_flops() == everything


@pytest.mark.parametrize("size", [3, 4])
def test_ranks_hold_all_of_a_model_together(size: int) -> None:
    config = families.module("gpt2").Config(**TINY["gpt2"])
    first = shapes(hub.sketch("gpt2", config), Parallel("fsdp"), size)
    whole = [tuple(p.shape) for p in hub.sketch("gpt2", config).parameters()]
    assert first == [(math.ceil(n / size), *rest) for n, *rest in whole]


def test_gpt3_on_1024_ranks_is_sharded() -> None:
    config = replace(published("gpt3-175b"), depth=2)
    how = Parallel("fsdp", tensor=8)
    held = sum(math.prod(s) for s in shapes(hub.sketch("gpt2", config), how, 1024))
    blocks = sum(p.numel() for p in hub.sketch("gpt2", config).stack.parameters())
    table = sum(p.numel() for p in hub.sketch("gpt2", config).parameters()) - blocks
    assert held == pytest.approx(blocks / 1024 + table / 128, rel=1e-3)


def test_a_plan_adds_up() -> None:
    config = families.module("gpt2").Config(**TINY["gpt2"])
    one = plan("gpt2", config, batch=8, length=16)
    parameters = sum(p.numel() for p in hub.sketch("gpt2", config).parameters())
    assert one.parameters == parameters
    assert one.memory["weights"] == one.memory["gradients"] == 4 * parameters
    assert one.memory["optimiser"] == 8 * parameters
    assert not one.sent
    two = plan("gpt2", config, batch=8, length=16, devices=2)
    assert two.sent == {"data parallel": 4 * parameters}  # 2 (n - 1) / n of the gradients
    assert two.memory["activations"] * 2 == one.memory["activations"]
    shards = plan("gpt2", config, batch=8, length=16, devices=4, how=Parallel("fsdp"), rows=1)
    blocks = sum(p.numel() for p in hub.sketch("gpt2", config).stack.blocks.parameters())
    assert shards.sent["data parallel"] == pytest.approx(
        2 * 0.75 * 4 * (parameters * 2 + blocks)
    )  # twice: two micro-batches
    split = plan("gpt2", config, batch=8, length=16, devices=2, how=Parallel(tensor=2), dtype="float32")
    assert split.sent["tensor parallel"] == 2 * 6 * 8 * 16 * 32 * 4  # forward and back, six sublayers, once the stream
    ring = plan("gpt2", config, batch=8, length=16, devices=2, how=Parallel(sequence=2), dtype="float32")
    assert ring.sent["ring"] == 3 * 2 * 8 * 8 * 32 * (4 + 4 + 2 * 4)
    assert plan("gpt2", config, batch=8, length=16, optimiser="muon").memory["optimiser"] < one.memory["optimiser"]
    again = plan("gpt2", config, batch=8, length=16, recompute=True)
    assert again.memory["activations"] < one.memory["activations"]
    assert again.flops > one.flops
    assert "operations" in str(one)
    assert one.bottleneck in str(one)
    small = replace(DEVICES["h100"], memory=1e6)
    assert plan("gpt2", config, batch=8, length=16, on=small).bottleneck.startswith("memory: ")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(batch=3, devices=2), "3 rows on 2 x"),
        (dict(batch=4, rows=3), "divide evenly"),
        (dict(dtype="int8"), "float32, bfloat16"),
        (dict(optimiser="sgd"), "adamw, muon, adafactor"),
        (dict(on="h1000"), "no device 'h1000'"),
    ],
)
def test_what_cannot_be_planned_is_refused(wrong: dict[str, Any], message: str) -> None:
    config = families.module("gpt2").Config(**TINY["gpt2"])
    with pytest.raises(ValueError, match=message):
        plan("gpt2", config, **dict(batch=4, length=16) | wrong)


def test_no_ranks_are_pretended_among_real_ones() -> None:
    with pretended(Parallel(), 2), pytest.raises(ValueError, match="before torchrun"), pretended(Parallel(), 2):
        pass
    with pretended(Parallel(), 2) as world:
        assert world.size == 2


def test_this_machine_is_measured() -> None:
    measured = here()
    assert measured.memory > 2**28
    assert all(n > 1e8 for n in measured.flops.values())
    assert measured.bandwidth > 1e8
    assert device("h100").link(8) > device("h100").link(9)
