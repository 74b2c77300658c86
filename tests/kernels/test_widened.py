"""bfloat16 by way of float32: who takes it, that it rounds once, and its gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.kernels import product as P
from cutaway.kernels.packed import pack
from cutaway.kernels.widened import widened

HALF = 2.0**-8  # what bfloat16 rounds to, relative to the number


@pytest.fixture(autouse=True)
def no_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor without instructions for bfloat16, whatever this one has."""
    monkeypatch.setattr(P, "bfloat16_is_native", lambda: False)


def parts(dtype: torch.dtype, *shape: int) -> tuple[Tensor, nn.Parameter, nn.Parameter]:
    torch.manual_seed(0)
    x = torch.randn(*shape, 256).to(dtype).requires_grad_()
    return x, nn.Parameter(torch.randn(500, 256).to(dtype) / 16), nn.Parameter(torch.randn(500).to(dtype))


@pytest.mark.parametrize("shape", [(), (9,), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_it_rounds_once_and_so_do_its_gradients(dtype: torch.dtype, shape: tuple[int, ...], monkeypatch) -> None:
    monkeypatch.setattr("cutaway.kernels.widened.WIDEST", 300 * 256)  # in two pieces
    x, w, b = parts(dtype, *shape)
    y = widened(x, w, b)
    assert y.dtype == torch.bfloat16
    turned = torch.randn_like(y)
    y.backward(turned)
    ours = [t.grad.double() for t in (x, w, b)]
    exact = [t.detach().bfloat16().double() if t is x else t.detach().double() for t in (x, w, b)]
    for t in exact:
        t.requires_grad_()
    expected = F.linear(*exact)
    expected.backward(turned.double())
    assert (y.double() - expected).abs().max() <= HALF * expected.abs().max()
    for found, t in zip(ours, exact, strict=True):
        assert (found - t.grad).abs().max() <= HALF * t.grad.abs().max()


def test_who_takes_it() -> None:
    x, w, b = parts(torch.float32, 5)
    narrow, thin = x.bfloat16(), w.bfloat16()
    assert P.wide(narrow, thin)
    assert not P.wide(x, w)
    assert not P.wide(narrow, w), "two dtypes, which are an error elsewhere, too"
    assert not P.wide(narrow.to("meta"), thin)
    with torch.autocast("cpu", torch.bfloat16):
        assert P.wide(x, w)
        assert P.wide(narrow, w)
        assert not P.wide(x.double(), w.double()), "which autocast leaves alone"
        y = P.product(x, w, b)
    assert y.dtype == torch.bfloat16
    assert type(y.grad_fn).__name__ == "WidenedBackward"
    with torch.autocast("cpu", torch.float16):
        assert not P.wide(x, w)


def test_native_instructions_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(P, "bfloat16_is_native", lambda: True)
    x, w, _ = parts(torch.bfloat16, 5)
    assert not P.wide(x, w)


def test_what_is_frozen_gets_no_gradient() -> None:
    x, w, b = parts(torch.float32, 5)
    w.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        P.product(x, w, None).sum().backward()
        P.product(x.detach(), w, b).sum().backward()
    assert w.grad is None
    assert x.grad is not None
    assert torch.equal(b.grad, torch.full_like(b, 5))


def test_a_gradient_of_a_gradient() -> None:
    def second(product) -> Tensor:
        x, w, b = parts(torch.float32, 5)
        (first,) = torch.autograd.grad(product(x, w, b).float().square().sum(), x, create_graph=True)
        first.float().square().sum().backward()
        return w.grad

    exact = second(F.linear)
    assert (second(widened) - exact).abs().max() <= 4 * HALF * exact.abs().max()


def test_gradients_of_each_row_by_themselves() -> None:
    x, w, b = (t.detach() for t in parts(torch.float32, 5))
    of_row = lambda product: torch.func.vmap(
        torch.func.grad(lambda w, x: product(x, w, b).float().square().sum()), in_dims=(None, 0)
    )(w, x)
    exact = of_row(F.linear)
    assert (of_row(widened) - exact).abs().max() <= 4 * HALF * exact.abs().max()


def test_codes_stay_codes() -> None:
    x, w, _ = parts(torch.float32, 5)
    codes = pack(w.detach(), "int8")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        y = P.product(x.detach(), codes)
    assert (y.float() - F.linear(x, w)).abs().max() < 0.1
