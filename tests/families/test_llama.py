"""LLaMA and its kin against transformers."""

from pathlib import Path

import pytest
import torch
import transformers as T
from families import parity
from families.parity import Case

import cutaway

SMALL = dict(
    vocab_size=61, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40,
    max_position_embeddings=64, num_key_value_heads=2, bos_token_id=1, eos_token_id=2, pad_token_id=None,
)  # fmt: skip


def case(name: str, note: str = "", body: bool = False, **more: object) -> Case:
    """A small causal LM of a model type, or its body alone."""
    config = getattr(T, f"{name}Config")(**{**SMALL, **more})
    return Case(f"{name}Model" if body else f"{name}ForCausalLM", config, note=note)


def rope(kind: str, **more: object) -> dict[str, object]:
    return dict(rope_scaling=dict(rope_type=kind, **more))


LATE = dict(use_sliding_window=True, sliding_window=3, max_window_layers=1)
LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
FACTORS = dict(short_factor=[1.0, 1.1, 1.3, 1.7], long_factor=[1.0, 2.0, 5.0, 9.0])
YARN = dict(factor=4.0, original_max_position_embeddings=16)

LM = [
    case("Llama"),
    case("Llama", "tied", tie_word_embeddings=True, head_dim=12),
    case("Llama", "biased", attention_bias=True, mlp_bias=True, hidden_act="relu", num_key_value_heads=None),
    case("Llama", "theta", rope_theta=50.0, rms_norm_eps=0.01),
    case("Llama", "linear", **rope("linear", factor=2.5)),
    case("Llama", "dynamic", max_position_embeddings=8, **rope("dynamic", factor=3.0)),
    case("Llama", "yarn", **rope("yarn", **YARN)),
    case("Llama", "yarn2", **rope("yarn", **YARN, beta_fast=4.0, beta_slow=0.5, truncate=False, mscale=0.7, mscale_all_dim=0.4)),
    case("Llama", "yarn3", **rope("yarn", **YARN, attention_factor=1.3)),
    case("Llama", "llama3", **rope("llama3", **YARN, low_freq_factor=1.0, high_freq_factor=4.0)),
    case("Mistral", sliding_window=3),
    case("Mistral", "open", sliding_window=None, head_dim=6),
    case("Mixtral", num_local_experts=5, num_experts_per_tok=2, sliding_window=4),
    case("Mixtral", "top1", num_local_experts=3, num_experts_per_tok=1, head_dim=10, router_aux_loss_coef=0.02),
    case("Qwen2", max_window_layers=3),
    case("Qwen2", "late", tie_word_embeddings=True, **LATE),
    case("Qwen2", "layers", layer_types=LAYERS, **LATE | dict(max_window_layers=0)),
    case("Qwen3", head_dim=12, max_window_layers=3),
    case("Qwen3", "late", head_dim=8, attention_bias=True, **LATE),
    case("Phi3"),
    case("Phi3", "partial", partial_rotary_factor=0.5, sliding_window=5, tie_word_embeddings=True),
    case("Phi3", "longrope", original_max_position_embeddings=8, **rope("longrope", **FACTORS)),
    case("Phi3", "longrope2", original_max_position_embeddings=8, **rope("longrope", **FACTORS, attention_factor=1.2)),
    case("Olmo2"),
    case("Olmo2", "biased", attention_bias=True, num_key_value_heads=None),
]  # fmt: skip
NAMES = ["Llama", "Mistral", "Mixtral", "Qwen2", "Qwen3", "Phi3", "Olmo2"]
BODIES = [case(name, body=True, **({"max_window_layers": 3} if "Qwen" in name else {})) for name in NAMES]
CASES = LM + BODIES


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    d = parity.equal(case, tmp_path)
    print("DIFF", case, d)
    assert d < parity.TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_defaults(name: str) -> None:
    config = getattr(T, f"{name}Config")
    parity.defaults(config.model_type, config)
