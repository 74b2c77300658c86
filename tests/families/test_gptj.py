"""GPT-J against transformers."""

from pathlib import Path

import pytest
import torch
import transformers as T
from families import decoder, parity
from families.parity import Case
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.families.gptj import halves

SMALL = dict(vocab_size=61, n_positions=16, n_embd=36, n_layer=3, n_head=3, rotary_dim=8)
TINY = dict(vocab=61, width=36, depth=3, heads=3, turned=6)


def gptj(note: str = "", reference: str = "GPTJForCausalLM", **options: object) -> Case:
    return Case(reference, T.GPTJConfig(**SMALL | options), note=note)


CASES = [
    gptj(),
    gptj("whole", rotary_dim=12),
    gptj("inner", n_inner=50, layer_norm_epsilon=0.1),
    gptj("relu", activation_function="relu"),
    gptj("tied", tie_word_embeddings=True),
    gptj(reference="GPTJModel"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    assert parity.equal(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", CASES[:2], ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize("case", [gptj(), gptj("tied", tie_word_embeddings=True)], ids=str)
def test_loss_and_gradients(case: Case, tmp_path: Path) -> None:
    assert decoder.learning(case, tmp_path) < parity.TOLERANCE


def test_defaults() -> None:
    parity.defaults("gptj", T.GPTJConfig)


@settings(max_examples=25)
@given(st.integers(1, 4), st.integers(0, 4), st.integers(0, 3))
def test_rows_are_put_in_another_order_and_back(heads: int, pairs: int, rest: int) -> None:
    layout, rows = halves(heads, 2 * pairs), heads * (2 * pairs + rest)
    theirs = torch.arange(2.0 * rows).view(rows, 2)
    (ours,) = layout.load(theirs)
    assert torch.equal(layout.save([ours]), theirs)
    assert torch.equal(ours.sort(0).values, theirs)
    head = ours.view(heads, 2 * pairs + rest, 2)[:, : 2 * pairs, 0] / 2
    assert torch.equal(head[:, pairs:], head[:, :pairs] + 1)  # what turned beside it now turns half a width away


REFUSED = [
    (dict(rotary=False), "rotary = False .only True is built"),
    (dict(scale_attn_weights=False), "scale_attn_weights = False"),
    (dict(rotary_dim=5), "must be even, got 5"),
    (dict(rope_scaling=dict(type="linear", factor=2.0)), "rope_scaling = .* .unknown key"),
    (dict(activation_function="mish"), "act 'mish' is not built"),
    (dict(architectures=["GPTJForSequenceClassification"]), "'GPTJForSequenceClassification' is not built"),
]


@pytest.mark.parametrize(("keys", "message"), REFUSED)
def test_what_is_not_built_is_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decoder.read("gptj", **keys)


def test_fresh(tmp_path: Path) -> None:
    assert decoder.fresh("gptj", tmp_path, **TINY) < parity.TOLERANCE
    assert len(decoder.dropping("gptj", **TINY)) == 3


def test_older_checkpoints(tmp_path: Path) -> None:
    assert decoder.older(gptj(), tmp_path, "transformer.", "h.0.attn.bias", "h.2.attn.masked_bias") < parity.TOLERANCE
