"""ELECTRA against transformers."""

from pathlib import Path

import pytest
import transformers as T
from families import parity
from families.parity import Case

SMALL = dict(
    vocab_size=61, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40,
    max_position_embeddings=20, layer_norm_eps=1e-5,
)  # fmt: skip
HEADS = (
    "Model",
    "ForPreTraining",
    "ForMaskedLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
)
CASES = [
    *(Case(f"Electra{head}", T.ElectraConfig(**SMALL, embedding_size=10)) for head in HEADS),
    Case("ElectraForMaskedLM", T.ElectraConfig(**SMALL, embedding_size=24, hidden_act="relu"), note="wide"),
    Case("ElectraForMaskedLM", T.ElectraConfig(**SMALL, embedding_size=10, tie_word_embeddings=False), note="untied"),
    Case("ElectraForPreTraining", T.ElectraConfig(**SMALL, embedding_size=10, hidden_act="relu"), note="relu"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    assert parity.equal(case, tmp_path) < 1e-5


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


def test_defaults() -> None:
    parity.defaults("electra", T.ElectraConfig)
