"""Small parts against their formulas."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cutaway.parts import (
    MLP,
    ALiBi,
    Attention,
    Block,
    Context,
    GatedMLP,
    LayerNorm,
    Learned,
    MaskedLM,
    MixtureOfExperts,
    OutputNorm,
    ParallelBlock,
    PostNorm,
    PreNorm,
    RelativeBias,
    RMSNorm,
    SandwichNorm,
    Sinusoidal,
    Stack,
    Unembed,
    activation,
    initialise,
    scale_outputs,
)
from cutaway.scores import CAUSAL, FULL, OPEN, Padding, Prefix, as_rule, window

CTX = Context(OPEN)


def test_rms_norm() -> None:
    x, norm = torch.randn(3, 8), RMSNorm(8, eps=1e-3)
    norm.weight.data.normal_()
    rms = x.square().mean(-1, keepdim=True).add(1e-3).sqrt()
    assert torch.allclose(norm(x), x / rms * norm.weight)
    shifted = RMSNorm(8, eps=1e-3, offset=1.0)
    assert torch.allclose(shifted(x), x / rms)
    assert torch.allclose(norm(x.bfloat16()).float(), norm(x), atol=0.1)
    assert norm.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_residual_forms() -> None:
    x, norm, after = torch.randn(2, 5, 8), nn.LayerNorm(8), nn.LayerNorm(8)
    norm.weight.data.normal_()
    after.weight.data.normal_()
    f = MLP(8, 16)
    assert torch.equal(PreNorm(norm, f)(x, CTX), x + f(norm(x)))
    assert torch.equal(PostNorm(norm, f)(x, CTX), norm(x + f(x)))
    assert torch.equal(OutputNorm(norm, f)(x, CTX), x + norm(f(x)))
    assert torch.equal(SandwichNorm(norm, f, after)(x, CTX), x + after(f(norm(x))))
    a, b = PreNorm(norm, f), PreNorm(after, MLP(8, 4))
    assert torch.equal(Block(a=a, b=b)(x, CTX), b(a(x, CTX), CTX))
    assert torch.allclose(ParallelBlock(a=a, b=b)(x, CTX), x + a.delta(x, CTX) + b.delta(x, CTX))


def test_stacks_run_in_order_under_their_masks() -> None:
    x, blocks = torch.randn(2, 6, 8), [Block(attention=PreNorm(nn.LayerNorm(8), Attention(8, 2))) for _ in range(2)]
    step = lambda block, mask: lambda y: block(y, Context(as_rule(mask)))
    assert torch.allclose(Stack(blocks, mask=CAUSAL)(x), step(blocks[1], CAUSAL)(step(blocks[0], CAUSAL)(x)))
    mixed = Stack(blocks, mask=[window(2), FULL])(x)
    assert torch.allclose(mixed, step(blocks[1], FULL)(step(blocks[0], window(2))(x)))
    again = Stack(blocks[:1], order=[0, 0, 0])(x)
    once = step(blocks[0], FULL)
    assert torch.allclose(again, once(once(once(x))))
    with pytest.raises(ValueError, match="the stack runs 2 blocks, but has masks for 1"):
        Stack(blocks, mask=[CAUSAL])(x)


def test_a_prefix_is_counted_from_the_first_real_token() -> None:
    torch.manual_seed(0)
    stack = Stack([Block(attention=PreNorm(nn.LayerNorm(8), Attention(8, 2)))], mask=CAUSAL | Prefix(3))
    x = torch.randn(1, 5, 8)
    padded = torch.cat([torch.randn(1, 2, 8), x], 1)
    keep = torch.tensor([[0, 0, 1, 1, 1, 1, 1]])
    placing = (keep.cumsum(-1) - 1).clamp(min=0)
    ctx = Context(OPEN & Padding(keep.bool()), placing, placing)
    assert torch.allclose(stack(padded, ctx)[:, 2:], stack(x), atol=1e-6)


@given(st.integers(1, 40))
def test_alibi_slopes_fall_and_are_the_papers(heads: int) -> None:
    slopes = ALiBi(heads).slopes()
    assert len(slopes) == heads
    assert all(0 < s < 1 for s in slopes)
    if heads == 8:
        assert slopes == [2**-i for i in range(1, 9)]


def test_relative_buckets_are_exact_near_and_logarithmic_far() -> None:
    both, past = RelativeBias(2, 32, 128), RelativeBias(2, 32, 128, bidirectional=False)
    near = torch.arange(-7, 8)
    assert both.bucket(near).tolist() == [7, 6, 5, 4, 3, 2, 1, 0, 17, 18, 19, 20, 21, 22, 23]
    assert past.bucket(torch.tensor([5, 0, -3, -15, -16, -1000])).tolist() == [0, 0, 3, 15, 16, 31]
    far = both.bucket(-torch.arange(8, 300))
    assert (far.diff() >= 0).all()
    assert far.max() == 15


def test_sinusoids() -> None:
    table = Sinusoidal(8)(torch.arange(5))
    for p in range(5):
        for i in range(4):
            assert table[p, 2 * i].item() == pytest.approx(math.sin(p / 10_000 ** (2 * i / 8)), abs=1e-6)
            assert table[p, 2 * i + 1].item() == pytest.approx(math.cos(p / 10_000 ** (2 * i / 8)), abs=1e-6)


def test_learned_positions_skip_their_offset() -> None:
    table = Learned(6, 4, offset=2)
    assert table.weight.shape == (8, 4)
    assert torch.equal(table(torch.tensor([0, 5])), table.weight[[2, 7]])


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "relu", "silu", "gelu_quick"])
def test_feed_forward(name: str) -> None:
    x, act = torch.randn(2, 3, 8), activation(name)
    plain, gated = MLP(8, 12, name), GatedMLP(8, 12, name)
    assert torch.equal(plain(x), plain.down(act(plain.up(x))))
    assert torch.equal(gated(x), gated.down(act(gated.gate(x)) * gated.up(x)))


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown activation 'swoosh'; known: gelu, "):
        MLP(8, 8, "swoosh")
    with pytest.raises(ValueError, match=r"1..2 of 2 experts, not to 3"):
        MixtureOfExperts(8, [MLP(8, 8), MLP(8, 8)], 3)


def test_ties_survive_moving_and_copying() -> None:
    import copy

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(11, 8)
            self.head = Unembed(8, 11, tied=self.embed, scale=0.5, cap=3.0)

    one = Tied()
    x = torch.randn(2, 8)
    assert torch.allclose(one.head(x), 3 * torch.tanh(0.5 * x @ one.embed.weight.T / 3))
    assert list(one.state_dict()) == ["embed.weight"]
    two = copy.deepcopy(one).double()
    two.embed.weight.data.zero_()
    assert two.head(x.double()).abs().max() == 0
    assert one.head(x).abs().max() > 0


def test_masked_lm_head() -> None:
    head = MaskedLM(8, lambda w: LayerNorm(w), Unembed(6, 11, bias=True), "gelu", inner=6)
    head.unembed.weight.data.normal_()
    x = torch.randn(2, 3, 8)
    assert torch.allclose(
        head(x), head.norm(F.gelu(head.dense(x))) @ head.unembed.weight.T + head.unembed.bias, atol=1e-6
    )


def test_initialisation() -> None:
    block = Block(
        attention=PreNorm(nn.LayerNorm(256), Attention(256, 4)), mlp=PreNorm(nn.LayerNorm(256), MLP(256, 512))
    )
    initialise(block, 0.02)
    scale_outputs(block, 0.5)
    assert block.attention.sublayer.q.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.mlp.sublayer.down.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert block.attention.sublayer.q.bias.abs().max() == 0
    assert (block.attention.norm.weight == 1).all()


def test_attention_names_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"10 / 4 leaves 2; or give head_dim"):
        Attention(10, 4)
    with pytest.raises(ValueError, match="key heads must divide the heads, got 3 and 4"):
        Attention(8, 4, kv_heads=3)
    with pytest.raises(ValueError, match="cross-attention needs a memory to read"):
        Attention(8, 4, cross=True)(torch.randn(1, 2, 8))
