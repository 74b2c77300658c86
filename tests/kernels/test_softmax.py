"""Every kernel is held to the slow, obvious one, under every rule, at every place in a sequence."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.rules import B, D, G, H, N, inputs, rules
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cutaway.kernels import Softmax, attention, blocks, choose, eager, sdpa, weights
from cutaway.scores import CAUSAL, FULL, OPEN, Band, Documents, Padding, Rule, Slope, Table, as_rule, dense, window


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


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 7 queries and keys in pieces of 5, so that few slots make many."""
    monkeypatch.setattr("cutaway.kernels.softmax.ROWS", 7)
    monkeypatch.setattr("cutaway.kernels.softmax.GRAIN", 5)


@pytest.mark.parametrize("name", rules())
@pytest.mark.parametrize(("at", "queries", "start"), [(0, N, 0), (N - 1, 1, 0), (N - 11, 11, 0), (N - 9, 9, 9)])
@pytest.mark.usefixtures("small")
def test_blocks_are_eager(name: str, at: int, queries: int, start: int) -> None:
    rule = rules()[name]
    q, k, v = inputs()
    q, k, v = q[:, :, at : at + queries], k[:, :, start:], v[:, :, start:]
    assert torch.allclose(blocks(q, k, v, rule, 0.25, at, start), eager(q, k, v, rule, 0.25, at, start), atol=2e-6)


@pytest.mark.parametrize("name", rules())
@pytest.mark.parametrize(("at", "queries", "start"), [(0, 1, 0), (3, 5, 0), (9, 9, 2), (0, N, 5), (20, 4, 3)])
def test_a_span_holds_every_key_that_is_seen(name: str, at: int, queries: int, start: int) -> None:
    mask = rules()[name].mask
    first, stop = mask.span(at, queries, start, N - start)
    seen = dense(mask, torch.arange(at, at + queries), torch.arange(start, N), B, H).expand(B, H, queries, N - start)
    slots = start + seen.any(0).any(0).any(0).nonzero().flatten()
    assert ((first <= slots) & (slots < stop)).all()
    if isinstance(mask, Band) and len(slots):
        assert (first, stop) == (int(slots[0]), int(slots[-1]) + 1)


def test_blocks_read_only_what_a_mask_reaches() -> None:
    document = torch.arange(N)[None].expand(B, N) // 6
    assert Documents(document).span(6, 6, 0, N) == (6, 12)
    assert (CAUSAL & Documents(document)).span(6, 4, 0, N) == (6, 10)
    assert (window(3) | Documents(document)).span(6, 4, 0, N) == (4, 12)
    assert window(3).span(9, 2, 8, 10) == (8, 11)
    assert Documents(document).span(0, 6, 12, 12) == (12, 12)
    hidden = ~dense(window(4), torch.arange(N), torch.arange(N), 1, 1)
    q, k, v = inputs()
    k[:, :, :7], v[:, :, :7] = torch.nan, torch.nan  # from slot 10 on nobody looks there
    assert hidden[10:, :7].all()
    assert blocks(q[:, :, 10:], k[:, :, 7:], v[:, :, 7:], as_rule(window(4)), 0.25, 10, 7).isfinite().all()


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


@pytest.mark.parametrize("name", rules())
@pytest.mark.usefixtures("small")
def test_gradients_agree(name: str) -> None:
    rule = rules()[name]
    grads = []
    for kernel in (eager, blocks) if rule.cap is not None else (eager, blocks, sdpa):
        q, k, v = (t.requires_grad_() for t in inputs())
        kernel(q, k, v, rule, 0.25).square().sum().backward()
        grads.append((q.grad, k.grad, v.grad))
    for several in zip(*grads, strict=True):
        assert all(torch.allclose(several[0], other, atol=1e-5) for other in several)


@pytest.mark.parametrize("kernel", [blocks, sdpa])
@pytest.mark.usefixtures("small")
def test_gradients_reach_learned_biases(kernel: object) -> None:
    table = torch.randn(2 * N, H, requires_grad=True)
    rule = CAUSAL + Table(table, lambda d: d + N)
    grads = [torch.autograd.grad(run(*inputs(), rule, 0.25).square().sum(), table)[0] for run in (eager, kernel)]  # type: ignore[operator]
    assert grads[0].abs().sum() > 0
    assert torch.allclose(*grads, atol=1e-5)


@pytest.mark.usefixtures("small")
def test_blocks_on_the_way_back_drop_what_they_dropped() -> None:
    q, k, v = (t.double().requires_grad_() for t in inputs())
    torch.manual_seed(1)
    out = blocks(q, k, v, as_rule(CAUSAL), 0.25, dropout=0.5)
    (grad,) = torch.autograd.grad(out.sum(), v)
    with torch.no_grad():
        torch.manual_seed(1)
        more = blocks(q, k, v + 1, as_rule(CAUSAL), 0.25, dropout=0.5)  # linear in the values
    assert torch.allclose((more - out).sum(), grad.sum())
    assert not torch.allclose(grad.sum(), torch.tensor(float(B * H * N * D), dtype=torch.float64))


@pytest.mark.parametrize("name", ["window", "documents", "alibi", "alibi and cap"])
def test_blocks_hold_nothing_of_size_n_by_n(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.kernels.softmax.CELLS", 2**19)
    n, rule = 2048, {**rules(2048), "documents": as_rule(CAUSAL & Documents(torch.arange(2048)[None] // 100))}[name]
    q, k, v = (torch.randn(1, h, n, 2, requires_grad=True) for h in (H, G, G))
    largest, kept = [0], [0]

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            largest[0] = max([largest[0], *(t.numel() for t in tree_leaves(made) if isinstance(t, Tensor))])
            return made

    def keep(t: Tensor) -> Tensor:
        kept[0] += t.numel()
        return t

    with Watch(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        out = Softmax(0.25)(q, k, v, rule)
    assert kept[0] < 40 * n
    with Watch():
        out.sum().backward()
    assert 2 * n < largest[0] < n * n // 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("kernel", [eager, sdpa, blocks])
@pytest.mark.usefixtures("small")
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


@pytest.mark.parametrize("kernel", [eager, sdpa, blocks])
@pytest.mark.usefixtures("small")
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
    assert choose(OPEN.capped(5.0), "cuda", 2048, 2048, 0.1)[0] == "blocks"
    assert choose(as_rule(sparse), "cuda", 2048, 2048)[0] == "flex"
    assert choose(as_rule(sparse), "cuda", 1, 2048)[0] == "sdpa"
    assert choose(as_rule(window(256)), "cuda", 2048, 2048)[0] == "flex"
    assert choose(as_rule(window(256)), "cuda", 2048, 2048, 0.1)[0] == "blocks"
    padding = Padding(torch.ones(1, 2048).bool())
    for rule in (window(256), sparse, CAUSAL & padding, CAUSAL + Slope(torch.ones(2)), OPEN.capped(5.0)):
        assert choose(as_rule(rule), "cpu", 2048, 2048) == ("blocks", "scores, mask or bias of a long input")
        assert choose(as_rule(rule), "cpu", 1, 2048)[0] != "blocks"
    for rule in (FULL, CAUSAL, window(2048), padding):
        assert choose(as_rule(rule), "cpu", 2048, 2048)[0] == "sdpa"
    assert choose(as_rule(CAUSAL), "cpu", 1024, 4096)[0] == "blocks"  # the middle of a text: not what is_causal says
    assert choose(as_rule(CAUSAL), "cuda", 2048, 2048)[0] == "sdpa"


def test_what_a_kernel_cannot_do_it_says() -> None:
    q, k, v = inputs()
    with pytest.raises(ValueError, match="sdpa cannot cap scores: use eager, blocks or flex"):
        sdpa(q, k, v, OPEN.capped(5.0), 0.25)
    with pytest.raises(ValueError, match="unknown kernel 'fast'; choose one of: auto, eager, sdpa, blocks, flex"):
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
