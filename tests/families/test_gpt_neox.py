"""GPT-NeoX against transformers."""

from pathlib import Path

import cutaway
import pytest
import torch
import transformers as T
from families import parity
from families.parity import Case

SMALL = dict(
    vocab_size=61, hidden_size=36, num_hidden_layers=3, num_attention_heads=3, intermediate_size=50,
    max_position_embeddings=16,
)  # fmt: skip


def neox(note: str = "", reference: str = "GPTNeoXForCausalLM", fraction: float = 0.5, **options: object) -> Case:
    rope = {"rope_theta": 500.0, "partial_rotary_factor": fraction, **options.pop("scaling", {"rope_type": "default"})}
    return Case(reference, T.GPTNeoXConfig(**SMALL | {"rope_parameters": rope} | options), note=note)


YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=8)
CASES = [
    neox(),
    neox("sequential", use_parallel_residual=False),
    neox("whole", fraction=1.0),
    neox("odd-fraction", fraction=0.4),
    neox("unbiased", attention_bias=False),
    neox("tanh", hidden_act="gelu_fast"),
    neox("tied", tie_word_embeddings=True),
    neox("linear", scaling=dict(rope_type="linear", factor=3.0)),
    neox("yarn", scaling=YARN),
    neox(reference="GPTNeoXModel"),
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
    parity.defaults("gpt_neox", T.GPTNeoXConfig)
