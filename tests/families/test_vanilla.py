"""The Transformer of 2017, and its published translators against transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as T
from families import parity, rewrite
from families.parity import Case
from transformers.models.fsmt.modeling_fsmt import SinusoidalPositionalEmbedding as FSMTWaves
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding as MarianWaves

import cutaway
from cutaway import families, hub
from cutaway.families.fairseq import wave_table
from cutaway.families.vanilla import Config, Transformer

SMALL = {
    "d_model": 24, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 3, "encoder_ffn_dim": 40, "decoder_ffn_dim": 56, "max_position_embeddings": 19,
}  # fmt: skip
MARIAN = {**SMALL, "vocab_size": 49, "pad_token_id": 48, "decoder_start_token_id": 48}
OWN = {**MARIAN, "decoder_vocab_size": 61, "share_encoder_decoder_embeddings": False}
FSMT = {**SMALL, "src_vocab_size": 67, "tgt_vocab_size": 61, "langs": ["en", "de"], "use_cache": False}
TIED = {**FSMT, "src_vocab_size": 61, "tie_word_embeddings": True, "scale_embedding": False, "pad_token_id": 3}
M2M = {**SMALL, "vocab_size": 61}
TINY = {"width": 16, "depth": 2, "heads": 2, "hidden": 20, "vocab": 40}


class Biased(Case):
    """With a bias of the logits, which is no parameter of theirs."""

    def make(self, folder: Path) -> torch.nn.Module:
        model = super().make(folder)
        model.final_logits_bias.normal_()
        model.save_pretrained(folder)
        return model


CASES = [
    Biased("MarianMTModel", T.MarianConfig(**MARIAN, scale_embedding=True, activation_function="silu")),
    Biased("MarianMTModel", T.MarianConfig(**OWN, activation_function="relu"), note="own"),
    Biased("MarianMTModel", T.MarianConfig(**OWN, tie_word_embeddings=False), note="untied"),
    Case("FSMTForConditionalGeneration", T.FSMTConfig(**FSMT)),
    Case("FSMTForConditionalGeneration", T.FSMTConfig(**TIED), note="tied"),
    Case("M2M100ForConditionalGeneration", T.M2M100Config(**M2M)),
    Case("M2M100ForConditionalGeneration", T.M2M100Config(**M2M, pad_token_id=4), note="pad"),
    Case("MarianModel", T.MarianConfig(**MARIAN)),
    Case("M2M100Model", T.M2M100Config(**M2M, scale_embedding=False, activation_function="gelu")),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    assert parity.equal(case, tmp_path) < 1e-5


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[6]], ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < 1e-5


@pytest.mark.parametrize("config", [T.MarianConfig, T.FSMTConfig, T.M2M100Config])
def test_defaults(config: type) -> None:
    parity.defaults(config.model_type, config)


@pytest.mark.parametrize("width", [24, 15])
def test_tables_of_sinusoids(width: int) -> None:
    """The paper's, as Marian makes them, and fairseq's; an odd width ends with a sine, and with 0."""
    marian = MarianWaves(500, width).create_weight()
    assert torch.allclose(wave_table(500, width), marian, atol=1e-6)
    fairseq = FSMTWaves.get_embedding(502, width, 1)
    assert torch.allclose(wave_table(500, width, offset=2, ends=True), fairseq, atol=1e-4)  # theirs is in float32


@torch.no_grad()
@pytest.mark.parametrize("case", [CASES[3], CASES[7]], ids=str)
def test_what_a_checkpoint_may_leave_out(case: Case, tmp_path: Path) -> None:
    case.make(tmp_path)
    rewrite.tensors(tmp_path, lambda given: {k: v for k, v in given.items() if "embed_positions" not in k})
    reference, row = getattr(T, case.reference).from_pretrained(tmp_path).eval(), case.rows()[0]
    given = {"input_ids": row[None], **case.targets([row])}
    assert parity.difference(cutaway.load(tmp_path)(**given), reference(**given), 0, None) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("case", [CASES[0], CASES[5]], ids=str)
def test_loss(case: Case, tmp_path: Path) -> None:
    reference, rows = case.make(tmp_path), case.rows()
    ids, mask = parity.padded(rows, "right", case.config.pad_token_id)
    labels = ids.flip(0).masked_fill(mask.flip(0) == 0, -100)
    given = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    assert cutaway.load(tmp_path)(**given).loss.item() == pytest.approx(reference(**given).loss.item(), abs=1e-5)


def test_the_memory_is_projected_once() -> None:
    """Step by step over one source: each layer's keys of the memory are made at the first step, and right."""
    model, calls = cutaway.build("vanilla", **TINY), []
    for block in model.decoder.blocks:
        block.cross.sublayer.k.register_forward_hook(lambda *_: calls.append(1))
    source, target = torch.randint(0, 40, (2, 9)), torch.randint(0, 40, (2, 6))
    mask = torch.ones(2, 9).long()
    mask[0, 6:] = 0
    whole = model(source, mask, decoder_input_ids=target)
    assert len(calls) == 2
    cache = model.cache()
    told = {"attention_mask": mask, "encoder_hidden": whole.encoder_hidden, "cache": cache}
    steps = [model(decoder_input_ids=target[:, i : i + 1], **told).logits for i in range(6)]
    assert torch.allclose(torch.cat(steps, 1), whole.logits, atol=1e-5)
    assert len(calls) == 4


def test_ids_are_held_against_the_vocabulary_of_their_language(tmp_path: Path) -> None:
    model = cutaway.build("fsmt", **TINY, source_vocab=50)
    row = torch.tensor([[45]])
    model(row, decoder_input_ids=torch.tensor([[39]]))
    with pytest.raises(ValueError, match="input_ids holds id 55, but the vocabulary has 50"):
        model(row + 10, decoder_input_ids=row - 10)
    with pytest.raises(ValueError, match="decoder_input_ids holds id 45, but the vocabulary has 40"):
        model(row, decoder_input_ids=row)


def parameters(**sizes: Any) -> int:
    with torch.device("meta"):
        network = Transformer(Config(**sizes, bias=False))
    return sum(p.numel() for p in network.parameters())


def test_sizes_by_name() -> None:
    """Table 3 says 65 and 213 million for base and big. With the 37,000 tokens of section 5.1 they have 63 and 214."""
    for name, exact, table in (("base", 63_082_496, 65e6), ("big", 214_245_376, 213e6)):
        network = hub.outline(f"transformer-{name}")
        assert sum(p.numel() for p in network.parameters() if p.requires_grad) == exact
        assert exact == pytest.approx(table, rel=0.03)
        assert network.config.act == "relu"
        assert network.config.scaled
        assert network.config.tied
    assert network.dropout.p == 0.3
    assert parameters() == 63_082_496


@pytest.mark.parametrize(
    ("sizes", "millions"),
    [
        ({"depth": 2}, 36), ({"depth": 4}, 50), ({"depth": 8}, 80), ({"hidden": 1024}, 53), ({"hidden": 4096}, 90),
        ({"width": 256}, 28), ({"width": 1024, "hidden": 4096, "heads": 16}, 213),
    ],
)  # fmt: skip
def test_table_3(sizes: dict[str, int], millions: int) -> None:
    """The paper's variations, which share a vocabulary of about 41,000 (36,000 for big) by their counts."""
    vocab = 36_000 if millions == 213 else 41_000
    assert parameters(**sizes, vocab=vocab) == pytest.approx(millions * 1e6, abs=0.9e6)


def test_a_fresh_one_is_read_by_transformers(tmp_path: Path) -> None:
    model = cutaway.build("vanilla", **TINY)
    cutaway.save(model, tmp_path)
    reference, info = T.MarianMTModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    given = {"input_ids": torch.randint(0, 40, (2, 7)), "decoder_input_ids": torch.randint(0, 40, (2, 5))}
    assert torch.allclose(model(**given).logits, reference.eval()(**given).logits, atol=1e-6)
    again = cutaway.load(tmp_path)
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))


@pytest.mark.parametrize("model_type", ["vanilla", "fsmt", "m2m_100"])
def test_every_parameter_gets_a_gradient(model_type: str) -> None:
    """But for the biases of keys, which move all scores of a query alike, and what no training moves."""
    own = {"source_vocab": 40, "tied": False} if model_type == "fsmt" else {}
    model = cutaway.build(model_type, **TINY, **own)
    given = {"decoder_input_ids": torch.randint(5, 40, (3, 9)), "labels": torch.randint(5, 40, (3, 9))}
    model(torch.randint(5, 40, (3, 9)), **given).loss.backward()
    for name, parameter in model.network.named_parameters():
        if name.endswith(".k.bias"):
            assert parameter.grad.abs().max() < 1e-6, name
        elif parameter.requires_grad:
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name
        else:
            assert name == "head.bias" or (model_type == "fsmt" and name.startswith("places.")), name


def test_initial_weights() -> None:
    """Xavier's for the paper's, normal(0, init_std) for what is published."""
    model = cutaway.build("vanilla", **{**TINY, "width": 64, "hidden": 192})
    up = model.encoder.blocks[0].mlp.sublayer.up
    bound = (6 / (64 + 192)) ** 0.5
    assert 0.9 * bound < up.weight.abs().max() <= bound
    assert not up.bias.any()
    assert model.embed.weight.std().item() == pytest.approx(64**-0.5, rel=0.1)
    small = cutaway.build("m2m_100", **{**TINY, "width": 64, "hidden": 192}, std=0.02)
    assert small.encoder.blocks[0].mlp.sublayer.up.weight.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize(
    ("model_type", "keys", "named"),
    [
        ("marian", {"vocab_size": 50, "tie_word_embeddings": False}, "tie_word_embeddings"),
        ("marian", {"vocab_size": 50, "decoder_vocab_size": 60}, "50 and 60 ids"),
        ("fsmt", {"src_vocab_size": 50, "tgt_vocab_size": 60, "tie_word_embeddings": True}, "50 and 60 ids"),
        ("m2m_100", {"tie_word_embeddings": False}, "tie_word_embeddings"),
        ("m2m_100", {"normalize_before": False}, "normalize_before"),
        ("marian", {"static_position_embeddings": False}, "static_position_embeddings"),
        ("fsmt", {"architectures": ["FSMTModel"]}, "FSMTModel"),
        ("marian", {"architectures": ["MarianForCausalLM"]}, "MarianForCausalLM"),
    ],
)
def test_refused(model_type: str, keys: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        families.form(model_type).read(keys)


def test_what_a_model_type_cannot_say_is_refused() -> None:
    for model_type, sizes, named in (
        ("marian", {"tied": False}, "shared"),
        ("fsmt", {"tied": True}, "shared"),
        ("m2m_100", {"source_vocab": 50}, "source_vocab"),
        ("vanilla", {"residual": "pre"}, "residual"),
    ):
        with pytest.raises(ValueError, match=named):
            cutaway.build(model_type, **TINY, **sizes)


def test_old_configs_are_understood() -> None:
    """Keys as they stand in opus-mt-en-de and wmt19-ru-en."""
    old = {"_num_labels": 3, "activation_function": "swish", "add_bias_logits": False, "add_final_layer_norm": False,
        "bad_words_ids": [[58_100]], "classif_dropout": 0.0, "extra_pos_embeddings": 58_101, "normalize_before": False,
        "normalize_embedding": False, "num_hidden_layers": 6, "static_position_embeddings": True}  # fmt: skip
    ours, kept = families.form("marian").read({**old, "scale_embedding": True, "encoder_layers": 6})
    assert (ours["act"], ours["scaled"], ours["vocab"], ours["source_vocab"]) == ("silu", True, 58_101, None)
    assert kept["bad_words_ids"] == [[58_100]]
    wmt = {"langs": ["ru", "en"], "decoder": {"vocab_size": 31_640}, "src_vocab_size": 31_232, "num_beams": 5}
    ours, kept = families.form("fsmt").read({**wmt, "tgt_vocab_size": 31_640, "tie_word_embeddings": False})
    assert (ours["vocab"], ours["source_vocab"], ours["tied"], kept["langs"]) == (31_640, 31_232, False, ["ru", "en"])
