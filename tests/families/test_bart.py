"""BART, mBART and PEGASUS against transformers."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as T
from families import parity, rewrite
from families.parity import Case

import cutaway
from cutaway import families
from cutaway.families.halves import LayerDrop
from cutaway.parts import MLP, Context, PreNorm

SMALL = {
    "vocab_size": 61, "d_model": 24, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 3, "encoder_ffn_dim": 40, "decoder_ffn_dim": 56, "max_position_embeddings": 19,
}  # fmt: skip
TINY = {"width": 16, "depth": 2, "heads": 2, "hidden": 20, "vocab": 40, "length": 20}


class Biased(Case):
    """With a bias of the logits, which is no parameter of theirs."""

    def make(self, folder: Path) -> torch.nn.Module:
        model = super().make(folder)
        model.final_logits_bias.normal_()
        model.save_pretrained(folder)
        return model


PEGASUS = T.PegasusConfig(**SMALL, scale_embedding=True, activation_function="relu")
CASES = [
    Biased("BartForConditionalGeneration", T.BartConfig(**SMALL)),
    Biased("MBartForConditionalGeneration", T.MBartConfig(**SMALL, scale_embedding=True)),
    Biased("PegasusForConditionalGeneration", PEGASUS),
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
    assert parity.equal(case, tmp_path) < 1e-5


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", CASES[:3], ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < 1e-5


@pytest.mark.parametrize("config", [T.BartConfig, T.MBartConfig, T.PegasusConfig])
def test_defaults(config: type) -> None:
    parity.defaults(config.model_type, config)


def test_what_a_checkpoint_may_leave_out_or_repeat(tmp_path: Path) -> None:
    """PEGASUS without its table of sinusoids and without a bias, and with copies of the embedding."""
    case = Case("PegasusForConditionalGeneration", PEGASUS)
    case.make(tmp_path)

    def change(given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        copies = ("lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")
        kept = {k: v for k, v in given.items() if "embed_positions" not in k and k != "final_logits_bias"}
        return kept | dict.fromkeys(copies, given["model.shared.weight"])

    rewrite.tensors(tmp_path, change)
    reference, row = T.PegasusForConditionalGeneration.from_pretrained(tmp_path).eval(), case.rows()[0]
    given = {"input_ids": row[None], **case.targets([row])}
    assert torch.allclose(cutaway.load(tmp_path)(**given).logits, reference(**given).logits, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("case", [CASES[0], CASES[1]], ids=str)
def test_loss(case: Case, tmp_path: Path) -> None:
    """mBART's labels end with their language, which is what the decoder begins with."""
    reference, rows = case.make(tmp_path), case.rows()
    ids, mask = parity.padded(rows, "right", 1)
    labels = ids.flip(0).masked_fill(mask.flip(0) == 0, -100)
    given = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    ours, theirs = cutaway.load(tmp_path)(**given), reference(**given)
    assert ours.loss.item() == pytest.approx(theirs.loss.item(), abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["Bart", "MBart"])
def test_classification_loss(name: str, tmp_path: Path) -> None:
    case = Case(f"{name}ForSequenceClassification", getattr(T, f"{name}Config")(**SMALL, num_labels=3), ends=2)
    reference, rows = case.make(tmp_path), case.rows()
    given = {"input_ids": torch.stack([row[-4:] for row in rows]), "labels": torch.tensor([2, 0, 1])}
    assert cutaway.load(tmp_path)(**given).loss.item() == pytest.approx(reference(**given).loss.item(), abs=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("case", [CASES[8], CASES[9]], ids=str)
def test_extraction_reads_the_source_twice(case: Case, tmp_path: Path) -> None:
    reference, rows = case.make(tmp_path), case.rows()
    model = cutaway.load(tmp_path)
    theirs = [reference(input_ids=row[None]) for row in rows]
    for side in ("right", "left"):
        ids, mask = parity.padded(rows, side, 1)
        got = model(ids, mask)
        for i, expected in enumerate(theirs):
            assert torch.allclose(got.start_logits[i, mask[i].bool()], expected.start_logits[0], atol=1e-5)
            assert torch.allclose(got.end_logits[i, mask[i].bool()], expected.end_logits[0], atol=1e-5)
    given = {"input_ids": rows[0][None], "start_positions": torch.tensor([3]), "end_positions": torch.tensor([7])}
    assert model(**given).loss.item() == pytest.approx(reference(**given).loss.item(), abs=1e-6)


def test_a_classified_sequence_has_an_end_and_one_length() -> None:
    model = cutaway.build("bart", **TINY, head="sequence")
    with pytest.raises(ValueError, match="end token"):
        model(torch.tensor([[7, 8, 2], [7, 8, 9]]))
    with pytest.raises(ValueError, match=r"3 input_ids .* got 2"):
        model(torch.tensor([[7, 8, 2]]), decoder_input_ids=torch.tensor([[7, 8]]))


def test_too_long_an_input_names_both_lengths() -> None:
    model = cutaway.build("pegasus", **TINY)
    with pytest.raises(ValueError, match=r"21 .* 20"):
        model(torch.full((1, 21), 7), decoder_input_ids=torch.tensor([[7]]))


@pytest.mark.parametrize(("model_type", "head"), [("bart", "lm"), ("mbart", "sequence"), ("pegasus", "lm")])
def test_every_parameter_gets_a_gradient(model_type: str, head: str) -> None:
    """But for the biases of keys, which move all scores of a query alike, and what no training moves."""
    model = cutaway.build(model_type, **TINY, head=head)
    ids = torch.cat([torch.randint(5, 40, (3, 8)), torch.full((3, 1), 2)], 1)
    labels = ids if head == "lm" else torch.tensor([0, 1, 1])
    model(ids, labels=labels).loss.backward()
    fixed = set()
    for name, parameter in model.network.named_parameters():
        if name.endswith(".k.bias"):
            assert parameter.grad.abs().max() < 1e-6, name
        elif parameter.requires_grad:
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name
        else:
            fixed.add(name)
    table = {"places.encoder.weight", "places.decoder.weight"} if model_type == "pegasus" else set()
    assert fixed == table | ({"head.bias"} if head == "lm" else set())


def test_what_is_fixed_stays_fixed_after_loading(tmp_path: Path) -> None:
    cutaway.save(cutaway.build("pegasus", **TINY), tmp_path)
    fixed = {n for n, p in cutaway.load(tmp_path).network.named_parameters() if not p.requires_grad}
    assert fixed == {"head.bias", "places.encoder.weight", "places.decoder.weight"}


def test_a_fresh_pegasus_has_sinusoids() -> None:
    table = cutaway.build("pegasus", **TINY).places["decoder"].weight
    angles = [3 / 10_000 ** (2 * i / 16) for i in range(8)]
    assert table[3].tolist() == pytest.approx([math.sin(a) for a in angles] + [math.cos(a) for a in angles], abs=1e-6)


def test_layer_drop_leaves_blocks_out_in_training_only() -> None:
    model = cutaway.build("bart", **TINY, layer_drop=1.0, dropout=0.0)
    assert all(isinstance(block, LayerDrop) for block in model.encoder.blocks)
    x, ctx = torch.randn(2, 5, 16), Context.of()
    assert torch.equal(model.train().encoder(x, ctx), x)
    assert not torch.equal(model.eval().encoder(x, ctx), x)
    sometimes = LayerDrop(0.25, mlp=PreNorm(torch.nn.Identity(), MLP(16, 4))).train()
    kept = sum(not torch.equal(sometimes(x, ctx), x) for _ in range(400))
    assert 270 < kept < 330


def test_dropouts_reach_their_places() -> None:
    sizes = {"dropout": 0.11, "attention_dropout": 0.22, "activation_dropout": 0.33, "classifier_dropout": 0.44}
    model = cutaway.build("bart", **TINY, **sizes, head="sequence")
    block = model.decoder.blocks[0]
    assert block.cross.dropout.p == block.mlp.dropout.p == model.network.dropout.p == 0.11
    assert block.cross.sublayer.kernel.dropout == block.attention.sublayer.kernel.dropout == 0.22
    assert block.mlp.sublayer.dropout.p == 0.33
    assert model.head.dropout.p == model.head.pooler.dropout.p == 0.44


@pytest.mark.parametrize(
    ("model_type", "keys", "named"),
    [
        ("bart", {"tie_word_embeddings": False}, "tie_word_embeddings"),
        ("bart", {"normalize_before": True}, "normalize_before"),
        ("mbart", {"add_final_layer_norm": False}, "add_final_layer_norm"),
        ("pegasus", {"static_position_embeddings": False}, "static_position_embeddings"),
        ("pegasus", {"architectures": ["PegasusForCausalLM"]}, "PegasusForCausalLM"),
        ("bart", {"activation_function": "mish"}, "mish"),
    ],
)
def test_refused(model_type: str, keys: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        families.form(model_type).read(keys)


def test_a_bart_cannot_be_written_as_another() -> None:
    with pytest.raises(ValueError, match="residual"):
        cutaway.build("bart", **TINY, residual="pre")


def test_old_configs_are_understood() -> None:
    """Keys as they stand in bart-large-cnn and mbart-large-cc25."""
    old = {"_num_labels": 3, "add_bias_logits": False, "add_final_layer_norm": False, "classif_dropout": 0.0,
        "extra_pos_embeddings": 2, "force_bos_token_to_be_generated": True, "normalize_before": False,
        "normalize_embedding": True, "num_hidden_layers": 12, "static_position_embeddings": False}  # fmt: skip
    ours, kept = families.form("bart").read({**old, "encoder_layers": 6, "no_repeat_ngram_size": 3})
    assert ours["depth"] == 6
    assert ours["decoder_depth"] == 12
    assert kept["no_repeat_ngram_size"] == 3
    assert kept["pad_token_id"] == 1
    cc25 = {**old, "normalize_before": True, "add_final_layer_norm": True, "save_step": 17, "scale_embedding": True}
    assert families.form("mbart").read(cc25)[0]["scaled"] is True
