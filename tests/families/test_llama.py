"""LLaMA and its relatives against transformers."""

from pathlib import Path

import pytest
import transformers as T
from families import parity
from families.parity import Case

SMALL = dict(
    vocab_size=61, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
    max_position_embeddings=64, num_key_value_heads=2,
)  # fmt: skip
CASES = [
    Case("LlamaForCausalLM", T.LlamaConfig(**SMALL, head_dim=12)),
    Case("LlamaForCausalLM", T.LlamaConfig(**SMALL, tie_word_embeddings=True), note="tied"),
    Case("LlamaModel", T.LlamaConfig(**SMALL)),
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


def test_defaults() -> None:
    parity.defaults("llama", T.LlamaConfig)
