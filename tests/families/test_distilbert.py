"""DistilBERT against transformers."""

from pathlib import Path

import pytest
import transformers as T
from families import parity
from families.parity import Case

SMALL = dict(vocab_size=61, dim=24, n_layers=3, n_heads=4, hidden_dim=40, max_position_embeddings=20)
HEADS = ("Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
CASES = [
    *(Case(f"DistilBert{head}", T.DistilBertConfig(**SMALL)) for head in HEADS),
    Case(
        "DistilBertForMaskedLM", T.DistilBertConfig(**SMALL, activation="relu", sinusoidal_pos_embds=True), note="waves"
    ),
    Case("DistilBertForMaskedLM", T.DistilBertConfig(**SMALL, tie_word_embeddings=False), note="untied"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    assert parity.equal(case, tmp_path) < 1e-5


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


def test_defaults() -> None:
    parity.defaults("distilbert", T.DistilBertConfig)
