"""ALBERT against transformers."""

from pathlib import Path

import pytest
import transformers as T
from families import parity
from families.parity import Case

SMALL = dict(
    vocab_size=61, embedding_size=10, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40,
    max_position_embeddings=20, layer_norm_eps=1e-5,
)  # fmt: skip
HEADS = ("Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
CASES = [
    *(Case(f"Albert{head}", T.AlbertConfig(**SMALL)) for head in HEADS),
    Case("AlbertModel", T.AlbertConfig(**SMALL, num_hidden_groups=3, inner_group_num=2), note="groups"),
    Case(
        "AlbertForMaskedLM",
        T.AlbertConfig(**SMALL | dict(num_hidden_layers=5, num_hidden_groups=2, hidden_act="gelu")),
        note="uneven",
    ),
    Case("AlbertForMaskedLM", T.AlbertConfig(**SMALL | dict(embedding_size=24)), note="wide"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    assert parity.equal(case, tmp_path) < 1e-5


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


def test_defaults() -> None:
    parity.defaults("albert", T.AlbertConfig)
