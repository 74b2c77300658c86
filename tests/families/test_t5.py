"""T5, mT5 and UMT5 against transformers."""

from pathlib import Path

import pytest
import transformers as T
from families import parity
from families.parity import Case

SMALL = {
    "vocab_size": 61, "d_model": 32, "d_kv": 12, "d_ff": 48, "num_layers": 3, "num_decoder_layers": 4, "num_heads": 3,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 9,
}  # fmt: skip
ALONE = {**SMALL, "is_encoder_decoder": False}
CASES = [
    Case("T5ForConditionalGeneration", T.T5Config(**SMALL)),
    Case(
        "T5ForConditionalGeneration",
        T.T5Config(**SMALL, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
        std=0.2,
        note="v1.1",
    ),
    Case("T5ForConditionalGeneration", T.T5Config(**SMALL, feed_forward_proj="gated-silu"), note="silu", std=0.2),
    Case("MT5ForConditionalGeneration", T.MT5Config(**SMALL), std=0.2),
    Case("UMT5ForConditionalGeneration", T.UMT5Config(**SMALL)),
    Case("T5Model", T.T5Config(**SMALL)),
    Case("MT5Model", T.MT5Config(**SMALL)),
    Case("UMT5Model", T.UMT5Config(**SMALL)),
    Case("T5EncoderModel", T.T5Config(**ALONE)),
    Case("MT5EncoderModel", T.MT5Config(**ALONE)),
    Case("UMT5EncoderModel", T.UMT5Config(**ALONE)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    d = parity.equal(case, tmp_path)
    print("DIFF", case, d)
    assert d < parity.TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", CASES[:5], ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize(("model_type", "config"), [("t5", T.T5Config), ("mt5", T.MT5Config), ("umt5", T.UMT5Config)])
def test_defaults(model_type: str, config: type) -> None:
    parity.defaults(model_type, config)
