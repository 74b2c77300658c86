"""The cache holds what may still be seen, and nothing that may not."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cutaway.parts import Attention, Cache, Context
from cutaway.scores import CAUSAL, INF, as_rule, window


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12), st.one_of(st.integers(0, 6), st.just(INF)), st.integers(0, 9)
)
def test_it_returns_every_slot_within_reach(steps: list[int], reach: float, capacity: int) -> None:
    cache, at = Cache(capacity), 0
    every = torch.arange(float(sum(steps))).view(1, 1, -1, 1).expand(2, 3, -1, 4)
    for n in steps:
        new = every[:, :, at : at + n]
        k, v, start = cache.put("layer", new, -new, at, reach)
        at += n
        assert torch.equal(k, every[:, :, start:at])
        assert torch.equal(v, -k)
        assert start <= max(0, at - n - reach)
        assert cache.length == at
        if reach < INF:
            assert cache.bytes <= 2 * 4 * 2 * 3 * 4 * max(4 * (reach + 1), 2 * (reach + n), capacity)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(1, 6))
def test_steps_equal_all_at_once_under_a_window(steps: list[int], width: int) -> None:
    torch.manual_seed(0)
    attend, x = Attention(8, 2), torch.randn(2, sum(steps), 8)
    whole = attend(x, Context.of(window(width)))
    cache, at, parts = Cache(), 0, []
    for n in steps:
        parts.append(attend(x[:, at : at + n], Context(as_rule(window(width)), at=at, cache=cache)))
        at += n
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-6)


def test_rows_fork_and_end() -> None:
    cache = Cache()
    k = torch.randn(3, 2, 5, 4)
    cache.put("layer", k, k, 0, INF)
    cache.once("cross", lambda: (k, k))
    rows = torch.tensor([2, 0, 0])
    cache.reorder(rows, memory=False)
    assert torch.equal(cache.put("layer", k[:, :, :1], k[:, :, :1], 5, INF)[0][:, :, :5], k[rows])
    assert torch.equal(cache.once("cross", lambda: (-k, -k))[0], k)
    cache.reorder(torch.tensor([1]))
    assert cache.once("cross", lambda: (-k, -k))[0].shape[0] == 1


def test_going_back() -> None:
    cache, k = Cache(), torch.randn(1, 1, 10, 2)
    cache.put("layer", k, k, 0, INF)
    cache.cut(4)
    again, _, start = cache.put("layer", -k[:, :, :2], k[:, :, :2], 4, INF)
    assert start == 0
    assert torch.equal(again, torch.cat([k[:, :, :4], -k[:, :, :2]], 2))
    rolling = Cache()
    rolling.put("layer", k, k, 0, 1)
    with pytest.raises(ValueError, match="slots before 9 have left the window, cannot go back to 4"):
        rolling.cut(4)


def test_a_gap_is_an_error() -> None:
    cache, k = Cache(), torch.randn(1, 1, 3, 2)
    cache.put("layer", k, k, 0, INF)
    with pytest.raises(ValueError, match="so the next is 3, not 5"):
        cache.put("layer", k, k, 5, INF)


def test_cross_attention_is_projected_once() -> None:
    attend = Attention(8, 2, cross=True)
    calls = []
    attend.k.register_forward_hook(lambda *_: calls.append(1))
    x, memory, cache = torch.randn(2, 3, 8), torch.randn(2, 5, 8), Cache()
    ctx = Context(as_rule(CAUSAL), memory=memory, cache=cache)
    assert torch.equal(attend(x, ctx), attend(x, ctx))
    assert len(calls) == 1
    assert torch.allclose(attend(x, ctx), attend(x, memory=memory))
