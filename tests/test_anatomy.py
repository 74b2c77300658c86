"""What show and diff say about architectures is what the field says about them."""

import pytest

import cutaway
from cutaway import anatomy, families, hub
from cutaway.parts import Attention
from cutaway.scores import window


def said(name: str) -> dict[str, str]:
    return anatomy.traits(hub.outline(name))


def test_gpt2_against_llama_reads_as_the_field_would_say_it() -> None:
    traits, sizes = anatomy.differences(hub.outline("gpt2"), hub.outline("llama"))
    changed = {name: (a, b) for name, a, b in traits}
    assert changed["positions"] == ("learned", "rotary")
    assert changed["norm"] == ("LayerNorm", "RMSNorm")
    assert changed["feed-forward"] == ("GELU (tanh) MLP", "gated SiLU")
    assert changed["biases"] == ("q k v o and feed-forward", "none")
    assert changed["output"] == ("tied to the embedding", "a matrix of its own")
    assert changed.keys() == {"positions", "norm", "feed-forward", "biases", "output"}
    assert ("width", "768", "4,096") in sizes


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("llama", "mistral", {"attention", "heads"}),
        ("llama", "qwen2", {"biases"}),
        ("mistral", "mixtral", {"attention", "experts"}),
        ("bert", "roberta", set()),
        ("gpt2", "bert", {"kind", "attention", "norms stand", "feed-forward", "output"}),
        ("t5", "bart", {"positions", "norm", "norms stand", "biases", "score scale", "feed-forward", "output"}),
    ],
)
def test_relatives_differ_in_what_they_are_known_for(a: str, b: str, expected: set[str]) -> None:
    traits, _ = anatomy.differences(hub.outline(a), hub.outline(b))
    assert {name for name, *_ in traits} == expected


@pytest.mark.parametrize("name", families.MODEL_TYPES)
def test_every_model_type_has_a_blueprint(name: str) -> None:
    found = said(name)
    assert found["kind"] in ("decoder", "encoder", "encoder-decoder")
    recurrent = {"cells", "alignment"}
    kept = recurrent if name == "recurrent" else {"attention", "heads", "norm", "feed-forward", "layers"}
    assert kept | {"vocabulary", "width"} <= found.keys()
    assert (name == "recurrent") == bool(recurrent & found.keys())
    assert anatomy.blueprint(hub.outline(name)).count("\n") == len(found) - 1
    assert all(anatomy.differences(hub.outline(name), hub.outline(name))[i] == [] for i in (0, 1))


def test_recurrent_networks_differ_by_cell_and_alignment() -> None:
    sizes = dict(vocab=31, width=16, embedding=8)
    gru = cutaway.build("recurrent", cell="gru", **sizes)
    lstm = cutaway.build("recurrent", cell="lstm", attention="luong", score="general", **sizes)
    traits, _ = anatomy.differences(gru, lstm)
    assert ("cells", "GRU", "LSTM") in traits
    assert ("alignment", "additive scores (Bahdanau)", "products as scores (Luong)") in traits


def test_swapped_parts_show() -> None:
    model = cutaway.build("llama", vocab=61, width=32, depth=2, heads=4, hidden=48)
    model.stack.mask = window(8)
    for m in model.modules():
        if isinstance(m, Attention):
            m.rotary = None
    found = anatomy.traits(model)
    assert found["attention"] == "causal, window 8"
    assert found["positions"] == "none"
