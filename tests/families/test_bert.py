"""BERT and RoBERTa against transformers."""

from pathlib import Path

import pytest
import transformers as T
from families import parity
from families.parity import Case

SMALL = dict(
    vocab_size=61, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40,
    max_position_embeddings=20, layer_norm_eps=1e-5,
)  # fmt: skip
HEADS = ("Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
CASES = [
    *(Case(f"Bert{head}", T.BertConfig(**SMALL)) for head in HEADS),
    *(Case(f"Roberta{head}", T.RobertaConfig(**SMALL)) for head in HEADS),
    *(Case(f"XLMRoberta{head}", T.XLMRobertaConfig(**SMALL)) for head in HEADS),
    Case("BertForSequenceClassification", T.BertConfig(**SMALL, num_labels=5), note="five"),
    Case("RobertaForTokenClassification", T.RobertaConfig(**SMALL, num_labels=5), note="five"),
    Case("BertForMaskedLM", T.BertConfig(**SMALL, hidden_act="relu", type_vocab_size=3), note="relu"),
    Case("RobertaForMaskedLM", T.RobertaConfig(**SMALL, hidden_act="relu", pad_token_id=3), note="relu"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    assert parity.equal(case, tmp_path) < 1e-5


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("config", [T.BertConfig, T.RobertaConfig, T.XLMRobertaConfig])
def test_defaults(config: type) -> None:
    parity.defaults(config.model_type, config)
