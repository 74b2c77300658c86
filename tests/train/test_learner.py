"""The chunked loss against the plain one: values, gradients, memory."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import cutaway
from cutaway.output import IGNORED
from cutaway.train import learner
from cutaway.train.learner import Learner, head_loss

STILL = dict(dropout=0.0, attention_dropout=0.0)
MODELS = {
    "gpt2": dict(vocab=97, width=32, depth=2, heads=2, length=16, embed_dropout=0.0, **STILL),
    "llama": dict(vocab=97, width=32, depth=2, heads=2, hidden=48),
    "gemma2": dict(vocab=97, width=32, depth=2, heads=2, hidden=48, kv_heads=1, head_dim=16),
    "bert": dict(vocab=97, width=32, depth=2, heads=2, hidden=48, length=16, head="masked_lm", **STILL),
}


def plain(model, ids: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    logits = model(ids).logits.flatten(0, 1).float()
    return F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing)


@pytest.mark.parametrize("rows", [1, 5, 1000])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_those_of_all_logits(name, smoothing, rows, monkeypatch):
    model = cutaway.build(name, **MODELS[name]).train()
    ids, targets = torch.randint(97, (3, 7)), torch.randint(97, (3, 7))
    targets[0, 2:4] = IGNORED
    monkeypatch.setattr(learner, "NUMBERS", rows * 97)
    ours = Learner(model, smoothing)
    loss = ours({"input_ids": ids}, targets)
    expected = plain(model, ids, targets, smoothing)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    weights = [p for p in model.parameters() if p.requires_grad]
    got = torch.autograd.grad(loss / 18, weights)
    for mine, theirs in zip(got, torch.autograd.grad(expected / 18, weights), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_smoothing_is_for_training_only():
    model = cutaway.build("gpt2", **MODELS["gpt2"])
    ids, targets = torch.randint(97, (2, 5)), torch.randint(97, (2, 5))
    ours = Learner(model, 0.3).eval()
    torch.testing.assert_close(ours({"input_ids": ids}, targets), plain(model, ids, targets, 0.0), rtol=1e-5, atol=1e-4)


def test_nothing_to_predict_costs_nothing_and_moves_nothing():
    model = cutaway.build("gpt2", **MODELS["gpt2"]).train()
    loss = Learner(model)({"input_ids": torch.zeros(1, 4, dtype=torch.long)}, torch.full((1, 4), IGNORED))
    assert loss.item() == 0
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


@given(rows=st.integers(1, 40), count=st.integers(1, 40), vocab=st.integers(2, 50), seed=st.integers(0, 99))
def test_any_cut_gives_the_same_sum(rows, count, vocab, seed):
    random = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, 4, generator=random, dtype=torch.float64)
    targets = torch.randint(vocab, (count,), generator=random)
    head = torch.nn.Linear(4, vocab, dtype=torch.float64)
    old, learner.NUMBERS = learner.NUMBERS, rows * vocab
    try:
        with torch.no_grad():
            assert head_loss(head, hidden, targets).item() == pytest.approx(
                F.cross_entropy(head(hidden).float(), targets, reduction="sum").item(), rel=1e-4, abs=1e-4
            )
    finally:
        learner.NUMBERS = old


def test_classifiers_too():
    model = cutaway.build("bert", vocab=50, width=16, depth=1, heads=2, hidden=32, length=16, head="sequence").train()
    ids, targets = torch.randint(50, (4, 6)), torch.tensor([0, 1, 1, 0])
    torch.manual_seed(1)
    loss = Learner(model)({"input_ids": ids}, targets)
    torch.manual_seed(1)
    torch.testing.assert_close(loss, model(ids, labels=targets).loss * 4)


def test_the_largest_tensor_is_a_chunk_of_logits():
    """What autograd keeps for the way back, and what a step holds at once, is far below all logits."""
    vocab, rows, width = 20_000, 256, 8
    head = torch.nn.Linear(width, vocab, bias=False)
    hidden = torch.randn(rows, width, requires_grad=True)
    sizes: list[int] = []

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in (out if isinstance(out, tuple) else (out,)) if isinstance(t, Tensor))
            return out

    old, learner.NUMBERS = learner.NUMBERS, 16 * vocab
    try:
        with Largest():
            head_loss(head, hidden, torch.zeros(rows, dtype=torch.long)).backward()
    finally:
        learner.NUMBERS = old
    assert max(sizes) <= 16 * vocab
