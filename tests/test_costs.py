"""Counts against PyTorch's own counter, real caches, and published numbers."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import cutaway
from cutaway import families, hub
from cutaway.parts import Attention, Context, Network
from cutaway.scores import OPEN

LENGTH = 16
TINY = {
    "llama": dict(vocab=61, width=32, depth=3, heads=4, kv_heads=2, hidden=48),
    "gpt2": dict(vocab=61, width=32, depth=3, heads=4, length=32),
    "bert": dict(vocab=61, width=32, depth=3, heads=4, hidden=48, length=32),
    "t5": dict(vocab=61, width=32, depth=3, heads=4, hidden=48, head_dim=8),
}


def forward(network: Network, ids: torch.Tensor) -> torch.Tensor:
    """Hidden states, and the logits they give."""
    hidden = network(ids, ids) if network.kind == "encoder-decoder" else network(ids, Context(OPEN))
    return hidden if network.head is None or network.config.head == "base" else network.head(hidden)


@pytest.mark.parametrize("name", TINY)
def test_parameters_add_up_and_ties_count_once(name: str) -> None:
    model = cutaway.build(name, **TINY[name])
    assert cutaway.count(model).total == sum(p.numel() for p in model.parameters())
    assert cutaway.count(model) == cutaway.count(model.network)


@pytest.mark.parametrize("name", TINY)
@torch.no_grad()
def test_operations_are_what_torch_counts(name: str) -> None:
    network = cutaway.build(name, **TINY[name]).network
    for module in network.modules():
        if isinstance(module, Attention):
            module.kernel.how = "eager"
    with FlopCounterMode(display=False) as counter:
        forward(network, torch.zeros(1, LENGTH, dtype=torch.long))
    assert cutaway.count(network).flops_at(LENGTH) * LENGTH == counter.get_total_flops()


@torch.no_grad()
def test_cache_is_what_a_cache_takes() -> None:
    model = cutaway.build("llama", **TINY["llama"])
    cache = model.cache(LENGTH)
    model(torch.zeros(1, LENGTH, dtype=torch.long), cache=cache)
    slots = next(iter(cache.slots.values())).buffers[0].shape[2]
    assert cutaway.count(model).cache_bytes(4) * slots == cache.bytes


def test_published_sizes_on_the_meta_device() -> None:
    assert cutaway.count(hub.outline("llama")).total == 6_738_415_616
    assert cutaway.count(hub.outline("gpt2")).total == 124_439_808
    assert cutaway.count(hub.outline("bert")).total == 109_514_298


def test_experts_that_a_token_does_not_visit_cost_nothing() -> None:
    told = cutaway.count(hub.outline("mixtral"))
    assert round(told.total / 1e9, 1) == 46.7
    assert round(told.active / 1e9, 1) == 12.9
    assert told.flops == pytest.approx(2 * (told.active - told.parameters["embeddings"]), rel=1e-3)


def test_repeated_layers_run_again_and_weigh_once() -> None:
    albert = hub.outline("albert")
    assert cutaway.count(albert).total == sum(p.numel() for p in albert.parameters())
    depth = len(albert.stack.order)
    assert cutaway.count(albert).flops > depth * 2 * cutaway.count(albert).parameters["feed-forward"] * 0.99


def test_windows_bound_their_cache() -> None:
    told = cutaway.count(hub.outline("gemma2"))
    assert told.cache == told.window_cache > 0
    assert families.module("gemma2") is not None


def test_the_table_reads_well() -> None:
    text = str(cutaway.count(hub.outline("llama")))
    assert "all parameters    6,738,415,616" in text
    assert "cache per token" in text
