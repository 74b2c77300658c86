"""Products with few rows: each format against the plain product of what it holds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cutaway.kernels import product as P
from cutaway.kernels.packed import Packed, pack

FORMATS = ["float32", "bfloat16", "int8", "int4"]
# The largest difference, in standard deviations of the exact result: sums of float32, and activations of 15 bits.
EXACT, FIFTEEN_BITS = 1e-5, 2e-3


def made(how: str, rows: int, width: int, group: int) -> tuple[Tensor | Packed, Tensor]:
    """A matrix, and its numbers in float64."""
    w = torch.randn(rows, width)
    if how in ("int8", "int4"):
        packed = pack(w, how, group)
        return packed, packed.dense().double()
    w = w.to(getattr(torch, how))
    return w, w.double()


@pytest.mark.parametrize("how", FORMATS)
@settings(max_examples=25)
@given(
    m=st.integers(1, P.ROWS + 4),
    rows=st.integers(1, 50),
    width=st.sampled_from([64, 128, 320, 512]),
    group=st.sampled_from([32, 64]),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
    seed=st.integers(0, 1000),
)
def test_equals_the_plain_product(how: str, m: int, rows: int, width: int, group: int, scale: float, seed: int) -> None:
    torch.manual_seed(seed)
    weight, dense = made(how, rows, width, group)
    x = scale * torch.randn(1, m, width)
    x = x.to(weight.dtype) if isinstance(weight, Tensor) else x
    y = P.by_rows(x.float(), weight, None)
    exact = x.double() @ dense.T
    assert y.shape == (1, m, rows)
    tolerance = FIFTEEN_BITS if isinstance(weight, Packed) else EXACT
    size = x.double().norm(dim=-1, keepdim=True) * dense.norm(dim=-1) / width**0.5 + 1e-30
    assert ((y.double() - exact).abs() / size).max() < tolerance


@pytest.mark.parametrize("how", ["int8", "int4"])
@settings(max_examples=25)
@given(st.integers(1, 50), st.sampled_from([64, 320, 512]), st.sampled_from([32, 64]), st.integers(0, 9))
def test_codes_become_the_same_numbers(how: str, rows: int, width: int, group: int, first: int) -> None:
    packed = pack(torch.randn(first + rows, width), how, group)[first:]
    for dtype in (torch.float32, torch.bfloat16):
        assert torch.equal(P.dense(packed, dtype), packed.dense(dtype))


@pytest.mark.parametrize("how", ["int8", "int4"])
def test_zeros_and_outliers(how: str) -> None:
    weight, dense = made(how, 20, 128, 32)
    x = torch.zeros(2, 128)
    x[1, 77] = -3e4
    y = P.by_rows(x, weight, None)
    assert torch.equal(y[0], torch.zeros(20))
    torch.testing.assert_close(y[1].double(), -3e4 * dense[:, 77], rtol=1e-5, atol=0.0)


def test_a_bias_and_the_dtype_are_those_of_the_plain_product() -> None:
    w, b, x = torch.randn(40, 64).bfloat16(), torch.randn(40).bfloat16(), torch.randn(3, 64).bfloat16()
    y = P.by_rows(x, w, b)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, torch.nn.functional.linear(x, w, b), rtol=2e-2, atol=2e-2)


def test_rows_that_do_not_lie_together() -> None:
    weight, dense = made("float32", 30, 64, 32)
    x = torch.randn(3, 5, 64)[:, -1:]
    torch.testing.assert_close(P.by_rows(x, weight, None), (x.double() @ dense.T).float())


def test_how_many_threads_changes_nothing() -> None:
    weight, _ = made("int8", 333, 256, 64)
    x = torch.randn(1, 256)
    one = P.by_rows(x, weight, None)
    torch.set_num_threads(2)
    try:
        assert torch.equal(P.by_rows(x, weight, None), one)
    finally:
        torch.set_num_threads(1)


def large(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(P.NUMBERS // 256, 256, dtype=dtype)


def test_who_takes_a_product() -> None:
    w, x = large(), torch.randn(2, 256)
    assert not P.few(x, w), "a pass by itself"
    assert P.few(x, pack(w, "int8")), "codes, always"
    with torch.no_grad(), P.decoding():
        assert not P.plain(x, w)
        assert P.few(x, w)
        assert not P.few(torch.randn(P.ROWS + 1, 256), w), "too many rows"
        assert P.few(torch.randn(P.CODED, 256), pack(w, "int4")), "codes, which PyTorch does not read"
        assert not P.few(torch.randn(P.CODED + 1, 256), pack(w, "int4")), "too many even of these"
        assert not P.few(x, w[:100]), "too small"
        assert not P.few(x[:, :255], w[:, :255]), "a width that it cannot read"
        assert not P.few(x, large().T.contiguous().T), "not row after row"
        assert not P.few(x.bfloat16(), w), "two dtypes"
        assert not P.few(x[:0], w), "nothing"
        assert P.plain(x.to("meta"), w), "another device"
        with torch.autocast("cpu", torch.bfloat16):
            assert P.plain(x, w)
    assert P.plain(x.requires_grad_(), w), "gradients"
