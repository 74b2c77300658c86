"""Optimisers: which parameters go where, Muon against PyTorch's, memory written and read back."""

from copy import deepcopy

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

import cutaway
from cutaway.train.learner import Learner
from cutaway.train.muon import Muon, orthogonal
from cutaway.train.optimizers import Optimizer, Optimizers


def small():
    still = dict(dropout=0.0, attention_dropout=0.0, embed_dropout=0.0)
    return cutaway.build("gpt2", vocab=31, width=16, depth=2, heads=2, length=8, **still).train()


def train(model, optimizers, steps=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        ids = torch.randint(31, (2, 8), generator=random)
        model(ids, labels=ids).loss.backward()
        optimizers.step(0.5)
        optimizers.zero_grad()


@given(st.integers(1, 3), st.integers(2, 24), st.integers(2, 24), st.integers(0, 99))
def test_orthogonal_updates_have_singular_values_near_one(stack, rows, columns, seed):
    x = torch.randn(stack, rows, columns, generator=torch.Generator().manual_seed(seed))
    values = torch.linalg.svdvals(orthogonal(x, torch.float32))
    whole = torch.linalg.svdvals(x / x.norm(dim=(-2, -1), keepdim=True)) > 0.02  # smaller ones need more rounds
    assert values.max() < 1.3
    assert (values[whole] > 0.3).all()


def test_muon_is_pytorchs_up_to_its_rounding():
    """PyTorch iterates in bfloat16; in float32 the update is the same but for that."""
    ours, theirs = torch.nn.Parameter(torch.randn(12, 20)), None
    theirs = torch.nn.Parameter(ours.detach().clone())
    a = Muon([ours], lr=0.1, weight_decay=0.2, dtype=torch.bfloat16)
    b = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.2, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        grad = torch.randn(12, 20)
        ours.grad, theirs.grad = grad.clone(), grad.clone()
        a.step()
        b.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.02)


def test_muon_refuses_vectors():
    with pytest.raises(ValueError, match="updates matrices"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=0.1)


def test_groups():
    """Muon has the matrices inside of blocks, AdamW the tables with decay, and vectors without."""
    model = small()
    made = Optimizers(model, Optimizer("muon", weight_decay=0.3))
    muon, adam = made.parts
    inner = {made.names[p] for p in muon.param_groups[0]["params"]}
    assert inner == {n for n, p in model.named_parameters() if p.ndim == 2 and "blocks" in n}
    decays, stays = ({made.names[p] for p in group["params"]} for group in adam.param_groups)
    assert decays == {n for n, p in model.named_parameters() if p.ndim == 2 and "blocks" not in n}
    assert stays == {n for n, p in model.named_parameters() if p.ndim == 1}
    assert [group["weight_decay"] for group in adam.param_groups] == [0.3, 0.0]


def test_frozen_parameters_are_left_out_and_nothing_to_train_is_an_error():
    model = small()
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="every parameter is frozen"):
        Optimizers(model, Optimizer())
    model.network.stack.norm.requires_grad_(True)
    assert len(Optimizers(model, Optimizer()).names) == 2


@pytest.mark.parametrize("kind", ["adamw", "muon", "adafactor"])
def test_memory_goes_on_where_it_was(kind):
    torch.manual_seed(0)
    one = small()
    first = Optimizers(one, Optimizer(kind))
    train(one, first)
    torch.manual_seed(0)
    two = small()
    two.load_state_dict(one.state_dict())
    second = Optimizers(two, Optimizer(kind))
    state = first.state()
    blank = second.blank(state)
    assert {n: t.shape for n, t in blank.items()} == {n: t.shape for n, t in state.items()}
    for name, tensor in blank.items():
        tensor.copy_(state[name])
    second.load(blank)
    for each in ((one, first), (two, second)):
        train(*each, seed=1)
    for (n, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b), n


def test_memory_of_a_parameter_that_is_not_there():
    with pytest.raises(KeyError, match="nowhere"):
        Optimizers(small(), Optimizer()).blank(["nowhere.weight/exp_avg"])


@pytest.mark.parametrize("wrong", [dict(lr=0.0), dict(betas=(1.0, 0.9)), dict(weight_decay=-1.0)])
def test_refused(wrong):
    with pytest.raises(ValueError, match="an optimizer has"):
        Optimizer(**wrong)


@pytest.mark.parametrize("kind", ["adamw", "muon", "adafactor"])
def test_weights_cut_out_of_a_common_matrix_learn_as_those_in_order(kind):
    """They may be turned, too, as q, k and v in GPT-2's files; nothing may write to them as if they stood in order."""
    one = small()
    two = deepcopy(one)
    for p in two.parameters():
        p.data = torch.cat([p.data.T, p.data.T], 1)[:, : len(p)].T if p.dim() == 2 else p.data
    assert not all(p.is_contiguous() for p in two.parameters())
    for model in (one, two):
        train(model, Optimizers(model, Optimizer(kind, lr=1e-2)))
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6, msg=name)


def test_a_step_is_that_of_transformers(tmp_path):
    """The same checkpoint, batch and AdamW: the same weights after two steps."""
    still = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    config = transformers.GPT2Config(vocab_size=31, n_embd=16, n_layer=2, n_head=2, n_positions=8, **still)
    theirs = transformers.GPT2LMHeadModel(config).train()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = cutaway.load(tmp_path / "theirs").train()
    how = Optimizer("adamw", lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0)
    mine, yours = Optimizers(ours, how), torch.optim.AdamW(theirs.parameters(), 1e-2, (0.9, 0.95), 1e-8, weight_decay=0)
    for seed in range(2):
        ids = torch.randint(31, (2, 8), generator=torch.Generator().manual_seed(seed))
        (Learner(ours)({"input_ids": ids[:, :-1]}, ids[:, 1:]) / 14).backward()
        theirs(ids, labels=ids).loss.backward()
        mine.step(1.0)
        mine.zero_grad()
        yours.step()
        yours.zero_grad()
    cutaway.save(ours, tmp_path / "ours")
    again = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "ours").state_dict()
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(again[name], tensor, rtol=0, atol=2e-5, msg=name)
