"""BLOOM against transformers."""

from pathlib import Path

import cutaway
import pytest
import torch
import transformers as T
from families import parity
from families.parity import Case

SMALL = dict(vocab_size=61, hidden_size=36, n_layer=3, n_head=3)


def bloom(note: str = "", reference: str = "BloomForCausalLM", **options: object) -> Case:
    return Case(reference, T.BloomConfig(**SMALL | options), note=note)


CASES = [
    bloom(),
    bloom("4-heads", n_head=4),
    bloom("6-heads", n_head=6),
    bloom("normed-residual", apply_residual_connection_post_layernorm=True),
    bloom("untied", tie_word_embeddings=False),
    bloom(reference="BloomModel"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    worst = parity.equal(case, tmp_path)
    print(case, worst)
    assert worst < parity.TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < parity.TOLERANCE


def test_defaults() -> None:
    parity.defaults("bloom", T.BloomConfig)
