"""GPT-J against transformers."""

from pathlib import Path

import cutaway
import pytest
import torch
import transformers as T
from families import parity
from families.parity import Case

SMALL = dict(vocab_size=61, n_positions=16, n_embd=36, n_layer=3, n_head=3, rotary_dim=8)


def gptj(note: str = "", reference: str = "GPTJForCausalLM", **options: object) -> Case:
    return Case(reference, T.GPTJConfig(**SMALL | options), note=note)


CASES = [
    gptj(),
    gptj("whole", rotary_dim=12),
    gptj("inner", n_inner=50),
    gptj("relu", activation_function="relu"),
    gptj("tied", tie_word_embeddings=True),
    gptj(reference="GPTJModel"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    worst = parity.equal(case, tmp_path)
    print(case, worst)
    assert worst < parity.TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", CASES[:2], ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < parity.TOLERANCE


def test_defaults() -> None:
    parity.defaults("gptj", T.GPTJConfig)
