"""Filling masks, against transformers on the same weights and words."""

from pathlib import Path

import pytest
import torch
import transformers

import cutaway
from cutaway import tasks
from cutaway.model import Model

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "mat", "dog", "##s", "."]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32,
    )  # fmt: skip
    reference = transformers.BertForMaskedLM(config)
    for p in reference.parameters():
        torch.nn.init.normal_(p, std=0.5)
    reference.save_pretrained(tmp_path)
    transformers.BertTokenizer(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    return cutaway.load(tmp_path)


def test_the_guesses_are_those_of_transformers(model: Model, tmp_path: Path) -> None:
    expected = transformers.pipeline("fill-mask", str(tmp_path), top_k=4)("the [MASK] sat on the mat.")
    (guesses,) = tasks.fill(model, "the [MASK] sat on the mat.", 4)
    assert [(g.id, g.token) for g in guesses] == [(e["token"], e["token_str"]) for e in expected]
    for got, e in zip(guesses, expected, strict=True):
        assert got.probability == pytest.approx(e["score"], abs=1e-5)
        assert got.text == e["sequence"]


def test_every_mask_is_filled(model: Model) -> None:
    guesses = tasks.fill(model, "[MASK] cat sat on the [MASK]", 3)
    assert [len(g) for g in guesses] == [3, 3]


def test_bad_input_is_named(model: Model) -> None:
    with pytest.raises(ValueError, match=r"the text holds no mask: write \[MASK\]"):
        tasks.fill(model, "the cat")
    with pytest.raises(ValueError, match="top must be at least 1, got 0"):
        tasks.fill(model, "[MASK]", 0)
    with pytest.raises(ValueError, match="a gpt2 with head 'lm' fills no masks"):
        tasks.fill(cutaway.build("gpt2", vocab=20, width=8, depth=1, heads=2, length=8), "[MASK]")
