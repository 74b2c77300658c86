"""The loop: the same numbers however a step is cut up or interrupted, and what it does when something goes wrong."""

import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from train.small import begin, corpus, quiet, recipe

import cutaway
from cutaway.families import llama
from cutaway.train import checkpoints, run
from cutaway.train.adaptation.lora import LoRA
from cutaway.train.loop import PACED
from cutaway.train.optimizers import Optimizer
from cutaway.train.proof import prove
from cutaway.train.recipes import Batching, Evaluation, Saving
from cutaway.train.report.metrics import read
from cutaway.train.schedules import Schedule
from cutaway.train.trouble import DivergedError


@pytest.fixture
def text(tmp_path):
    return corpus(tmp_path)


STILL = dict(dropout=0.0, attention_dropout=0.0, embed_dropout=0.0)


def digest(made) -> str:
    return checkpoints.digest(made.loop.tensors())


def test_a_run_learns_and_leaves_a_model(text, tmp_path):
    made = begin(text, tmp_path / "runs" / "a", steps=60, optimizer=Optimizer("adamw", lr=1e-2))
    result = made.go()
    assert result["ended"] == "finished"
    assert result["step"] == 60
    records = read(made.folder / "metrics.jsonl")
    losses = [r["loss"] for r in records if r["kind"] == "train"]
    assert losses[0] > 5  # ln 259
    assert losses[-1] < 3
    model = cutaway.load(made.folder)
    assert {n: t.tolist() for n, t in model.state_dict().items()} == {
        n: t.tolist() for n, t in made.loop.model.state_dict().items()
    }
    assert len(model.generate("the ", max_new_tokens=5)) > 0
    assert (made.folder / "curve.svg").read_text().startswith("<svg")
    assert checkpoints.steps(made.folder) == [56, 60]


def test_bits_per_byte_are_those_of_the_whole_text(text, tmp_path):
    """The figure of a finished run, computed again from its model: every token but the first, over all bytes."""
    made = begin(text, tmp_path / "runs" / "a", batch=Batching("windows", length=32, rows=2), steps=2)
    found = made.go()
    model, shards = cutaway.load(made.folder), made.loop.judge.batches.shards
    ids = shards.span("input", 0, shards.total("input"))
    nats = 0.0
    for start in range(0, len(ids) - 1, 32):
        piece = ids[start : start + 33]
        logits = model(piece[None, :-1]).logits[0]
        nats += torch.nn.functional.cross_entropy(logits, piece[1:], reduction="sum").item()
    size = sum(len(line) for i, line in enumerate(Path(text).read_text().splitlines()) if i % 20 == 19)
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-5)


KINDS = {
    "packed": {},
    "windows": dict(batch=Batching("windows", length=32, rows=3)),
    "muon, ema": dict(optimizer=Optimizer("muon", lr=1e-2), ema=0.9),
    "bfloat16": dict(precision="bfloat16"),
    "adafactor, recompute": dict(optimizer=Optimizer("adafactor", lr=1e-2), recompute=True),
    "lora": dict(lora=LoRA(rank=2, targets=("q", "v"), dropout=0.2)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_is_the_same_run(kind, text, tmp_path):
    """Stopped in the middle of an epoch, twice; dropout and accumulation are on."""
    whole = begin(text, tmp_path / "runs" / "whole", **KINDS[kind])
    whole.go()
    first = begin(text, tmp_path / "runs" / "cut", **KINDS[kind])
    first.loop.run(until=5)
    second = run.resume(tmp_path / "runs" / "cut", quiet)
    assert second.loop.progress.step == 5
    second.loop.run(until=9)
    third = run.resume(tmp_path / "runs" / "cut", quiet)
    third.go()
    assert digest(third) == digest(whole)
    same = lambda made: [{k: v for k, v in r.items() if "second" not in k} for r in read(made.folder / "metrics.jsonl")]
    assert [r for r in same(third) if r["kind"] == "train"] == [r for r in same(whole) if r["kind"] == "train"]
    assert same(third)[-1] == same(whole)[-1]


def test_the_proof_for_users(text, tmp_path):
    made = begin(text, tmp_path / "runs" / "a")
    made.go()
    before = sorted((p.name, p.stat().st_mtime_ns) for p in made.folder.rglob("*"))
    proof = prove(made.folder, quiet)
    assert proof.kept
    assert "bit for bit" in str(proof)
    assert sorted((p.name, p.stat().st_mtime_ns) for p in made.folder.rglob("*")) == before


def test_the_proof_notices_what_is_lost(text, tmp_path, monkeypatch):
    made = begin(text, tmp_path / "runs" / "a")
    made.go()
    monkeypatch.setattr("cutaway.train.optimizers.Optimizers.load", lambda self, state: None)
    assert not prove(made.folder, quiet).kept


def test_accumulation_is_the_full_batch(text, tmp_path):
    """Four micro-batches of one row against one of four; rows have different numbers of real targets."""
    still = llama.Config(width=16, depth=2, heads=2, hidden=32, vocab=300)
    ways = [(1, 4), (2, 2), (4, 1)]
    found = []
    for rows, accumulate in ways:
        batch = Batching("packed", length=32, rows=rows, accumulate=accumulate)
        made = begin(text, tmp_path / "runs" / f"{rows}", model_type="llama", model=still, batch=batch, steps=3)
        made.loop.steps(3)
        found.append(torch.cat([p.detach().flatten() for p in made.loop.model.parameters()]))
    for other in found[1:]:
        torch.testing.assert_close(found[0], other, rtol=0, atol=2e-6)


def test_recomputing_changes_no_bit(text, tmp_path):
    runs = [begin(text, tmp_path / "runs" / str(on), recompute=on) for on in (False, True)]
    for made in runs:
        made.loop.steps(3)
    assert digest(runs[0]) == digest(runs[1])


def test_nan_stops_the_run_and_names_the_part(text, tmp_path):
    made = begin(text, tmp_path / "runs" / "a")
    made.loop.run(until=4)
    block = made.loop.model.network.stack.blocks[1].mlp.sublayer
    hook = block.register_forward_hook(lambda module, args, out: out * float("nan"))
    with pytest.raises(DivergedError, match=r"step 5, micro-batch 0: .* comes out of .*blocks\.1\.mlp\.sublayer"):
        made.go()
    hook.remove()
    assert checkpoints.newest(made.folder)[0] == checkpoints.folder_of(made.folder, 4)
    assert run.resume(made.folder, quiet).go()["ended"] == "finished"


def test_a_gradient_that_is_infinite_is_named(text, tmp_path):
    made = begin(text, tmp_path / "runs" / "a")
    made.loop.model.network.embed.weight.register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(DivergedError, match=r"all activations are finite, but the gradient of .*embed\.weight"):
        made.go()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(number, text, tmp_path):
    made = begin(text, tmp_path / "runs" / "a")
    real, handler = made.loop.step, signal.getsignal(number)

    def step():
        if made.loop.progress.step == 2:
            os.kill(os.getpid(), number)
        return real()

    made.loop.step = step
    result = made.go()
    assert result["ended"] == f"stopped by {number.name}"
    assert checkpoints.steps(made.folder) == [3]
    assert signal.getsignal(number) is handler
    assert not (made.folder / "model").exists()
    again = run.resume(made.folder, quiet)
    assert again.go()["ended"] == "finished"


def test_early_stop(text, tmp_path):
    """A rate of nearly nothing gets no better."""
    made = begin(
        text, tmp_path / "runs" / "a", optimizer=Optimizer("adamw", lr=1e-30), steps=50,
        evaluate=Evaluation(every=2, batches=2, patience=3),
    )  # fmt: skip
    result = made.go()
    assert result["ended"].startswith("no better bits per byte in 3 validations")
    assert result["step"] == 8
    assert (made.folder / "model").is_dir()


def test_the_running_mean_is_the_result(text, tmp_path):
    made = begin(text, tmp_path / "runs" / "a", ema=0.5)
    made.go()
    loaded = cutaway.load(made.folder).network.state_dict()
    for name, mean in made.loop.ema.items():
        assert torch.equal(loaded[name], mean)
    assert any(not torch.equal(loaded[n], p) for n, p in made.loop.weights().items())


def test_the_mean_of_the_last_checkpoints_is_the_result(text, tmp_path):
    made = begin(text, tmp_path / "runs" / "a", save=Saving(every=3, keep=1, average=3))
    made.go()
    assert checkpoints.steps(made.folder) == [6, 9, 12]
    kept = [checkpoints.reader(checkpoints.folder_of(made.folder, step)) for step in (6, 9, 12)]
    from cutaway.train.ranks.pieces import assemble

    for name, tensor in cutaway.load(made.folder).network.state_dict().items():
        shape = tuple(tensor.shape)
        parts = [assemble(r, f"weights/{name}", shape, (0,) * len(shape), shape).double() for r in kept]
        torch.testing.assert_close(tensor, torch.stack(parts).mean(0).float())


def test_adapters_are_merged_in_the_result_and_kept_beside_it(text, tmp_path):
    base = begin(text, tmp_path / "runs" / "base")
    base.go()
    tuned = replace(recipe(text), start=str(base.folder), lora=LoRA(rank=2, targets=("q",)))
    made = run.start(tuned, tmp_path / "runs" / "tuned", quiet)
    made.go()
    ids = torch.randint(250, (1, 9))
    with torch.no_grad():
        expected = made.loop.model.eval()(ids).logits
        torch.testing.assert_close(cutaway.load(made.folder)(ids).logits, expected, rtol=1e-5, atol=1e-5)
        from cutaway.train.adaptation import peft

        adapted = cutaway.load(base.folder)
        peft.read(adapted, made.folder / "adapter")
        torch.testing.assert_close(adapted(ids).logits, expected, rtol=1e-5, atol=1e-5)


def test_frozen_parts_stay(text, tmp_path):
    made = begin(text, tmp_path / "runs" / "a", freeze=("*.blocks.0.*",))
    before = {n: p.detach().clone() for n, p in made.loop.model.named_parameters()}
    made.go()
    for name, p in made.loop.model.named_parameters():
        assert torch.equal(before[name], p) == ("blocks.0" in name), name


def test_changed_data_are_not_resumed(text, tmp_path):
    made = begin(text, tmp_path / "runs" / "a")
    made.loop.run(until=4)
    with open(text, "a") as file:
        file.write("one more line\n")
    with pytest.raises(ValueError, match="data or its tokenizer has changed"):
        run.resume(made.folder, quiet)


def test_finished_and_foreign_folders_are_not_resumed(text, tmp_path):
    made = begin(text, tmp_path / "runs" / "a", steps=1)
    made.go()
    with pytest.raises(ValueError, match="is finished"):
        run.resume(made.folder, quiet)
    with pytest.raises(ValueError, match="holds no run"):
        run.resume(tmp_path, quiet)
    with pytest.raises(ValueError, match="is there already"):
        begin(text, made.folder)


@pytest.mark.parametrize(("shape", "share"), [("cosine", 0.0), ("wsd", 0.8)])
def test_minutes_choose_the_steps(shape, share, text, tmp_path):
    """By the pace so far, before the rate falls; then they stand in the recipe, and a resumed run keeps to them."""
    made = begin(text, tmp_path / "runs" / "a", minutes=0.05, steps=10**6, schedule=Schedule(shape, 2))
    decided = []
    real = made.loop.fit

    def fit():
        real()
        if made.loop.recipe.minutes is None:
            decided.append(made.loop.progress.seconds)

    made.loop.fit = fit
    made.go()
    steps = made.loop.recipe.steps
    assert PACED < steps < 10**5
    assert made.loop.progress.step == steps
    assert decided[0] >= share * 0.05 * 60 * 0.9
    told = json.loads((made.folder / "recipe.json").read_text())
    assert (told["steps"], told["minutes"]) == (steps, None)


def test_minutes_that_are_enough_change_nothing(text, tmp_path):
    made = begin(text, tmp_path / "runs" / "a", minutes=60.0, steps=30)
    assert made.go()["step"] == 30
    assert made.loop.recipe.minutes is None


def test_the_probe_draws_no_random_numbers(text, tmp_path):
    one = begin(text, tmp_path / "runs" / "a", precision="auto")
    assert one.loop.precision in ("float32", "bfloat16")
    one.loop.precision = "float32"
    two = begin(text, tmp_path / "runs" / "b")
    for made in (one, two):
        made.loop.steps(2)
    assert digest(one) == digest(two)
