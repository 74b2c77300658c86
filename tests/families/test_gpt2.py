"""GPT-2, its predecessor and its successor against transformers and their papers."""

from pathlib import Path

import cutaway
import pytest
import torch
import transformers as T
from cutaway.scores import CAUSAL, window
from families import parity
from families.parity import Case

SMALL = dict(vocab_size=61, n_positions=16, n_embd=36, n_layer=3, n_head=3)


def gpt2(note: str = "", reference: str = "GPT2LMHeadModel", std: float = 0.3, **options: object) -> Case:
    return Case(reference, T.GPT2Config(**SMALL | options), std=std, note=note)


def gpt(note: str = "", reference: str = "OpenAIGPTLMHeadModel", **options: object) -> Case:
    return Case(reference, T.OpenAIGPTConfig(**SMALL | options), note=note)


CASES = [
    gpt2(),
    gpt2("untied", tie_word_embeddings=False),
    gpt2("inner", n_inner=50),
    gpt2("relu", activation_function="relu"),
    gpt2("gelu", activation_function="gelu"),
    gpt2("unscaled", scale_attn_weights=False),
    gpt2("layer-scaled", scale_attn_by_inverse_layer_idx=True),
    gpt2("upcast", reorder_and_upcast_attn=True, attn_implementation="eager"),
    gpt2(reference="GPT2Model"),
    gpt(),
    gpt("untied", tie_word_embeddings=False),
    gpt("relu", afn="relu"),
    gpt("silu", afn="silu"),
    gpt(reference="OpenAIGPTModel"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    worst = parity.equal(case, tmp_path)
    print(case, worst)
    assert worst < parity.TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", [gpt2(), gpt()], ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < parity.TOLERANCE


def test_defaults() -> None:
    parity.defaults("gpt2", T.GPT2Config)
    parity.defaults("openai-gpt", T.OpenAIGPTConfig)
