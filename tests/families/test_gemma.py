"""Gemma and Gemma 2 against transformers."""

from pathlib import Path

import pytest
import transformers as T
from families import parity
from families.parity import Case

SMALL = dict(
    vocab_size=61, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40, head_dim=12,
    max_position_embeddings=64, num_key_value_heads=2,
)  # fmt: skip


def case(name: str, note: str = "", body: bool = False, **more: object) -> Case:
    """A small causal LM of a model type, or its body alone."""
    config = getattr(T, f"{name}Config")(**{**SMALL, **more})
    return Case(f"{name}Model" if body else f"{name}ForCausalLM", config, note=note)


LAYERS = ["full_attention", "full_attention", "sliding_attention"]
LM = [
    case("Gemma"),
    case("Gemma", "untied", tie_word_embeddings=False, attention_bias=True, num_key_value_heads=1, rope_theta=50.0),
    case("Gemma2", sliding_window=3, attn_logit_softcapping=1.5, final_logit_softcapping=2.0, query_pre_attn_scalar=7),
    case("Gemma2", "layers", sliding_window=4, layer_types=LAYERS, attention_bias=True),
    case("Gemma2", "uncapped", sliding_window=2, attn_logit_softcapping=None, final_logit_softcapping=None),
    case("Gemma2", "open", layer_types=["full_attention"] * 3, rope_scaling=dict(rope_type="linear", factor=2.0)),
]
CASES = [*LM, case("Gemma", body=True), case("Gemma2", body=True, sliding_window=3)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    d = parity.equal(case, tmp_path)
    print("DIFF", case, d)
    assert d < parity.TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", LM, ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize("config", [T.GemmaConfig, T.Gemma2Config])
def test_defaults(config: type[T.PretrainedConfig]) -> None:
    parity.defaults(config.model_type, config)
