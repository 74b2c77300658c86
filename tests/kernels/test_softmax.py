"""Every kernel is held to the slow, obvious one, under every rule, at every place in a sequence."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.rules import B, H, N, inputs, rules
from torch import Tensor

from cutaway.kernels import Softmax, attention, choose, eager, sdpa, weights
from cutaway.scores import CAUSAL, FULL, OPEN, Band, Documents, Padding, Rule, Slope, Table, as_rule, window


def written_out(q: Tensor, k: Tensor, v: Tensor, rule: Rule, scale: float) -> Tensor:
    """The definition, cell by cell."""
    out = torch.zeros(*q.shape[:3], v.shape[-1], dtype=q.dtype)
    index = torch.tensor
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            g = h * k.shape[1] // q.shape[1]
            for i in range(q.shape[2]):
                seen = [j for j in range(k.shape[2]) if rule.allows(i, j, b, h)]
                scores = [scale * (q[b, h, i] @ k[b, g, j]).item() for j in seen]
                if rule.biases:
                    scores = [
                        s + rule.bias(index(b), index(h), index(i), index(j)).item()
                        for s, j in zip(scores, seen, strict=True)
                    ]
                if rule.cap is not None:
                    scores = [rule.cap * math.tanh(s / rule.cap) for s in scores]
                total = sum(math.exp(s) for s in scores)
                for s, j in zip(scores, seen, strict=True):
                    out[b, h, i] += math.exp(s) / total * v[b, g, j]
    return out


@pytest.mark.parametrize("name", rules())
def test_eager_is_the_definition(name: str) -> None:
    q, k, v = (t[..., :9, :] for t in inputs(12))
    rule = rules(12)[name]
    assert torch.allclose(eager(q, k, v, rule, 0.3), written_out(q, k, v, rule, 0.3), atol=2e-6)


@pytest.mark.parametrize("name", rules())
@pytest.mark.parametrize(("at", "queries", "start"), [(0, N, 0), (N - 1, 1, 0), (N - 7, 7, 0), (N - 2, 2, 9)])
def test_kernels_agree(name: str, at: int, queries: int, start: int) -> None:
    rule = rules()[name]
    q, k, v = inputs()
    q, k, v = q[:, :, at : at + queries], k[:, :, start:], v[:, :, start:]
    slow = eager(q, k, v, rule, 0.25, at, start)
    if start == 0:
        assert torch.allclose(slow, eager(*inputs(), rule, 0.25)[:, :, at : at + queries], atol=1e-6)
    if rule.cap is None:
        assert torch.allclose(sdpa(q, k, v, rule, 0.25, at, start), slow, atol=2e-6)


@pytest.mark.parametrize("name", rules())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_rows_on_demand(name: str, dtype: torch.dtype) -> None:
    rule = rules()[name]
    q, k, v = inputs(dtype=dtype)
    kernel = Softmax(0.25)
    rows = torch.tensor([17, 13, 8])
    some = kernel.weights(q[:, :, rows], k, rule, rows)
    every = weights(q, k, rule, 0.25, torch.arange(N))
    assert torch.allclose(some, every[:, :, rows], atol=1e-2 if dtype == torch.bfloat16 else 1e-6)
    total = some.float().sum(-1)
    assert torch.allclose(total, torch.ones_like(total), atol=2e-2 if dtype == torch.bfloat16 else 1e-5)
    mixed = kernel(q, k, v, rule)[:, :, rows].float()
    assert torch.allclose(
        (some @ v.repeat_interleave(2, 1)).float(), mixed, atol=5e-2 if dtype == torch.bfloat16 else 1e-5
    )


@pytest.mark.parametrize("name", [n for n, r in rules().items() if r.cap is None])
def test_gradients_agree(name: str) -> None:
    rule = rules()[name]
    grads = []
    for kernel in (eager, sdpa):
        q, k, v = (t.requires_grad_() for t in inputs())
        kernel(q, k, v, rule, 0.25).square().sum().backward()
        grads.append((q.grad, k.grad, v.grad))
    for a, b in zip(*grads, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_gradients_reach_learned_biases() -> None:
    table = torch.randn(2 * N, H, requires_grad=True)
    rule = CAUSAL + Table(table, lambda d: d + N)
    grads = [torch.autograd.grad(kernel(*inputs(), rule, 0.25).square().sum(), table)[0] for kernel in (eager, sdpa)]
    assert grads[0].abs().sum() > 0
    assert torch.allclose(*grads, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("kernel", [eager, sdpa])
def test_a_row_that_sees_nothing_gives_zero_and_finite_gradients(kernel: object, dtype: torch.dtype) -> None:
    blind = torch.ones(B, N, dtype=torch.bool)
    blind[1] = False
    for rule in (OPEN & Padding(blind), Padding(blind) + Slope(torch.ones(H)), Rule(Band(after=-1))):
        q, k, v = inputs(dtype=dtype)
        q, k, v = (t.requires_grad_() for t in (q, k, v))
        out = kernel(q, k, v, rule, 0.25)  # type: ignore[operator]
        out.float().square().sum().backward()
        assert all(t.grad.isfinite().all() for t in (q, k, v))
        empty = out[:, :, 0] if isinstance(rule.mask, Band) else out[1]
        assert torch.equal(empty, torch.zeros_like(empty))
        assert out.isfinite().all()


@pytest.mark.parametrize("kernel", [eager, sdpa])
def test_large_scores_stay_finite(kernel: object) -> None:
    q, k, v = inputs()
    out = kernel(1e4 * q, 1e4 * k, v, Rule(CAUSAL), 1.0)  # type: ignore[operator]
    assert out.isfinite().all()


@settings(max_examples=60)
@given(
    st.integers(1, 3), st.sampled_from([(1, 1), (4, 1), (4, 2), (6, 3)]), st.integers(1, 17), st.integers(1, 9),
    st.integers(0, 20), st.integers(0, 6), st.booleans(),
)  # fmt: skip
def test_sdpa_is_eager_whatever_the_sizes(
    batch: int, heads: tuple[int, int], length: int, width: int, before: int, after: int, double: bool
) -> None:
    dtype = torch.float64 if double else torch.float32
    q = torch.randn(batch, heads[0], length, width, dtype=dtype)
    k, v = (torch.randn(batch, heads[1], length, width, dtype=dtype) for _ in range(2))
    rule = Rule(Band(before, after))
    for at in {0, length // 2}:
        fast = sdpa(q[:, :, at:], k, v, rule, 0.5, at)
        assert torch.allclose(fast, eager(q[:, :, at:], k, v, rule, 0.5, at), atol=1e-10 if double else 1e-5)


def test_flags_are_used_where_they_can_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    real = torch.nn.functional.scaled_dot_product_attention

    def spy(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float, causal: bool, **more: object) -> Tensor:
        told.append((mask is not None, causal))
        return real(q, k, v, mask, p, causal, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("cutaway.kernels.softmax.F.scaled_dot_product_attention", spy)
    q, k, v = inputs()
    for rule, at, queries in (
        (CAUSAL, 0, N), (CAUSAL, N - 1, 1), (window(4), N - 1, 1),
        (window(N), N - 1, 1), (window(N), 0, N), (FULL, 0, N),
    ):  # fmt: skip
        sdpa(q[:, :, at : at + queries], k, v, Rule(rule), 0.25, at)
    assert told == [
        (False, True),
        (False, False),
        (True, False),
        (False, False),
        (False, True),
        (False, False),
    ]


def test_dropout_falls_on_the_weights_in_training_only() -> None:
    q, k, v = inputs()
    kernel = Softmax(0.25, dropout=0.5)
    assert not torch.equal(kernel(q, k, v), kernel(q, k, v))
    kernel.eval()
    assert torch.equal(kernel(q, k, v), kernel(q, k, v))
    many = torch.stack([eager(q, k, v, OPEN, 0.25, dropout=0.5) for _ in range(400)]).mean(0)
    assert torch.allclose(many, kernel(q, k, v), atol=0.25)


def test_the_choice_is_stated() -> None:
    sparse = CAUSAL & Documents(torch.zeros(1, 2048))
    assert choose(as_rule(CAUSAL), "cpu", 9, 9) == ("sdpa", "no soft cap")
    assert choose(OPEN.capped(5.0), "cpu", 9, 9)[0] == "eager"
    assert choose(OPEN.capped(5.0), "cuda", 2048, 2048)[0] == "flex"
    assert choose(OPEN.capped(5.0), "cuda", 2048, 2048, 0.1)[0] == "eager"
    assert choose(as_rule(sparse), "cuda", 2048, 2048)[0] == "flex"
    assert choose(as_rule(sparse), "cuda", 1, 2048)[0] == "sdpa"
    assert choose(as_rule(CAUSAL), "cuda", 2048, 2048)[0] == "sdpa"


def test_what_a_kernel_cannot_do_it_says() -> None:
    q, k, v = inputs()
    with pytest.raises(ValueError, match="sdpa cannot cap scores: use eager or flex"):
        sdpa(q, k, v, OPEN.capped(5.0), 0.25)
    with pytest.raises(ValueError, match="unknown kernel 'fast'; choose one of: auto, eager, sdpa, flex"):
        Softmax(1.0, how="fast")(q, k, v)


@pytest.mark.parametrize("axes", [2, 3, 4])
def test_attention_on_raw_tensors(axes: int) -> None:
    shape = (2, 3)[: axes - 2]
    q, k, v = torch.randn(*shape, 5, 8), torch.randn(*shape, 7, 8), torch.randn(*shape, 7, 4)
    expected = torch.softmax(q @ k.mT / 8**0.5, -1) @ v
    assert torch.allclose(attention(q, k, v), expected, atol=1e-6)


def test_attention_names_the_sizes_that_do_not_fit() -> None:
    q, k, v = torch.randn(2, 4, 5, 8), torch.randn(2, 4, 7, 8), torch.randn(2, 4, 7, 8)
    with pytest.raises(ValueError, match="one head width, got 8 and 6"):
        attention(q, k[..., :6], v)
    with pytest.raises(ValueError, match="got 7 keys and 6 values"):
        attention(q, k, v[:, :, :6])
    with pytest.raises(ValueError, match="must divide query heads, got 3 and 4"):
        attention(q, k[:, :3], v[:, :3])
    with pytest.raises(ValueError, match="same 2, 3 or 4 axes, got 4, 3 and 3"):
        attention(q, k[0], v[0])
