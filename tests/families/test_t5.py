"""T5, mT5 and UMT5 against transformers."""

import math
from pathlib import Path

import pytest
import torch
import transformers as T
from families import parity, rewrite
from families.parity import Case

import cutaway
from cutaway import families
from cutaway.families.t5 import Config

SMALL = {
    "vocab_size": 61, "d_model": 32, "d_kv": 12, "d_ff": 48, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 3,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 9, "decoder_start_token_id": 0,
}  # fmt: skip
ALONE = {**SMALL, "is_encoder_decoder": False}
GATED = {**SMALL, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
TINY = {"width": 16, "depth": 2, "heads": 2, "head_dim": 6, "hidden": 20, "vocab": 40}


class Untied(Case):
    """A head of its own, as T5 1.1, mT5 and UMT5 are published."""

    def make(self, folder: Path) -> torch.nn.Module:
        super().make(folder)
        head = torch.randn(self.config.vocab_size, self.config.d_model)
        rewrite.tensors(folder, lambda given: {**given, "lm_head.weight": head})
        if self.note == "published":  # transformers 5 writes "tied" all the same
            rewrite.config(folder, tie_word_embeddings=False)
        model = getattr(T, self.reference).from_pretrained(folder).eval()
        assert torch.equal(model.lm_head.weight, head)
        return model


CASES = [
    Case("T5ForConditionalGeneration", T.T5Config(**SMALL)),
    Case("T5ForConditionalGeneration", T.T5Config(**GATED), std=0.2, note="v1.1"),
    Untied("T5ForConditionalGeneration", T.T5Config(**GATED), std=0.2, note="published"),
    Untied("MT5ForConditionalGeneration", T.MT5Config(**SMALL), std=0.2, note="published"),
    Untied("UMT5ForConditionalGeneration", T.UMT5Config(**SMALL), std=0.2, note="saved-again"),
    Case("T5Model", T.T5Config(**SMALL, feed_forward_proj="gated-silu"), std=0.2),
    Case("MT5Model", T.MT5Config(**SMALL)),
    Case("UMT5Model", T.UMT5Config(**SMALL)),
    Case("T5EncoderModel", T.T5Config(**ALONE)),
    Case("MT5EncoderModel", T.MT5Config(**ALONE)),
    Case("UMT5EncoderModel", T.UMT5Config(**ALONE)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    assert parity.equal(case, tmp_path) < 1e-5


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[4]], ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < 1e-5


@pytest.mark.parametrize("config", [T.T5Config, T.MT5Config, T.UMT5Config])
def test_defaults(config: type) -> None:
    parity.defaults(config.model_type, config)


def test_umt5_as_published_is_not_scaled(tmp_path: Path) -> None:
    """Google's own model, and transformers 4, scale nothing before a head of its own; transformers 5 always does."""
    case = Untied("UMT5ForConditionalGeneration", T.UMT5Config(**SMALL), std=0.2, note="published")
    reference, (row, *_) = case.make(tmp_path), case.rows()
    given = {"input_ids": row[None], **case.targets([row])}
    ours, theirs = cutaway.load(tmp_path)(**given).logits, reference(**given).logits
    assert torch.allclose(ours, theirs * math.sqrt(SMALL["d_model"]), atol=1e-5)


@torch.no_grad()
def test_loss(tmp_path: Path) -> None:
    case = CASES[0]
    reference, rows = case.make(tmp_path), case.rows()
    ids, mask = parity.padded(rows, "right", 0)
    labels = ids.flip(0)[:, :6].masked_fill(ids.flip(0)[:, :6] == 0, -100)
    given = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    assert cutaway.load(tmp_path)(**given).loss.item() == pytest.approx(reference(**given).loss.item(), abs=1e-6)


def test_labels_need_a_start(tmp_path: Path) -> None:
    model = cutaway.build("t5", **TINY)
    model.origin.kept = {"pad_token_id": 0}
    with pytest.raises(ValueError, match="decoder_start_token_id"):
        model(torch.tensor([[7, 8]]), labels=torch.tensor([[9, 1]]))


@pytest.mark.parametrize("model_type", ["t5", "umt5"])
def test_every_parameter_gets_a_gradient(model_type: str) -> None:
    model = cutaway.build(model_type, **TINY, buckets=8, max_distance=9)
    model(torch.randint(2, 40, (3, 12)), labels=torch.randint(2, 40, (3, 12))).loss.backward()
    for name, parameter in model.network.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_initial_weights() -> None:
    """Mesh TensorFlow's factors: scores and logits begin at a size of about 1 without a scale."""
    model = cutaway.build("t5", width=48, depth=2, heads=4, head_dim=24, hidden=200, vocab=300, factor=0.5)
    block = model.decoder.blocks[0]
    expected = {
        model.embed: 1.0,
        block.attention.sublayer.q: (48 * 24) ** -0.5,
        block.cross.sublayer.k: 48**-0.5,
        block.attention.sublayer.o: (4 * 24) ** -0.5,
        block.mlp.sublayer.up: 48**-0.5,
        block.mlp.sublayer.down: 200**-0.5,
        model.encoder.bias.table: 48**-0.5,
    }
    for part, std in expected.items():
        assert part.weight.std().item() == pytest.approx(0.5 * std, rel=0.15)
    assert (block.mlp.norm.weight == 0.5).all()


@pytest.mark.parametrize(
    ("model_type", "keys", "named"),
    [
        ("t5", {"feed_forward_proj": "gated-swish"}, "feed_forward_proj"),
        ("t5", {"feed_forward_proj": "gated-gelu", "dense_act_fn": "relu"}, "dense_act_fn"),
        ("mt5", {"is_gated_act": False}, "is_gated_act"),
        ("umt5", {"is_decoder": True}, "is_decoder"),
        ("t5", {"mixture_of_experts": 4}, "mixture_of_experts"),
        ("t5", {"architectures": ["T5ForTokenClassification"]}, "T5ForTokenClassification"),
    ],
)
def test_refused(model_type: str, keys: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        families.form(model_type).read(keys)


def test_a_config_that_theirs_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="gated"):
        cutaway.build("t5", **TINY, act="tanh", gated=True)
    with pytest.raises(ValueError, match="shared_bias"):
        cutaway.build("umt5", **TINY, shared_bias=True)


def test_old_configs_are_understood() -> None:
    """Keys as they stand in t5-small and flan-t5."""
    old = {"architectures": ["T5ForConditionalGeneration"], "d_ff": 2048, "n_positions": 512, "output_past": True}
    assert families.form("t5").read({**old, "task_specific_params": {}, "use_cache": True})[0]["hidden"] == 2048
    flan = {"dense_act_fn": "gelu_new", "feed_forward_proj": "gated-gelu", "is_gated_act": True}
    read, _ = families.form("t5").read({**flan, "tie_word_embeddings": False, "classifier_dropout": 0.0})
    assert Config(**read) == Config(act="gelu_tanh", gated=True, tied=False, scaled=False)
