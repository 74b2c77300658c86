"""DeBERTa v1, v2 and v3 against transformers."""

from pathlib import Path

import pytest
import torch
import transformers as T
from families import parity
from families.encoder import near, pair
from families.parity import Case

from cutaway.parts import Context
from cutaway.scores import CAUSAL, Documents

SMALL = dict(
    vocab_size=61, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40,
    max_position_embeddings=20, layer_norm_eps=1e-5,
)  # fmt: skip
V1 = SMALL | dict(relative_attention=True, position_biased_input=False, pos_att_type=["c2p", "p2c"])
V3 = V1 | dict(pos_att_type=["p2c", "c2p"], position_buckets=4, share_att_key=True, norm_rel_ebd="layer_norm")
HEADS = ("Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
PLACES = dict(
    c2p=dict(pos_att_type=["c2p"]),
    p2c=dict(pos_att_type=["p2c"]),
    neither=dict(pos_att_type=None),
    none=dict(relative_attention=False),
    near=dict(max_relative_positions=4),
    everywhere=dict(position_biased_input=True, type_vocab_size=3),
    narrow=dict(embedding_size=10),
    lm=dict(legacy=False),
)
V2_ONLY = dict(
    apart=dict(share_att_key=None),
    apart_c2p=dict(share_att_key=None, pos_att_type=["c2p"]),
    apart_p2c=dict(share_att_key=None, pos_att_type=["p2c"]),
    plain=dict(norm_rel_ebd=None, position_buckets=None),
    odd=dict(position_buckets=5, max_relative_positions=9),
    convolution=dict(conv_kernel_size=3, conv_act="gelu"),
    wide_convolution=dict(conv_kernel_size=5),
)


def v1(head: str, note: str = "", **more: object) -> Case:
    return Case(f"Deberta{head}", T.DebertaConfig(**told(V1 | more)), note=note)


def v2(head: str, note: str = "", **more: object) -> Case:
    return Case(f"DebertaV2{head}", T.DebertaV2Config(**told(V3 | more)), note=note)


def told(keys: dict[str, object]) -> dict[str, object]:
    """What a config says: the keys that have a value."""
    return {k: v for k, v in keys.items() if v is not None}


CASES = [
    *(make(head) for make in (v1, v2) for head in HEADS),
    *(make("ForMaskedLM", note, **more) for make in (v1, v2) for note, more in PLACES.items()),
    *(v2("ForMaskedLM", note, **more) for note, more in V2_ONLY.items()),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    assert parity.equal(case, tmp_path) < 1e-5


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("config", [T.DebertaConfig, T.DebertaV2Config])
def test_defaults(config: type) -> None:
    parity.defaults(config.model_type, config)


@pytest.mark.parametrize("model_type", ["deberta", "deberta-v2"])
@torch.no_grad()
def test_longer_than_the_places(model_type: str) -> None:
    more = {"position_buckets": 16} if model_type == "deberta-v2" else {}
    reference, model = pair(model_type, "Model", position_biased_input=False, max_relative_positions=40, **more)
    ids = torch.randint(5, 61, (2, 150))
    assert near(model(ids).hidden, reference(ids).last_hidden_state)


def test_packed_documents_do_not_touch() -> None:
    """Neither through attention nor through the convolution, which reaches over the seam."""
    _, model = pair("deberta-v2", "Model", conv_kernel_size=5, position_biased_input=False)
    ids, documents = torch.randint(5, 61, (1, 9)), torch.tensor([[0] * 4 + [1] * 5])
    packed = model.network(ids, Context.of(Documents(documents)))
    for part in (slice(0, 4), slice(4, 9)):
        assert near(packed[:, part], model(ids[:, part]).hidden)


def test_a_mask_of_pairs_holds_for_the_convolution_too() -> None:
    """A causal DeBERTa with a convolution sees nothing ahead."""
    _, model = pair("deberta-v2", "Model", conv_kernel_size=3)
    model.stack.mask = CAUSAL
    ids = torch.randint(5, 61, (1, 9))
    changed = torch.cat([ids[:, :6], ids[:, 6:] % 50 + 6], 1)
    a, b = model(ids).hidden, model(changed).hidden
    assert near(a[:, :6], b[:, :6])
    assert not near(a[:, 6:], b[:, 6:])
