"""Rotary positions: frequencies of every scaling against transformers, and the laws that turning obeys."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from cutaway.parts import Context, Rotary, Scaling
from cutaway.parts.rotary import base_frequencies
from cutaway.scores import OPEN

SHORT, LONG = tuple(1 + 0.1 * i for i in range(12)), tuple(1.5 + i * i for i in range(12))

# our scaling, the parameters of theirs that mean the same
SCALINGS = [
    (Scaling("linear", 2.5), dict(factor=2.5)),
    (Scaling("dynamic", 3.0, original=64), dict(factor=3.0)),
    (Scaling("yarn", 4.0, original=64), dict(factor=4.0, original_max_position_embeddings=64)),
    (Scaling("yarn", 16.0, original=4096), dict(factor=16.0, original_max_position_embeddings=4096)),
    (
        Scaling("yarn", 4.0, original=256, fast=8.0, slow=0.5, truncate=False),
        dict(factor=4.0, original_max_position_embeddings=256, beta_fast=8.0, beta_slow=0.5, truncate=False),
    ),
    (
        Scaling("yarn", 40.0, original=4096, mscale=0.7, mscale_all=1.2),
        dict(factor=40.0, original_max_position_embeddings=4096, mscale=0.7, mscale_all_dim=1.2),
    ),
    (
        Scaling("yarn", 4.0, original=64, attention=1.7),
        dict(factor=4.0, original_max_position_embeddings=64, attention_factor=1.7),
    ),
    (
        Scaling("llama3", 8.0, original=8192),
        dict(factor=8.0, original_max_position_embeddings=8192, low_freq_factor=1.0, high_freq_factor=4.0),
    ),
    (
        Scaling("llama3", 32.0, original=128, low=2.0, high=6.0),
        dict(factor=32.0, original_max_position_embeddings=128, low_freq_factor=2.0, high_freq_factor=6.0),
    ),
    (
        Scaling("longrope", 4.0, original=64, short=SHORT, long=LONG),
        dict(factor=4.0, original_max_position_embeddings=64, short_factor=[*SHORT], long_factor=[*LONG]),
    ),
    (
        Scaling("longrope", 4.0, original=64, attention=1.19, short=SHORT, long=LONG),
        dict(attention_factor=1.19, original_max_position_embeddings=64, short_factor=[*SHORT], long_factor=[*LONG]),
    ),
]


@pytest.mark.parametrize("theta", [10_000.0, 500.0])
@pytest.mark.parametrize("fraction", [1.0, 0.75])
@pytest.mark.parametrize(("ours", "theirs"), SCALINGS, ids=lambda x: x.kind if isinstance(x, Scaling) else "")
def test_scalings_are_theirs(ours: Scaling, theirs: dict[str, object], fraction: float, theta: float) -> None:
    dim = 24
    parameters = dict(rope_type=ours.kind, rope_theta=theta, partial_rotary_factor=fraction, **theirs)
    config = LlamaConfig(head_dim=round(dim / fraction), max_position_embeddings=64, rope_parameters=parameters)
    for length in (1, 63, 64, 65, 400):
        expected, gain = ROPE_INIT_FUNCTIONS[ours.kind](config, "cpu", seq_len=length)
        (got,) = ours.frequencies(dim, theta, torch.tensor([length]))
        assert torch.allclose(got, expected, rtol=2e-6, atol=0), length
        assert ours.gain == pytest.approx(gain)


def test_scalings_differ() -> None:
    """No scaling is another, or none, on a length that asks for it."""
    kinds = [Scaling("ntk", 3.0), *(ours for ours, _ in SCALINGS)]
    made = [(s.frequencies(24, 10_000.0, torch.tensor([400]))[0], s.gain) for s in kinds]
    made.append((base_frequencies(24, 10_000.0, torch.device("cpu"))[0], 1.0))
    for i, (f, gain) in enumerate(made):
        assert all(not torch.allclose(f, g, rtol=1e-3) or gain != other for g, other in made[:i])


@given(st.floats(1.0, 64.0), st.integers(2, 40))
def test_ntk_stretches_the_slowest_wave_by_the_factor_and_keeps_the_fastest(factor: float, half: int) -> None:
    dim, theta = 2 * half, 10_000.0
    (got,) = Scaling("ntk", factor).frequencies(dim, theta, torch.tensor([7]))
    steps = torch.arange(0, dim, 2).double() / dim
    expected = (theta * factor ** (dim / (dim - 2))) ** -steps
    assert torch.allclose(got.double(), expected, rtol=1e-5)
    assert got[0] == 1
    assert got[-1].item() == pytest.approx(theta ** -((dim - 2) / dim) / factor, rel=1e-5)


def test_dynamic_is_ntk_as_far_as_the_input_goes() -> None:
    scaling = Scaling("dynamic", 4.0, original=100)
    plain, grown = scaling.frequencies(16, 10_000.0, torch.tensor([80, 300]))
    assert torch.equal(plain, base_frequencies(16, 10_000.0, torch.device("cpu"))[0])
    assert torch.allclose(grown, Scaling("ntk", 4.0 * 3 - 3).frequencies(16, 10_000.0, torch.tensor([300]))[0])


each_scaling = pytest.mark.parametrize(
    "scaling", [None, *(s for s, _ in SCALINGS)], ids=lambda s: s.kind if s else "none"
)


def at(positions: Tensor) -> Context:
    return Context(OPEN, positions)


@each_scaling
def test_a_pair_turns_by_position_times_frequency(scaling: Scaling | None) -> None:
    """The definition, in complex numbers: a pair is one number, and turning it a product."""
    x, positions = torch.randn(2, 3, 5, 24), torch.tensor([[0, 1, 2, 70, 71], [5, 3, 4, 9, 9]])
    if scaling is None:
        f, gain = base_frequencies(24, 100.0, x.device), 1.0
    else:
        f, gain = scaling.frequencies(24, 100.0, torch.tensor([72, 10])), scaling.gain
    turn = torch.polar(torch.tensor(gain), positions[:, None, :, None] * f[:, None, None])
    turned = torch.complex(x[..., :12], x[..., 12:]) * turn
    got = Rotary(24, 100.0, scaling)(x, at(positions))
    assert torch.allclose(got, torch.cat([turned.real, turned.imag], -1), atol=1e-5)


@given(st.sampled_from([None, *(s for s, _ in SCALINGS)]), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_scores_depend_on_the_distance_only(scaling: Scaling | None, q_at: int, k_at: int, shift: int) -> None:
    torch.manual_seed(q_at)
    (q, k), rotary = torch.randn(2, 1, 1, 1, 24), Rotary(24, scaling=scaling)
    turn = lambda x, position: rotary(x, at(torch.tensor([[position]])))
    score = lambda by: (turn(q, q_at + by) * turn(k, k_at + by)).sum()
    assert torch.allclose(score(0), score(shift), atol=1e-4)


def test_what_lies_beyond_the_turned_width_stays() -> None:
    x, positions = torch.randn(2, 3, 5, 16), torch.randint(0, 99, (2, 5))
    got = Rotary(6)(x, at(positions))
    assert torch.equal(got[..., 6:], x[..., 6:])
    assert torch.equal(got[..., :6], Rotary(6)(x[..., :6], at(positions)))
    assert not torch.allclose(got[..., :6], x[..., :6])


@each_scaling
def test_batch_mates_change_nothing(scaling: Scaling | None) -> None:
    """A long row beside a short one leaves the short one's frequencies alone."""
    x, positions, rotary = (
        torch.randn(2, 3, 5, 24),
        torch.tensor([[0, 1, 2, 3, 4], [96, 97, 98, 99, 100]]),
        Rotary(24, scaling=scaling),
    )
    both = rotary(x, at(positions))
    for i in range(2):
        assert torch.equal(both[i : i + 1], rotary(x[i : i + 1], at(positions[i : i + 1])))


def test_positions_go_on_where_the_slots_do() -> None:
    x, rotary = torch.randn(2, 3, 9, 8), Rotary(8)
    assert torch.equal(rotary(x, Context(OPEN))[:, :, 4:], rotary(x[:, :, 4:], Context(OPEN, at=4)))


def test_angles_keep_their_precision_in_half_types() -> None:
    x, positions = torch.randn(1, 1, 1, 8), torch.tensor([[30_001]])
    exact, half = Rotary(8)(x, at(positions)), Rotary(8)(x.bfloat16(), at(positions))
    assert half.dtype == torch.bfloat16
    assert torch.allclose(half.float(), exact, atol=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rotary(7), "turn pairs, so the width must be even, got 7"),
        (lambda: Scaling("spiral"), "unknown rotary scaling 'spiral'; known: linear, ntk"),
        (lambda: Scaling("yarn", 4.0), "'yarn' needs the original length, got 0"),
        (
            lambda: Rotary(8, scaling=Scaling("longrope", original=9, short=(1.0,) * 4, long=(1.0,) * 3)),
            "longrope needs 4 factors, one per pair, got 4 short and 3 long",
        ),
    ],
)
def test_what_does_not_fit_is_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
