"""GPT-NeoX and Pythia against transformers."""

from pathlib import Path

import pytest
import transformers as T
from families import decoder, parity
from families.parity import Case

import cutaway
from cutaway import families

SMALL = dict(
    vocab_size=61, hidden_size=36, num_hidden_layers=3, num_attention_heads=3, intermediate_size=50,
    max_position_embeddings=16,
)  # fmt: skip
TINY = dict(vocab=61, width=48, depth=3, heads=3)


def neox(note: str = "", reference: str = "GPTNeoXForCausalLM", fraction: float = 0.5, **options: object) -> Case:
    rope = {"rope_theta": 500.0, "partial_rotary_factor": fraction, **options.pop("scaling", {"rope_type": "default"})}
    return Case(reference, T.GPTNeoXConfig(**SMALL | {"rope_parameters": rope} | options), note=note)


EXACT = [
    neox(),
    neox("sequential", use_parallel_residual=False),
    neox("whole", fraction=1.0, layer_norm_eps=0.1),
    neox("rounded-fraction", fraction=0.4),
    neox("unbiased", attention_bias=False),
    neox("relu", hidden_act="relu"),
    neox("tied", tie_word_embeddings=True),
    neox("linear", scaling=dict(rope_type="linear", factor=3.0)),
    neox("yarn", scaling=dict(rope_type="yarn", factor=2.0, original_max_position_embeddings=8)),
    neox(reference="GPTNeoXModel"),
]
CASES = [*EXACT, neox("fast", hidden_act="gelu_fast")]  # which is written back as gelu_new, the same function


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    assert parity.equal(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize("case", EXACT, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", EXACT[:2], ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize("case", EXACT[:2], ids=str)
def test_loss_and_gradients(case: Case, tmp_path: Path) -> None:
    assert decoder.learning(case, tmp_path, {"embed_out.weight": "lm_head.weight"}) < parity.TOLERANCE


def test_defaults() -> None:
    parity.defaults("gpt_neox", T.GPTNeoXConfig)


def test_the_config_of_pythia_is_read_and_written_in_its_own_words() -> None:
    form = families.form("gpt_neox")
    theirs = {"rotary_pct": 0.5, "rotary_emb_base": 500, "hidden_dropout": 0.1, "use_parallel_residual": False}
    ours, _ = form.read(theirs)
    assert ours == dict(
        fraction=0.5, theta=500, dropout=0.1, parallel=False, scaling=None, head="lm"
    )  # fmt: skip
    written = form.write(families.module("gpt_neox").Config(**ours), "gpt_neox", {})
    assert theirs.items() <= written.items()


REFUSED = [
    (dict(rope_scaling=dict(type="spiral")), "rotary scaling 'spiral' is not built"),
    (dict(hidden_act="mish"), "act 'mish' is not built"),
    (dict(rotary_pct=0.3, hidden_size=80, num_attention_heads=8), "must be even, got 3"),
    (dict(hidden_dropout_prob=0.1), "hidden_dropout_prob = 0.1 .only 0 is built"),
    (dict(num_key_value_heads=2), "num_key_value_heads = 2 .unknown key"),
    (dict(architectures=["GPTNeoXForQuestionAnswering"]), "'GPTNeoXForQuestionAnswering' is not built"),
]


@pytest.mark.parametrize(("keys", "message"), REFUSED)
def test_what_is_not_built_is_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decoder.read("gpt_neox", **keys)


def test_fresh(tmp_path: Path) -> None:
    assert decoder.fresh("gpt_neox", tmp_path, **TINY) < parity.TOLERANCE
    assert len(decoder.dropping("gpt_neox", **TINY)) == 2
    assert cutaway.build("gpt_neox", **TINY).config.hidden == 192


def test_older_checkpoints(tmp_path: Path) -> None:
    assert (
        decoder.older(
            neox(),
            tmp_path,
            "gpt_neox.",
            "layers.0.attention.bias",
            "layers.1.attention.masked_bias",
            "layers.2.attention.rotary_emb.inv_freq",
        )
        < parity.TOLERANCE
    )
