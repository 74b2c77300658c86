"""The Transformer of 2017 and its published translators against transformers."""

from pathlib import Path

import pytest
import transformers as T
from families import parity
from families.parity import Case

SMALL = {
    "d_model": 24, "encoder_layers": 3, "decoder_layers": 4, "encoder_attention_heads": 2,
    "decoder_attention_heads": 3, "encoder_ffn_dim": 40, "decoder_ffn_dim": 56, "max_position_embeddings": 19,
}  # fmt: skip
MARIAN = {**SMALL, "vocab_size": 49, "pad_token_id": 48, "decoder_start_token_id": 48}
OWN = {**MARIAN, "decoder_vocab_size": 61, "share_encoder_decoder_embeddings": False}
FSMT = {**SMALL, "src_vocab_size": 67, "tgt_vocab_size": 61, "langs": ["en", "de"], "use_cache": False}
CASES = [
    Case("MarianMTModel", T.MarianConfig(**MARIAN, scale_embedding=True, activation_function="silu")),
    Case("MarianMTModel", T.MarianConfig(**OWN, activation_function="relu"), note="own"),
    Case("MarianMTModel", T.MarianConfig(**OWN, tie_word_embeddings=False), note="own-untied"),
    Case("FSMTForConditionalGeneration", T.FSMTConfig(**FSMT)),
    Case(
        "FSMTForConditionalGeneration",
        T.FSMTConfig(**{**FSMT, "src_vocab_size": 61}, tie_word_embeddings=True, scale_embedding=False),
        note="tied",
    ),
    Case("M2M100ForConditionalGeneration", T.M2M100Config(**SMALL, vocab_size=61)),
    Case("MarianModel", T.MarianConfig(**MARIAN)),
    Case("M2M100Model", T.M2M100Config(**SMALL, vocab_size=61, scale_embedding=False, activation_function="gelu")),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    d = parity.equal(case, tmp_path)
    print("DIFF", case, d)
    assert d < parity.TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", CASES[:6], ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize(
    ("model_type", "config"), [("marian", T.MarianConfig), ("fsmt", T.FSMTConfig), ("m2m_100", T.M2M100Config)]
)
def test_defaults(model_type: str, config: type) -> None:
    parity.defaults(model_type, config)
