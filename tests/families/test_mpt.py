"""MPT against transformers."""

from functools import partialmethod
from pathlib import Path

import cutaway
import pytest
import torch
import transformers as T
from families import parity
from families.parity import Case

SMALL = dict(vocab_size=61, d_model=36, n_layers=3, n_heads=3, max_seq_len=16)


def mpt(note: str = "", reference: str = "MptForCausalLM", attention: dict | None = None, **options: object) -> Case:
    return Case(reference, T.MptConfig(**SMALL | options, attn_config=attention or {}), note=note)


CASES = [
    mpt(),
    mpt("4-heads", n_heads=4),
    mpt("6-heads", n_heads=6),
    mpt("clipped", attention={"clip_qkv": 0.5}),
    mpt("scaled", attention={"softmax_scale": 0.7}),
    mpt("untied", tie_word_embeddings=False),
    mpt(reference="MptModel"),
    mpt("clipped", "MptModel", attention={"clip_qkv": 0.5}),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    worst = parity.equal(case, tmp_path)
    print(case, worst)
    assert worst < parity.TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < parity.TOLERANCE


def test_defaults() -> None:
    parity.defaults("mpt", T.MptConfig)
