"""Many ranks against one: through torchrun, with gloo, as a user starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import cutaway
from cutaway.train.learner import Learner
from cutaway.train.planning.simulate import pretended
from cutaway.train.ranks.parallel import prepare, split_matrices
from cutaway.train.ranks.pieces import gather, norm, restore
from cutaway.train.ranks.world import Parallel, World, cut

HERE = Path(__file__).parent


def launch(ranks: int, folder: Path) -> dict[str, object]:
    """What the ranks found."""
    command = ["-m", "torch.distributed.run", "--standalone", "--max-restarts", "0", "--nproc-per-node", str(ranks)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, *command, str(HERE / "ranks.py"), str(folder)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / f"{ranks}.json").read_text())


@pytest.mark.slow
def test_ranks_take_the_steps_of_one_process(tmp_path: Path) -> None:
    """Losses and norms of five AdamW steps, first gradients, every rule in a ring; what 2 ranks wrote is read by 4,
    what 4 wrote by one."""
    two, four = launch(2, tmp_path), launch(4, tmp_path)
    assert len(two) == 12
    assert len(four) == 8
    for name, found in (two | four).items():
        for figure in found.values() if isinstance(found, dict) else [found]:
            assert figure is True or (figure is not False and figure <= 1e-5), f"{name}: {found}"

    sys.path.insert(0, str(HERE))
    try:
        import ranks
    finally:
        sys.path.remove(str(HERE))
    module = ranks.learner("qwen3")
    optimizer = torch.optim.AdamW(module.parameters())
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    held = ranks.state(module, optimizer)
    expected = torch.load(tmp_path / "of_4" / "whole.pt")
    assert not all(held[name].equal(expected[name]) for name in expected)
    restore(held, ranks.reader(tmp_path / "of_4"))
    assert held.keys() == expected.keys()
    assert all(held[name].equal(expected[name]) for name in expected)
    files = list((tmp_path / "of_4").glob("rank_*.safetensors"))
    numbers = sum(t.nbytes for t in expected.values())
    assert numbers <= sum(f.stat().st_size for f in files) <= 1.5 * numbers  # written once, beside the headers


def test_one_process_is_a_world(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(variable, raising=False)
    world = World.from_environment()
    learner = Learner(cutaway.build("gpt2", vocab=11, width=8, depth=1, heads=2, length=8))
    assert prepare(learner, world) is learner
    assert world.first
    assert (world.rows, world.chunk) == ((0, 1), (0, 1))
    tensors = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[4.0]])}
    assert float(norm(tensors, world)) == 5.0
    assert all(gather(tensors, world)[name].equal(t) for name, t in tensors.items())
    world.wait()
    world.close()


@pytest.mark.parametrize("rank", range(8))
def test_every_rank_has_a_share_of_its_own(rank: int) -> None:
    world = World(Parallel("fsdp", tensor=2, sequence=2), rank, 8)
    assert world.rows == (rank // 4, 2)
    assert world.chunk == (rank // 2 % 2, 2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(gathered="bfloat16"), "only fsdp"),
        (dict(tensor=0), "count ranks"),
    ],
)
def test_what_does_not_go_together_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Parallel(**wrong)
    with pytest.raises(ValueError, match=r"6 ranks are no multiple of 4"):
        Parallel(tensor=4).rows(6)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("t5", dict(vocab=11, width=8, depth=1, heads=2, hidden=16, head_dim=4), "RelativeBias"),
        ("gpt2", dict(vocab=11, width=9, depth=1, heads=3, length=8), "3 heads"),
        ("gpt2", dict(vocab=11, width=8, depth=1, heads=2, length=8, hidden=7), "7 hidden units"),
        ("olmo2", dict(vocab=11, width=8, depth=1, heads=2, hidden=16), "whole projections"),
    ],
)
def test_parts_that_cannot_be_split_are_refused(name: str, config: dict[str, object], message: str) -> None:
    with pretended(Parallel(tensor=2), 2) as world, pytest.raises(ValueError, match=message):
        split_matrices(cutaway.build(name, **config), world.mesh["tensor"])


def test_rows_are_cut_with_their_positions() -> None:
    ids = torch.arange(16).view(2, 8)
    keep = torch.tensor([[1] * 8, [0, 0, 1, 1, 1, 1, 1, 0]])
    world = World(Parallel(sequence=2), 1, 2)
    inputs, targets = cut({"input_ids": ids, "attention_mask": keep}, ids + 1, world)
    assert targets.tolist() == [[5, 6, 7, 8], [13, 14, 15, 16]]
    assert inputs["input_ids"].tolist() == [[4, 5, 6, 7], [12, 13, 14, 15]]
    assert inputs["position_ids"].tolist() == [[4, 5, 6, 7], [2, 3, 4, 4]]
    assert inputs["document_ids"].tolist() == [[0, 0, 0, 0], [0, 0, 0, -1]]
    packed, _ = cut({"input_ids": ids, "document_ids": ids // 5}, ids, world)
    assert packed["position_ids"].tolist() == [[4, 0, 1, 2], [2, 3, 4, 0]]
    with pytest.raises(ValueError, match="8 tokens cannot be cut into 3"):
        cut({"input_ids": ids}, ids, World(Parallel(sequence=3), 0, 3))
    with pytest.raises(ValueError, match="decoder_input_ids"):
        cut({"input_ids": ids, "decoder_input_ids": ids}, ids, world)
