"""GPT-Neo against transformers."""

from pathlib import Path

import cutaway
import pytest
import torch
import transformers as T
from families import parity
from families.parity import Case

SMALL = dict(
    vocab_size=61, max_position_embeddings=16, hidden_size=36, num_layers=3, num_heads=3, window_size=3,
    attention_types=[[["global", "local", "local"], 1]],
)  # fmt: skip


def neo(note: str = "", reference: str = "GPTNeoForCausalLM", **options: object) -> Case:
    return Case(reference, T.GPTNeoConfig(**SMALL | options), std=0.2, note=note)


CASES = [
    neo(),
    neo("global", attention_types=[[["global"], 3]]),
    neo("local", attention_types=[[["local"], 3]], window_size=1),
    neo("alternating", attention_types=[[["global", "local"], 2]], num_layers=4, window_size=4),
    neo("inner", intermediate_size=50),
    neo("relu", activation_function="relu"),
    neo("untied", tie_word_embeddings=False),
    neo(reference="GPTNeoModel"),
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
    parity.defaults("gpt_neo", T.GPTNeoConfig)
