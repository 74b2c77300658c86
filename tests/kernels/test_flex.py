"""FlexAttention's lowering, which traces the rule: run without the shape checks."""

import pytest
import torch
from kernels.rules import B, H, N, inputs, rules

from cutaway.kernels import eager, flex
from cutaway.scores import CAUSAL, OPEN, Padding, Slope, as_rule

pytestmark = [
    pytest.mark.compile,
    pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning"),
]


@pytest.mark.parametrize("name", rules())
@pytest.mark.parametrize(("at", "queries", "start"), [(0, N, 0), (N - 1, 1, 0), (N - 7, 7, 0), (N - 2, 2, 9)])
@torch.no_grad()
def test_flex_is_eager(name: str, at: int, queries: int, start: int) -> None:
    rule = rules()[name]
    q, k, v = inputs()
    q, k, v = q[:, :, at : at + queries], k[:, :, start:], v[:, :, start:]
    assert torch.allclose(flex(q, k, v, rule, 0.25, at, start), eager(q, k, v, rule, 0.25, at, start), atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@torch.no_grad()
def test_a_row_that_sees_nothing_gives_zero(dtype: torch.dtype) -> None:
    blind = torch.ones(B, N, dtype=torch.bool)
    blind[1] = False
    for rule in (OPEN & Padding(blind), Padding(blind) + Slope(torch.ones(H))):
        out = flex(*inputs(dtype=dtype), rule, 0.25)
        assert torch.equal(out[1], torch.zeros_like(out[1]))
        assert out.isfinite().all()


def test_what_flex_cannot_do_it_says() -> None:
    q, k, v = inputs()
    with pytest.raises(ValueError, match="flex has no gradients on CPU"):
        flex(q.requires_grad_(), k, v, OPEN, 0.25)
    with pytest.raises(ValueError, match="flex has no dropout"):
        flex(q, k, v, as_rule(CAUSAL), 0.25, dropout=0.1)
