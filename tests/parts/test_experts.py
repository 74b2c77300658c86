"""The mixture of experts against a loop over tokens, and against Mixtral's."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

from cutaway.parts import MLP, GatedMLP, MixtureOfExperts


def one_by_one(layer: MixtureOfExperts, x: Tensor) -> Tensor:
    """Token after token: all chances, the best of them, made to add up to 1."""
    out = []
    for token in x.flatten(0, -2):
        chance = layer.router(token).softmax(-1)
        best = chance.argsort(descending=True)[: layer.top]
        out.append(sum(chance[e] / chance[best].sum() * layer.experts[e](token) for e in best.tolist()))
    return torch.stack(out).view_as(x)


@given(st.integers(1, 6), st.data())
def test_the_best_experts_of_each_token_weighted_by_their_chances(experts: int, data: st.DataObject) -> None:
    top = data.draw(st.integers(1, experts))
    torch.manual_seed(experts)
    layer = MixtureOfExperts(8, [GatedMLP(8, 12) for _ in range(experts)], top)
    x = torch.randn(data.draw(st.sampled_from([(1, 1, 8), (2, 5, 8), (7, 8)])))
    assert torch.allclose(layer(x), one_by_one(layer, x), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_mixtrals(dtype: torch.dtype) -> None:
    config = MixtralConfig(hidden_size=16, intermediate_size=24, num_local_experts=5, num_experts_per_tok=3)
    theirs = MixtralSparseMoeBlock(config).to(dtype).eval()
    ours = MixtureOfExperts(16, [GatedMLP(16, 24) for _ in range(5)], 3).to(dtype)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.normal_(std=0.3)
        ours.router.weight.copy_(theirs.gate.weight)
        for expert, gate_up, down in zip(
            ours.experts, theirs.experts.gate_up_proj, theirs.experts.down_proj, strict=True
        ):
            for mine, given_weight in zip(
                (expert.gate, expert.up, expert.down), (*gate_up.chunk(2), down), strict=True
            ):
                mine.weight.copy_(given_weight)
        x = torch.randn(2, 9, 16, dtype=dtype)
        got, expected = ours(x), theirs(x)
    assert got.dtype == dtype
    assert torch.allclose(got, expected, atol=1e-6 if dtype == torch.float32 else 2e-2)


def test_only_chosen_experts_learn() -> None:
    layer = MixtureOfExperts(4, [MLP(4, 6) for _ in range(3)], top=2)
    layer.router.weight.data.copy_(torch.eye(3, 4))
    layer(torch.tensor([[3.0, 1.0, 0.5, 2.0], [1.0, 4.0, 0.5, 1.0]])).square().sum().backward()
    for expert, chosen in zip(layer.experts, (True, True, False), strict=True):
        assert all((weight.grad.abs().sum() > 0) == chosen for weight in expert.parameters())
    assert (layer.router.weight.grad.abs().sum(-1) > 0).tolist() == [True, True, False]


@pytest.mark.parametrize("top", [0, 4])
def test_a_token_goes_to_experts_that_there_are(top: int) -> None:
    with pytest.raises(ValueError, match=rf"goes to 1\.\.3 of 3 experts, not to {top}"):
        MixtureOfExperts(4, [MLP(4, 6) for _ in range(3)], top)
