"""Codes and scales: their bounds, their layout, and the product held against that of the dense matrix."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cutaway.kernels import packed
from cutaway.kernels.packed import BITS, Packed, blank, linear, pack

HOWS = list(BITS)
# The smallest normal float32: below it scales have few bits, and none of this holds.
TINY = 2.0**-126


@st.composite
def matrices(draw: st.DrawFn) -> tuple[Tensor, int]:
    """A matrix whose groups differ in size by many orders, some of them zero, and a group that fits."""
    group, groups, rows = draw(st.sampled_from([2, 8, 32])), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    x = torch.randn(rows, groups, group, generator=random) ** draw(st.sampled_from([1, 3]))
    size = draw(st.lists(st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e35]), min_size=groups, max_size=groups))
    return (x * torch.tensor(size)[:, None]).flatten(1), group


def by_group(x: Tensor, p: Packed) -> Tensor:
    return x.unflatten(-1, (-1, p.group)).double()


@given(matrices())
def test_eight_bits_are_half_a_step_away_at_most(made: tuple[Tensor, int]) -> None:
    weight, group = made
    p = pack(weight, "int8", group)
    assert p.codes.abs().max() <= 127
    assert (p.scales >= 0).all()
    error = (by_group(p.dense(), p) - by_group(weight, p)).abs()
    assert (error <= p.scales.double()[..., None] / 2 * (1 + 1e-6)).all()


@given(matrices())
def test_four_bits_are_never_worse_than_q4_0(made: tuple[Tensor, int]) -> None:
    weight, group = made
    p, x = pack(weight, "int4", group), by_group(weight, pack(weight, "int4", group))
    scale = (x.gather(-1, x.abs().argmax(-1, keepdim=True)).float() / -8).bfloat16().double()
    plain = (x / torch.where(scale == 0, 1.0, scale)).round().clamp(-8, 7) * scale
    error = lambda found: (found - x).square().sum(-1)
    assert (error(by_group(p.dense(), p)) <= error(plain) * (1 + 1e-4)).all()


def test_four_bits_are_better_than_q4_0_as_a_rule() -> None:
    x = torch.randn(64, 16, 32)
    scale = x.gather(-1, x.abs().argmax(-1, keepdim=True)) / -8
    plain = (x / scale).round().clamp(-8, 7) * scale
    p = pack(x.flatten(1), "int4")
    assert (by_group(p.dense(), p) - x).square().sum() < 0.95 * (plain - x).square().sum()


@given(matrices(), st.sampled_from(HOWS))
def test_packing_what_was_packed_changes_nothing(made: tuple[Tensor, int], how: str) -> None:
    weight, group = made
    once = pack(weight, how, group).dense()
    assert torch.equal(pack(once, how, group).dense(), once)


@pytest.mark.parametrize("how", HOWS)
def test_the_layout(how: str) -> None:
    """Each number by itself, by the words of the docstring."""
    p, group = pack(torch.randn(3, 16), how, 8), 8
    dense = p.dense()
    for o in range(3):
        for i in range(16):
            j, at = i % group, i // group
            if how == "int8":
                code = int(p.codes[o, i])
            else:
                byte = int(p.codes[o, at * group // 2 + j % (group // 2)])
                code = (byte % 16 if j < group // 2 else byte // 16) - 8
            assert float(dense[o, i]) == code * float(p.scales[o, at])
    assert p.shape == (3, 16)
    assert p.codes.nbytes == 3 * 16 * BITS[how] // 8


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("size", [0.0, TINY, 1e-30, 3e38])
def test_extremes(how: str, size: float) -> None:
    p = pack(size * torch.tensor([[1.0, -1.0, 0.5, 0.0]]), how, 4)
    assert p.scales.isfinite().all()
    error = (p.dense() / max(size, TINY) - torch.tensor([[1.0, -1.0, 0.5, 0.0]]) * (size > 0)).abs().max()
    assert error <= (0.01 if how == "int8" else 0.15)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_has_no_code_is_refused(how: str, bad: float) -> None:
    weight = torch.zeros(2, 8)
    weight[1, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        pack(weight, how, 8)


@pytest.mark.parametrize(("how", "group"), [("int8", 0), ("int8", 5), ("int4", 3), ("int4", None), ("int8", -8)])
def test_a_group_that_does_not_fit_is_refused(how: str, group: int | None) -> None:
    with pytest.raises(ValueError, match="divide the input's width"):
        pack(torch.zeros(2, 24), how, group)


def test_a_way_that_is_not_built_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no quantisation 'fp8'; there are int8, int4"):
        blank((2, 8), "fp8")


def test_of_a_matrix_without_numbers_there_are_the_shapes() -> None:
    p, real = pack(torch.empty(3, 64, device="meta"), "int4"), pack(torch.zeros(3, 64), "int4")
    assert p.codes.is_meta
    assert (p.codes.shape, p.scales.shape, p.group) == (real.codes.shape, real.scales.shape, 32)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_product_is_that_of_the_dense_matrix(how: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "NUMBERS", 3 * 16)  # several pieces, and a last one that is smaller
    p, x, bias = pack(torch.randn(7, 16), how, 8), torch.randn(2, 5, 16, dtype=dtype), torch.randn(7, dtype=dtype)
    assert [at.stop - at.start for at in p.pieces()] == [3, 3, 1]
    exact = F.linear(x.double(), p.dense(dtype).double(), bias.double())
    assert torch.allclose(linear(x, p, bias).double(), exact, atol=3e-2 if dtype == torch.bfloat16 else 1e-5)
    assert linear(x, p).dtype == dtype


@pytest.mark.parametrize("how", HOWS)
def test_gradients_reach_the_inputs_and_keep_nothing_dense(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "NUMBERS", 32)
    p, kept = pack(torch.randn(5, 16), how, 8), list[torch.Size]()
    x, bias = torch.randn(3, 16, dtype=torch.float64, requires_grad=True), torch.randn(5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x, b: linear(x, p, b), (x, bias.requires_grad_()))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        linear(x, p).sum()
    assert kept == []


@pytest.mark.parametrize("how", HOWS)
def test_rows_are_those_of_the_dense_matrix(how: str) -> None:
    p, ids = pack(torch.randn(9, 16), how, 8), torch.tensor([[8, 0, 3], [3, 3, 1]])
    assert torch.equal(p[ids].dense(torch.bfloat16), p.dense(torch.bfloat16)[ids])
    assert p[ids].shape == (2, 3, 16)
