"""Attention over a cache, against the formula."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cutaway.compiled.attention import attend

NONE = np.empty(0, np.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(
    keys=st.integers(1, 70),
    first=st.integers(0, 3),
    d=st.sampled_from([16, 48, 64, 80, 128]),
    share=st.sampled_from([1, 2]),
    queries=st.integers(1, 3),
    masked=st.booleans(),
    cap=st.sampled_from([0.0, 2.0]),
    seed=st.integers(0, 1000),
)
def test_every_length_and_width(dtype, keys, first, d, share, queries, masked, cap, seed):
    generator = torch.Generator().manual_seed(seed)
    batch, heads, room = 2, 4, first + keys + 2
    q = torch.randn(batch, queries, heads, d, generator=generator)
    k, v = (torch.randn(batch, heads // share, room, d, generator=generator).to(dtype) for _ in range(2))
    k[:, :, first + keys :] = v[:, :, :first] = torch.nan  # what is not seen is not read
    hidden = torch.rand(batch, heads, queries, keys, generator=generator) < 0.3
    bias = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)
    bias[0, 0, 0] = -torch.inf  # sees nothing
    seen_k, seen_v = (t[:, :, first : first + keys].float().repeat_interleave(share, 1) for t in (k, v))
    scores = 0.3 * q.transpose(1, 2) @ seen_k.mT
    scores = (cap * torch.tanh(scores / cap) if cap else scores) + (bias if masked else 0)
    expected = (scores.softmax(-1).nan_to_num(0) @ seen_v).transpose(1, 2)

    bits = lambda t: (t.view(torch.uint16) if dtype == torch.bfloat16 else t).view(-1).numpy()
    kept = bits(k), k.stride()[:3], bits(v), v.stride()[:3], 0
    seen = first, keys, cap, *((bias.view(-1).numpy(), bias.stride()[:3]) if masked else (NONE, (0, 0, 0)))
    out = torch.empty_like(q)
    team = 1, np.zeros(2, np.int64), np.zeros(1, np.int64)
    sizes = batch, queries, heads, share, d
    attend(team, q.clone().view(-1).numpy(), kept, (NONE, NONE, 0, 0), seen, sizes, 0.3, out.view(-1).numpy())
    torch.testing.assert_close(out, expected, atol=2e-6, rtol=1e-5)
