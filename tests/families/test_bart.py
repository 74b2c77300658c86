"""BART, mBART and PEGASUS against transformers."""

from pathlib import Path

import pytest
import transformers as T
from families import parity
from families.parity import Case

SMALL = {
    "vocab_size": 61, "d_model": 24, "encoder_layers": 3, "decoder_layers": 4, "encoder_attention_heads": 2,
    "decoder_attention_heads": 3, "encoder_ffn_dim": 40, "decoder_ffn_dim": 56, "max_position_embeddings": 19,
}  # fmt: skip
CASES = [
    Case("BartForConditionalGeneration", T.BartConfig(**SMALL)),
    Case("MBartForConditionalGeneration", T.MBartConfig(**SMALL, scale_embedding=True)),
    Case("PegasusForConditionalGeneration", T.PegasusConfig(**SMALL, scale_embedding=True, activation_function="relu")),
    Case("BartModel", T.BartConfig(**SMALL, scale_embedding=True, activation_function="gelu_new")),
    Case("MBartModel", T.MBartConfig(**SMALL)),
    Case("PegasusModel", T.PegasusConfig(**SMALL)),
    Case("BartForSequenceClassification", T.BartConfig(**SMALL), ends=2),
    Case("MBartForSequenceClassification", T.MBartConfig(**SMALL, num_labels=5), ends=2),
    Case("BartForQuestionAnswering", T.BartConfig(**SMALL)),
    Case("MBartForQuestionAnswering", T.MBartConfig(**SMALL)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    d = parity.equal(case, tmp_path)
    print("DIFF", case, d)
    assert d < parity.TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", CASES[:3], ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize(
    ("model_type", "config"), [("bart", T.BartConfig), ("mbart", T.MBartConfig), ("pegasus", T.PegasusConfig)]
)
def test_defaults(model_type: str, config: type) -> None:
    parity.defaults(model_type, config)
