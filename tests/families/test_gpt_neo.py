"""GPT-Neo against transformers."""

from pathlib import Path

import pytest
import transformers as T
from families import decoder, parity
from families.parity import Case
from families.rolling import rolling

import cutaway

SMALL = dict(
    vocab_size=61, max_position_embeddings=16, hidden_size=36, num_layers=3, num_heads=3, window_size=3,
    attention_types=[[["global", "local", "local"], 1]],
)  # fmt: skip
TINY = dict(vocab=61, length=16, width=36, heads=3)


def neo(note: str = "", reference: str = "GPTNeoForCausalLM", **options: object) -> Case:
    return Case(reference, T.GPTNeoConfig(**SMALL | options), std=0.2, note=note)


CASES = [
    neo(),
    neo("global", attention_types=[[["global"], 3]], window_size=256),
    neo("local", attention_types=[[["local"], 3]], window_size=1),
    neo("alternating", attention_types=[[["global", "local"], 2]], num_layers=4, window_size=4),
    neo("inner", intermediate_size=50, layer_norm_epsilon=0.1),
    neo("relu", activation_function="relu"),
    neo("untied", tie_word_embeddings=False),
    neo(reference="GPTNeoModel"),
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


@pytest.mark.parametrize("case", [neo()], ids=str)
def test_loss_and_gradients(case: Case, tmp_path: Path) -> None:
    assert decoder.learning(case, tmp_path) < parity.TOLERANCE


def test_long_inputs_roll_through_their_windows(tmp_path: Path) -> None:
    worst, held = rolling(neo(max_position_embeddings=40), tmp_path)
    assert worst < parity.TOLERANCE
    assert [slots < 16 for slots in held] == [False, True, True]


def test_defaults() -> None:
    parity.defaults("gpt_neo", T.GPTNeoConfig)


REFUSED = [
    (dict(num_layers=3), r"attention_types must name global or local for 3 layers, but gives \['global', 'local', "),
    (dict(num_layers=1, attention_types=[[["linear"], 1]]), r"but gives \['linear'\]"),
    (
        dict(num_layers=1, attention_types=[[["local"], 1]], attention_layers=["global"]),
        r"attention_types gives \['local'\], but attention_layers \['global'\]",
    ),
    (dict(window_size=0), r"got window\(0\)"),
    (dict(jax=True), "jax = True .unknown key"),
    (dict(architectures=["GPTNeoForSequenceClassification"]), "'GPTNeoForSequenceClassification' is not built"),
]


@pytest.mark.parametrize(("keys", "message"), REFUSED)
def test_what_is_not_built_is_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decoder.read("gpt_neo", **keys)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_fresh(depth: int, tmp_path: Path) -> None:
    assert decoder.fresh("gpt_neo", tmp_path, depth=depth, **TINY) < parity.TOLERANCE


def test_dropout() -> None:
    assert len(decoder.dropping("gpt_neo", depth=2, **TINY)) == 3


def test_windows_take_turns_over_the_layers() -> None:
    model = cutaway.build("gpt_neo", depth=4, windows=(2, None, 2, None), **TINY)
    assert model.config.windows == (2, None)
    assert [mask.reach for mask in model.stack.mask] == [1, float("inf"), 1, float("inf")]
    with pytest.raises(ValueError, match="windows of a gpt_neo must have one size"):
        cutaway.build("gpt_neo", depth=2, windows=(2, 3), **TINY)


def test_older_checkpoints(tmp_path: Path) -> None:
    assert (
        decoder.older(
            neo(),
            tmp_path,
            "transformer.",
            "h.0.attn.attention.bias",
            "h.2.attn.attention.masked_bias",
            embedding="transformer.wte.weight",
        )
        < parity.TOLERANCE
    )
