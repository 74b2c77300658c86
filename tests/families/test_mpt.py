"""MPT against transformers."""

from functools import partialmethod
from pathlib import Path

import pytest
import transformers as T
from families import decoder, parity
from families.parity import Case

import cutaway

SMALL = dict(vocab_size=61, d_model=36, n_layers=3, n_heads=3, max_seq_len=16)
TINY = dict(vocab=61, width=36, depth=3, heads=3)


def mpt(note: str = "", reference: str = "MptForCausalLM", attention: dict | None = None, **options: object) -> Case:
    return Case(reference, T.MptConfig(**SMALL | options, attn_config=attention or {}), note=note)


FLAT = mpt("flat", attention={"alibi_bias_max": 16})
CASES = [
    mpt(),
    mpt("4-heads", n_heads=4, layer_norm_epsilon=0.1),
    mpt("6-heads", n_heads=6),
    mpt("clipped", attention={"clip_qkv": 0.5}),
    mpt("scaled", attention={"softmax_scale": 0.7}),
    mpt("untied", tie_word_embeddings=False),
    mpt(reference="MptModel"),
    mpt("clipped", "MptModel", attention={"clip_qkv": 0.5}),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    assert parity.equal(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize("case", [*CASES, FLAT], ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize("case", [mpt(), CASES[3]], ids=str)
def test_loss_and_gradients(case: Case, tmp_path: Path) -> None:
    assert decoder.learning(case, tmp_path) < parity.TOLERANCE


def test_flatter_slopes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers leaves alibi_bias_max unread, MPT's own code does not: the reference is told here."""
    assert parity.equal(FLAT, tmp_path) > 0.1
    told = partialmethod(T.MptModel.build_mpt_alibi_tensor, alibi_bias_max=16)
    monkeypatch.setattr(T.MptModel, "build_mpt_alibi_tensor", told)
    assert parity.equal(FLAT, tmp_path) < parity.TOLERANCE


def test_defaults() -> None:
    parity.defaults("mpt", T.MptConfig)


def test_the_class_name_of_the_first_checkpoints_is_known() -> None:
    form = cutaway.families.form("mpt")
    ours, kept = form.read(dict(architectures=["MPTForCausalLM"], attn_config=dict(attn_impl="triton"), verbose=0))
    assert ours == {"head": "lm"}
    assert form.write(cutaway.families.module("mpt").Config(), "mpt", kept)["architectures"] == ["MptForCausalLM"]


REFUSED = [
    (dict(attn_config=dict(prefix_lm=True)), "attn_config asks for prefix_lm = True"),
    (dict(attn_config=dict(qk_ln=True)), "attn_config asks for qk_ln = True"),
    (dict(attn_config=dict(alibi=False)), "attn_config asks for alibi = False"),
    (dict(attn_config=dict(attn_uses_sequence_id=True)), "attn_config asks for attn_uses_sequence_id = True"),
    (dict(attn_config=dict(attn_type="multiquery_attention")), "attn_type = 'multiquery_attention'"),
    (dict(attn_config=dict(rope=True, kv_n_heads=2)), "attn_config has unknown keys: kv_n_heads, rope"),
    (dict(no_bias=False), "no_bias = False"),
    (dict(expansion_ratio=2), "expansion_ratio = 2"),
    (dict(logit_scale="inv_sqrt_d_model"), "logit_scale = 'inv_sqrt_d_model'"),
    (dict(norm_type="rmsnorm"), "norm_type = 'rmsnorm'"),
    (dict(embedding_fraction=0.5), "embedding_fraction = 0.5"),
    (dict(architectures=["MptForSequenceClassification"]), "'MptForSequenceClassification' is not built"),
]


@pytest.mark.parametrize(("keys", "message"), REFUSED)
def test_what_is_not_built_is_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decoder.read("mpt", **keys)


def test_fresh(tmp_path: Path) -> None:
    assert decoder.fresh("mpt", tmp_path, clip=0.5, **TINY) < parity.TOLERANCE
    assert len(decoder.dropping("mpt", **TINY)) == 3
