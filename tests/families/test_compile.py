"""Networks can be traced whole: no graph break, the same numbers, forward and backward and step by step."""

import pytest
import torch
from families.tiny import tiny

import cutaway
from cutaway.parts import Cache, Context
from cutaway.scores import OPEN

pytestmark = pytest.mark.compile


def call(network: cutaway.parts.Network, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (ids, ids[:, :5]) if network.kind == "encoder-decoder" else (ids,)


@pytest.mark.parametrize("model_type", ["llama", "gemma2", "bert", "deberta-v2", "t5"])
def test_one_graph_forward_and_backward(model_type: str) -> None:
    network, ids = tiny(model_type).network, torch.randint(5, 61, (2, 9))
    torch._dynamo.reset()
    traced = torch.compile(network, fullgraph=True, backend="aot_eager")
    plain = network(*call(network, ids))
    assert torch.allclose(traced(*call(network, ids)), plain, atol=1e-5)
    parameters = [p for p in network.parameters() if p.requires_grad]
    losses = [f(*call(network, ids)).square().sum() for f in (network, traced)]
    grads = [torch.autograd.grad(loss, parameters, allow_unused=True) for loss in losses]
    for a, b in zip(*grads, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_the_default_compiler_decodes_with_a_cache() -> None:
    network, ids = tiny("llama").network, torch.randint(5, 61, (1, 7))
    torch._dynamo.reset()
    traced, cache = torch.compile(network), Cache(8)
    steps = [traced(ids[:, :4], Context(OPEN, cache=cache))]
    steps += [traced(ids[:, at : at + 1], Context(OPEN, at=at, cache=cache)) for at in range(4, 7)]
    assert torch.allclose(torch.cat(steps, 1), network(ids), atol=1e-5)
