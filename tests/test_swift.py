"""Decoding in few calls: the same as the modules, in every format, for every family that it knows."""

from typing import Any

import pytest
import torch
from torch import Tensor

import cutaway
from cutaway.generate.processors import NOTHING
from cutaway.generate.step import NetworkStep
from cutaway.model import Model
from cutaway.parts import Attention, Block, PreNorm, RMSNorm
from cutaway.parts.blocks import ParallelBlock
from cutaway.parts.context import plainly
from cutaway.parts.linear import Linear
from cutaway.swift import Swift
from cutaway.swift.layers import layer_of

SIZES = dict(vocab=300, width=256, depth=2, heads=4)
WIDE = SIZES | dict(hidden=512)
HALVES = SIZES | dict(decoder_depth=2, decoder_heads=4, hidden=512, decoder_hidden=512, length=64)
# model type -> fields, and how many blocks run in one call
FAMILIES: dict[str, tuple[dict[str, Any], int]] = {
    "llama": (WIDE, 2),
    "mistral": (WIDE | dict(kv_heads=4, windows=(3,)), 2),
    "phi3": (WIDE, 2),
    "gpt2": (SIZES, 2),
    "bloom": (SIZES, 2),
    "gemma2": (WIDE | dict(kv_heads=4, head_dim=64, score_cap=2.0), 2),
    "t5": (WIDE, 2),
    "bart": (HALVES, 2),
    "marian": (HALVES, 2),
    "olmo2": (WIDE, 2),  # its attention norms q and k as a whole,
    "qwen3": (WIDE | dict(kv_heads=2), 2),  # and this one their heads
    "gpt_neox": (WIDE, 2),  # its blocks are parallel,
    "gptj": (SIZES | dict(turned=32), 2),  # with one norm,
    "falcon": (SIZES | dict(kv_heads=1), 2),
    "mixtral": (WIDE | dict(kv_heads=4, experts=4, top=2), 0),
}
# The largest difference of logits, in their standard deviations; bfloat16 rounds the stream once a block, not an op.
TOLERANCE = {"float32": 3e-5, "bfloat16": 0.15, "int8": 5e-3, "int4": 5e-3}


def build(family: str, how: str = "float32") -> Model:
    torch.manual_seed(0)
    model = cutaway.build(family, **FAMILIES[family][0])
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3 if p.ndim == 2 else 1).add_(0 if p.ndim == 2 else 0.1 * torch.randn_like(p))
    if how in ("int8", "int4"):
        return cutaway.quantize(model, how)
    return model.to(getattr(torch, how))


def steps(model: Model, plain: bool) -> tuple[Tensor, NetworkStep]:
    """Logits of a padded prompt, of six tokens one by one, and of a draft of three that follows a rejected one."""
    torch.manual_seed(1)
    source = None
    if model.kind == "encoder-decoder":
        source = torch.randint(2, 300, (2, 7))
        source[0, 5:] = NOTHING
    ids, more = torch.randint(2, 300, (2, 4)), torch.randint(2, 300, (2, 9))
    ids[1, :2] = NOTHING
    step = NetworkStep(model.network, 16, 1, source)
    if plain:
        step.cache.run = plainly
    found = [step(ids, None), *(step(more[:, i : i + 1], None) for i in range(6))]
    if not any(vars(model.config).get("windows", ())):
        found += step.again(more[:, 6:9], step.cache.length - 1).unbind(1)
    return torch.stack(found), step


@pytest.mark.parametrize(
    ("family", "how"),
    [
        *((family, "float32") for family in FAMILIES),
        *(("llama", how) for how in ("bfloat16", "int8", "int4")),
        ("gpt_neox", "bfloat16"),
        ("qwen3", "bfloat16"),
        ("gemma2", "int8"),
        ("bart", "int4"),
    ],
)
def test_equals_the_modules(family: str, how: str) -> None:
    model = build(family, how)
    plain, _ = steps(model, plain=True)
    swift, step = steps(model, plain=False)
    assert isinstance(step.cache.run, Swift)
    assert sum(found is not None for found in step.cache.run.layers.values()) == FAMILIES[family][1]
    assert (plain - swift).abs().max() < TOLERANCE[how] * plain.std()


def test_beams_reorder_what_is_kept() -> None:
    model = build("bart")
    ids = [[5, 6, 7, 8], [9, 10]]
    swift = model.generate(ids, num_beams=3, max_new_tokens=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cutaway.generate.step.Swift", lambda: plainly)
        assert torch.equal(model.generate(ids, num_beams=3, max_new_tokens=8), swift)


def test_whoever_looks_sees_the_modules() -> None:
    model = build("llama")
    ids = torch.randint(2, 300, (1, 6))
    bare = model.generate(ids, max_new_tokens=5)
    with cutaway.record(model) as seen:
        assert torch.equal(model.generate(ids, max_new_tokens=5), bare)
    assert seen.attention(0, 0).shape == (10, 10)


def test_a_hook_or_gradients_or_training_take_the_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = build("llama"), torch.randint(2, 300, (1, 1))
    ran: list[int] = []
    real = Swift.run
    monkeypatch.setattr(Swift, "run", lambda self, layers, *args: (ran.append(len(layers)), real(self, layers, *args)))
    called: list[int] = []

    def through(grad: bool = False) -> int:
        ran.clear()
        with torch.set_grad_enabled(grad):
            model(ids, cache=model.cache())
        return sum(ran)

    assert through() == 2
    assert through(grad=True) == 0
    hook = model.stack.blocks[0].register_forward_hook(lambda *_: called.append(1))
    assert through() == 1
    assert called == [1]
    hook.remove()
    hook = model.stack.blocks[0].attention.sublayer.q.register_forward_pre_hook(lambda *_: called.append(2))
    assert through() == 1
    assert called == [1, 2]
    hook.remove()
    model.stack.blocks[1].mlp.train()
    assert through() == 1
    model.train()
    assert through() == 0


def test_a_block_of_attention_alone_takes_the_modules() -> None:
    """As do two attentions side by side: nobody builds them, but somebody may."""
    attend = lambda: PreNorm(RMSNorm(256), Attention(256, 4))
    for block in (Block(attention=attend()), ParallelBlock(one=attend(), two=attend())):
        assert layer_of(block, {}) is None


def test_a_longer_way_to_queries_takes_the_modules() -> None:
    """A map and a norm are known (OLMo 2), not what somebody may put between the two."""
    block = build("olmo2").stack.blocks[0]
    assert layer_of(block, {}) is not None
    attend = block.attention.sublayer
    attend.q = torch.nn.Sequential(attend.q[0], Linear(256, 256), attend.q[1])
    assert layer_of(block, {}) is None


def test_the_stream_that_is_handed_in_is_left_alone() -> None:
    model = build("llama")
    given: list[tuple[Tensor, Tensor]] = []
    hook = model.embed.register_forward_hook(lambda module, args, out: given.append((out, out.clone())))
    with torch.no_grad():
        model(torch.randint(2, 300, (1, 2)), cache=model.cache())
    hook.remove()
    assert torch.equal(*given[0])


def test_changed_weights_count_at_once() -> None:
    model, cache = build("llama"), None
    ids = torch.randint(2, 300, (1, 1))
    with torch.no_grad():
        cache = model.cache()
        model(ids, cache=cache)
        model.stack.blocks[1].mlp.sublayer.down.weight.zero_()
        swift = model(ids, cache=cache).logits
        slow = model.cache()
        slow.run = plainly
        model.stack.blocks[1].mlp.sublayer.down.weight.zero_()
        model(ids, cache=slow)
        assert (model(ids, cache=slow).logits - swift).abs().max() < 1e-4


def test_transposed_weights_of_a_checkpoint_lie_as_they_are_read(tmp_path):
    """GPT-2's files hold [in, out]: a view of them would go past the kernels."""
    cutaway.save(cutaway.build("gpt2", vocab=64, width=64, depth=1, heads=1, length=16), tmp_path / "gpt2")
    assert all(p.is_contiguous() for p in cutaway.load(tmp_path / "gpt2").parameters())
