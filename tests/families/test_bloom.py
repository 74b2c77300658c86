"""BLOOM against transformers."""

from pathlib import Path

import pytest
import transformers as T
from families import decoder, parity
from families.parity import Case

from cutaway import families

SMALL = dict(vocab_size=61, hidden_size=36, n_layer=3, n_head=3)
TINY = dict(vocab=61, width=36, depth=3, heads=3)


def bloom(note: str = "", reference: str = "BloomForCausalLM", **options: object) -> Case:
    return Case(reference, T.BloomConfig(**SMALL | options), note=note)


CASES = [
    bloom(),
    bloom("4-heads", n_head=4, layer_norm_epsilon=0.1),
    bloom("6-heads", n_head=6),
    bloom("normed-residual", apply_residual_connection_post_layernorm=True),
    bloom("untied", tie_word_embeddings=False),
    bloom(reference="BloomModel"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    assert parity.equal(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize("case", [bloom(), CASES[3]], ids=str)
def test_loss_and_gradients(case: Case, tmp_path: Path) -> None:
    assert decoder.learning(case, tmp_path) < parity.TOLERANCE


def test_defaults() -> None:
    parity.defaults("bloom", T.BloomConfig)


def test_older_words_for_the_sizes() -> None:
    """As the config.json of bigscience/bloom has them."""
    form = families.form("bloom")
    ours, kept = form.read(dict(n_embed=48, num_attention_heads=6, n_layer=5, pretraining_tp=4, offset_alibi=100))
    assert ours == dict(width=48, heads=6, depth=5, head="lm")
    written = form.write(families.module("bloom").Config(**ours), "bloom", kept)
    assert dict(hidden_size=48, n_head=6, n_layer=5, pretraining_tp=4, offset_alibi=100).items() <= written.items()


REFUSED = [
    (dict(slow_but_exact=True), "slow_but_exact = True"),
    (dict(n_inner=5), "n_inner = 5"),
    (dict(alibi=False), "alibi = False .unknown key"),
    (dict(architectures=["BloomForTokenClassification"]), "'BloomForTokenClassification' is not built"),
]


@pytest.mark.parametrize(("keys", "message"), REFUSED)
def test_what_is_not_built_is_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decoder.read("bloom", **keys)


def test_fresh(tmp_path: Path) -> None:
    assert decoder.fresh("bloom", tmp_path, **TINY) < parity.TOLERANCE
    assert len(decoder.dropping("bloom", **TINY)) == 2


def test_older_checkpoints(tmp_path: Path) -> None:
    assert (
        decoder.older(bloom(), tmp_path, "transformer.", embedding="transformer.word_embeddings.weight")
        < parity.TOLERANCE
    )
