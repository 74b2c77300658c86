"""GPT-2, its predecessor and its successor against transformers and their papers."""

from pathlib import Path

import pytest
import torch
import transformers as T
from families import decoder, parity
from families.parity import Case

import cutaway
from cutaway import families

SMALL = dict(vocab_size=61, n_positions=16, n_embd=36, n_layer=3, n_head=3)
TINY = dict(vocab=61, length=16, width=36, depth=3, heads=3)


def gpt2(note: str = "", reference: str = "GPT2LMHeadModel", **options: object) -> Case:
    return Case(reference, T.GPT2Config(**SMALL | options), note=note)


def gpt(note: str = "", reference: str = "OpenAIGPTLMHeadModel", **options: object) -> Case:
    return Case(reference, T.OpenAIGPTConfig(**SMALL | options), note=note)


CASES = [
    gpt2(),
    gpt2("untied", tie_word_embeddings=False),
    gpt2("inner", n_inner=50, layer_norm_epsilon=0.1),
    gpt2("relu", activation_function="relu"),
    gpt2("gelu", activation_function="gelu"),
    gpt2("unscaled", scale_attn_weights=False),
    gpt2("layer-scaled", scale_attn_by_inverse_layer_idx=True),
    gpt2("upcast", reorder_and_upcast_attn=True, attn_implementation="eager"),
    gpt2(reference="GPT2Model"),
    gpt(),
    gpt("untied", tie_word_embeddings=False, layer_norm_epsilon=0.1),
    gpt("relu", afn="relu"),
    gpt("silu", afn="silu"),
    gpt(reference="OpenAIGPTModel"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    assert parity.equal(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", [gpt2(), gpt()], ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize("case", [gpt2(), gpt2("untied", tie_word_embeddings=False), gpt()], ids=str)
def test_loss_and_gradients(case: Case, tmp_path: Path) -> None:
    assert decoder.learning(case, tmp_path) < parity.TOLERANCE


def test_defaults() -> None:
    parity.defaults("gpt2", T.GPT2Config)
    parity.defaults("openai-gpt", T.OpenAIGPTConfig)


REFUSED = [
    ("gpt2", dict(add_cross_attention=True), "add_cross_attention = True"),
    ("gpt2", dict(activation_function="mish"), "act 'mish' is not built; known: gelu, gelu_new"),
    ("gpt2", dict(architectures=["GPT2DoubleHeadsModel"]), "'GPT2DoubleHeadsModel' is not built"),
    ("gpt2", dict(n_query_groups=2), r"n_query_groups = 2 \(unknown key\)"),
    ("gpt2", dict(n_head=7), "768 / 7 leaves 5"),
    ("openai-gpt", dict(afn="tanh"), "'tanh' is not built; known: gelu, relu, silu"),
    ("openai-gpt", dict(activation_function="relu"), "activation_function = 'relu' .unknown key"),
]


@pytest.mark.parametrize(("model_type", "keys", "message"), REFUSED)
def test_what_is_not_built_is_refused(model_type: str, keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decoder.read(model_type, **keys)


@pytest.mark.parametrize("model_type", ["gpt2", "openai-gpt"])
def test_fresh(model_type: str, tmp_path: Path) -> None:
    assert decoder.fresh(model_type, tmp_path, **TINY) < parity.TOLERANCE
    assert len(decoder.dropping(model_type, **TINY)) == 3


def test_initialisation() -> None:
    """Radford et al.: normal(0, 0.02), what is written to the residual stream times 1/√(its number of writers)."""
    std = {n: w.std().item() for n, w in cutaway.build("gpt2", width=240, depth=2, heads=2).named_parameters()}
    shrunk = {n for n in std if n.endswith((".o.weight", ".down.weight"))}
    assert len(shrunk) == 4
    for name in std:
        expected = 0.02 / 2 if name in shrunk else 0.02 if "norm" not in name and name.endswith("weight") else 0.0
        assert std[name] == pytest.approx(expected, rel=0.05), name
    post = cutaway.build("openai-gpt", width=240, depth=2, heads=2)
    assert post.stack.blocks[0].mlp.sublayer.down.weight.std().item() == pytest.approx(0.02, rel=0.05)


# Millions: the published checkpoints of GPT-2, and table D.1 of Brown et al.
COUNTS = {
    "gpt2": 124.4, "gpt2-medium": 354.8, "gpt2-large": 774.0, "gpt2-xl": 1557.6, "gpt3-small": 125,
    "gpt3-medium": 356, "gpt3-large": 760, "gpt3-xl": 1320, "gpt3-2.7b": 2650, "gpt3-6.7b": 6660,
    "gpt3-13b": 12_850, "gpt3-175b": 174_600,
}  # fmt: skip


def test_sizes() -> None:
    sizes, module = families.form("gpt2").sizes, families.module("gpt2")
    assert sizes.keys() == COUNTS.keys()
    for name, millions in COUNTS.items():
        with torch.device("meta"):
            network = module.GPT2(module.Config(**sizes[name]))
        count = sum(p.numel() for p in network.parameters()) / 1e6
        assert count == pytest.approx(millions, rel=0.005 if name.startswith("gpt3") else 0.0005), name


def test_the_96_layers_of_gpt3() -> None:
    with torch.device("meta"):
        model = cutaway.build("gpt2", size="gpt3-175b")
    assert (len(model.stack.blocks), model.limit, model.config.width) == (96, 2048, 12_288)
    assert model.stack.blocks[95].attention.sublayer.head_dim == 128
    assert model.stack.blocks[95].mlp.sublayer.up.out_features == 4 * 12_288


def test_a_size_can_be_changed_and_must_be_known() -> None:
    assert cutaway.build("gpt2", size="gpt3-small", depth=1, vocab=9).config.length == 2048
    with pytest.raises(ValueError, match="gpt2 has no size 'gpt4'; it has: gpt2, gpt2-medium"):
        cutaway.build("gpt2", size="gpt4")
    with pytest.raises(ValueError, match="openai-gpt has no size 'gpt2'; it has: none by name"):
        cutaway.build("openai-gpt", size="gpt2")


def test_what_config_json_cannot_say_is_not_built() -> None:
    with pytest.raises(ValueError, match="residual"):
        cutaway.build("gpt2", residual="post", **TINY)
    with pytest.raises(ValueError, match="openai-gpt has no way to say hidden = 5, scaled = False"):
        cutaway.build("openai-gpt", hidden=5, scaled=False, **TINY)
    with pytest.raises(ValueError, match="gpt2 has no head 'question'; it has: base, lm"):
        cutaway.build("gpt2", head="question", **TINY)


def test_older_checkpoints(tmp_path: Path) -> None:
    assert (
        decoder.older(
            gpt2(),
            tmp_path,
            "transformer.",
            "h.0.attn.bias",
            "h.2.attn.masked_bias",
            embedding="transformer.wte.weight",
        )
        < parity.TOLERANCE
    )
