"""LoRA on any family: what is adapted, that it begins as nothing, learns alone, and merges."""

import pytest
import torch
from families.tiny import tiny
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import cutaway
from cutaway.model import Model
from cutaway.train.adaptation.lora import LoRA, LoRALinear, adapters, add, linears, merge, places
from cutaway.train.adaptation.patterns import freeze, unfreeze

GPT = dict(vocab=61, width=32, depth=2, heads=4, length=48)


@pytest.fixture
def model() -> Model:
    return cutaway.build("gpt2", **GPT)


def logits(model: Model) -> torch.Tensor:
    return model(torch.arange(12).view(2, 6)).logits


ATTENTION = "stack.blocks.{}.attention.sublayer.{}"


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (("*.attention.*.q",), [ATTENTION.format(i, "q") for i in (0, 1)]),
        (("q", "v"), [ATTENTION.format(i, x) for i in (0, 1) for x in "qv"]),
        (("c_attn",), [ATTENTION.format(i, x) for i in (0, 1) for x in "qkv"]),
        (("h.1.mlp.*",), [f"stack.blocks.1.mlp.sublayer.{x}" for x in ("up", "down")]),
        (("stack.blocks.[1-9].attention.*.o",), [ATTENTION.format(1, "o")]),
    ],
)
def test_targets(model: Model, targets: tuple[str, ...], names: list[str]):
    assert add(model, LoRA(targets=targets)) == names
    assert list(adapters(model)) == names
    learning = {n.rpartition(".")[0] for n, p in model.network.named_parameters() if p.requires_grad}
    assert learning == set(names)


@pytest.mark.parametrize(
    ("target", "near"),
    [("c_prj", "c_proj"), ("c_atn", "c_attn"), ("embed", "q, c_attn, k, v, o"), ("atention.*.q", "attention")],
)
def test_a_target_that_fits_nothing(model: Model, target: str, near: str):
    with pytest.raises(ValueError, match=rf"fits no Linear; near it are .*{near}"):
        add(model, LoRA(targets=("q", target)))
    assert not adapters(model)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("wrong", [dict(rank=0), dict(dropout=1.0), dict(dropout=-0.1), dict(targets=())])
def test_settings_that_mean_nothing(wrong: dict):
    with pytest.raises(ValueError, match="LoRA needs a rank"):
        LoRA(**wrong)


def test_begins_as_it_was_and_learns_alone(model: Model):
    before = {n: p.clone() for n, p in model.network.named_parameters()}
    expected = logits(model)
    names = add(model, LoRA(rank=2, targets=("q", "up")))
    assert torch.equal(logits(model), expected)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    ids = torch.arange(12).view(2, 6)
    losses = []
    for _ in range(20):
        loss = model(ids, labels=ids).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.2
    now = dict(model.network.named_parameters())
    assert all(torch.equal(now[n], before[n]) for n in before), "names and weights of the model stay"
    assert now.keys() - before.keys() == {f"{n}.lora_{x}" for n in names for x in "ab"}


@given(rank=st.integers(1, 9), alpha=st.floats(0.5, 40), rslora=st.booleans(), bias=st.booleans())
def test_merged_is_unmerged(rank: int, alpha: float, rslora: bool, bias: bool):
    lora = LoRA(rank, alpha, rslora=rslora)
    assert lora.scale == pytest.approx(alpha / (rank**0.5 if rslora else rank))
    part = LoRALinear(nn.Linear(6, 5, bias).double(), rank, lora.scale).double()
    nn.init.normal_(part.lora_b)
    x = torch.randn(3, 6, dtype=torch.float64)
    merged = part.merged()
    assert type(merged) is nn.Linear
    assert torch.allclose(part(x), merged(x), rtol=1e-4, atol=1e-4)
    dense = x @ (part.weight + lora.scale * part.lora_b @ part.lora_a).T + (0 if part.bias is None else part.bias)
    assert torch.allclose(part(x), dense, rtol=1e-10, atol=1e-10)


def test_merge_leaves_a_model_as_published(model: Model, tmp_path):
    add(model, LoRA(targets=("c_attn", "c_proj")))
    for part in adapters(model).values():
        nn.init.normal_(part.lora_b, std=0.1)
    expected = logits(model)
    merge(model)
    assert not adapters(model)
    assert (logits(model) - expected).abs().max() <= 1e-5
    cutaway.save(model, tmp_path / "merged")
    assert torch.equal(logits(cutaway.load(tmp_path / "merged")), logits(model))
    with pytest.raises(ValueError, match="no adapter to merge"):
        merge(model)


def test_dropout_is_of_training_only(model: Model):
    add(model, LoRA(targets=("q",), dropout=0.5))
    for part in adapters(model).values():
        nn.init.normal_(part.lora_b)
    assert torch.equal(logits(model), logits(model))
    part = adapters(model)[ATTENTION.format(0, "q")].train()
    x = torch.ones(1, 4, 32)
    assert not torch.equal(part(x), part(x))


def test_half_precision_keeps_its_dtype(model: Model):
    model.bfloat16()
    add(model, LoRA(targets=("q", "up")))
    assert {p.dtype for n, p in model.named_parameters() if ".lora_" in n} == {torch.float32}
    assert logits(model).dtype == torch.bfloat16


def test_a_shared_layer_is_adapted_once():
    model = cutaway.build("albert", vocab=61, width=32, embedding=16, hidden=48, depth=3, heads=4, length=48)
    names = add(model, LoRA(targets=("query",)))
    assert len(names) == 1
    part = adapters(model)[names[0]]
    used = []
    part.register_forward_hook(lambda *_: used.append(1))
    model(torch.arange(12).view(2, 6))
    assert len(used) == 3


@pytest.mark.parametrize("name", ["gpt2", "llama", "mixtral", "phi3", "falcon", "mpt", "gptj", "deberta", "t5", "bart"])
def test_every_output_has_one_place(name: str):
    model = tiny(name)
    seen: dict[str, int] = {}
    for inside in places(model).values():
        assert torch.cat(list(inside.values())).sort().values.tolist() == list(range(sum(map(len, inside.values()))))
        seen |= {ours: len(rows) for ours, rows in inside.items()}
    assert seen == {n: part.out_features for n, part in linears(model).items()}


def learning(model: Model) -> set[str]:
    return {n for n, p in model.named_parameters() if p.requires_grad}


def test_freeze_and_unfreeze(model: Model):
    every = learning(model)
    frozen = set(freeze(model, ["stack.blocks.0", "embed.weight", "*.norm.bias"]))
    assert learning(model) == every - frozen
    assert {n for n in every if ".blocks.0." in n or n.endswith((".norm.bias", "embed.weight"))} == frozen
    back = unfreeze(model, ["blocks.*.attention"])
    assert {n for n in every if ".attention." in n} == set(back)
    assert learning(model) == every - frozen | set(back)


def test_freezing_what_is_not_there(model: Model):
    with pytest.raises(ValueError, match=r"'stack\.block\.0' fits no parameter.*near it are .*stack\.blocks\.\*"):
        freeze(model, ["embed", "stack.block.0"])
    assert learning(model) == {n for n, _ in model.named_parameters()}
