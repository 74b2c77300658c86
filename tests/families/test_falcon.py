"""Falcon's three designs against transformers."""

from pathlib import Path

import pytest
import torch
import transformers as T
from families import decoder, parity
from families.parity import Case

import cutaway

SMALL = dict(vocab_size=61, hidden_size=36, num_hidden_layers=3, num_attention_heads=6)
TINY = dict(vocab=61, width=36, depth=3, heads=6)
NEW = dict(new_decoder_architecture=True)
RW = dict(alibi=True, bias=True, multi_query=False, parallel_attn=False)


def falcon(note: str, reference: str = "FalconForCausalLM", **options: object) -> Case:
    return Case(reference, T.FalconConfig(**SMALL | options), note=note)


CASES = [
    falcon("7b"),
    falcon("40b", **NEW, num_kv_heads=2),
    falcon("11b", **NEW, num_kv_heads=3, num_ln_in_parallel_attn=1, ffn_hidden_size=50, layer_norm_epsilon=0.1),
    falcon("rw", **RW),
    falcon("many-keys", multi_query=False),
    falcon("sequential", parallel_attn=False),
    falcon("alibi", alibi=True),
    falcon("40b-alibi", **NEW, num_kv_heads=2, alibi=True, bias=True),
    falcon("biased", bias=True, activation="relu"),
    falcon("untied", tie_word_embeddings=False),
    falcon("linear", rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=100.0)),
    falcon("7b", "FalconModel"),
    falcon("rw", "FalconModel", **RW),
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


@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_loss_and_gradients(case: Case, tmp_path: Path) -> None:
    assert decoder.learning(case, tmp_path) < parity.TOLERANCE


@torch.no_grad()
def test_penalties_are_rounded_as_in_training(tmp_path: Path) -> None:
    """Slopes of 12 heads and places beyond 256 do not fit into bfloat16."""
    case = falcon("rounded", **RW | dict(num_attention_heads=12, hidden_size=24))
    reference, model = case.make(tmp_path), cutaway.load(tmp_path)
    ids = torch.randint(case.low, case.config.vocab_size, (1, 300))
    expected = reference(ids).logits
    assert (model(ids).logits - expected).abs().max() < parity.TOLERANCE
    padded, mask = parity.padded([ids[0], torch.ones(310, dtype=torch.long)], "left", 0)
    assert (model(padded, mask).logits[0, 10:] - expected).abs().max() < parity.TOLERANCE
    model.stack.bias, model.network.alibi = model.network.alibi, None  # the penalties as the paper has them
    assert (model(ids).logits - expected).abs().max() > 0.01


def test_defaults() -> None:
    parity.defaults("falcon", T.FalconConfig)


REFUSED = [
    (dict(new_decoder_architecture=True, parallel_attn=False), "a Falcon that there is not: .*'parallel_attn': False"),
    (dict(num_ln_in_parallel_attn=2), "a Falcon that there is not: .*'num_ln_in_parallel_attn': 2"),
    (dict(multi_query=False, num_kv_heads=5), "a Falcon that there is not: .*'num_kv_heads': 5"),
    (dict(new_decoder_architecture=True, num_kv_heads=8), "key heads must divide the heads, got 8 and 71"),
    (dict(apply_residual_connection_post_layernorm=True), "apply_residual_connection_post_layernorm = True"),
    (dict(partial_rotary_factor=0.5), "partial_rotary_factor = 0.5"),
    (dict(architectures=["FalconForQuestionAnswering"]), "'FalconForQuestionAnswering' is not built"),
]


@pytest.mark.parametrize(("keys", "message"), REFUSED)
def test_what_is_not_built_is_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decoder.read("falcon", **keys)


DESIGNS = [dict(), dict(residual="parallel", kv_heads=3), dict(kv_heads=2), dict(residual="sequential", alibi=True)]


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_fresh(design: dict[str, object], tmp_path: Path) -> None:
    assert decoder.fresh("falcon", tmp_path, **TINY | design) < parity.TOLERANCE


def test_dropout() -> None:
    assert len(decoder.dropping("falcon", **TINY)) == 2


def test_what_config_json_cannot_say_is_not_built() -> None:
    with pytest.raises(ValueError, match="a sequential Falcon has 1 or 6 key heads, not 2"):
        cutaway.build("falcon", residual="sequential", kv_heads=2, **TINY)
    with pytest.raises(ValueError, match="form is sequential, parallel or shared, not 'post'"):
        cutaway.families.parallel.block("post", torch.nn.Identity, 0.0)
