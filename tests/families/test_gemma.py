"""Gemma and Gemma 2 against transformers."""

from pathlib import Path

import pytest
import torch
import transformers as T
from families import parity
from families.parity import Case
from families.rolling import rolling

import cutaway
from cutaway import families

SMALL = dict(
    vocab_size=61, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40, head_dim=12,
    max_position_embeddings=64, num_key_value_heads=2,
)  # fmt: skip


def case(name: str, note: str = "", body: bool = False, **more: object) -> Case:
    """A small causal LM of a model type, or its body alone."""
    config = getattr(T, f"{name}Config")(**{**SMALL, **more})
    return Case(f"{name}Model" if body else f"{name}ForCausalLM", config, note=note)


LAYERS = ["full_attention", "full_attention", "sliding_attention"]
LM = [
    case("Gemma"),
    case("Gemma", "untied", tie_word_embeddings=False, attention_bias=True, num_key_value_heads=1, rope_theta=50.0),
    case("Gemma2", sliding_window=3, attn_logit_softcapping=1.5, final_logit_softcapping=2.0, query_pre_attn_scalar=7),
    case("Gemma2", "layers", sliding_window=4, layer_types=LAYERS, attention_bias=True),
    case("Gemma2", "uncapped", sliding_window=2, attn_logit_softcapping=None, final_logit_softcapping=None),
    case("Gemma2", "open", layer_types=["full_attention"] * 3, rope_scaling=dict(rope_type="linear", factor=2.0)),
]
CASES = [*LM, case("Gemma", body=True), case("Gemma2", body=True, sliding_window=3)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    assert parity.equal(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", [LM[0], LM[3]], ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < parity.TOLERANCE


def test_long_inputs_roll_through_every_other_window(tmp_path: Path) -> None:
    worst, held = rolling(case("Gemma2", sliding_window=3, attn_logit_softcapping=2.0), tmp_path)
    assert worst < parity.TOLERANCE
    assert [slots < 16 for slots in held] == [True, False, True]


@pytest.mark.parametrize("config", [T.GemmaConfig, T.Gemma2Config])
def test_defaults(config: type[T.PretrainedConfig]) -> None:
    parity.defaults(config.model_type, config)


@pytest.mark.parametrize("case", [LM[0], LM[2]], ids=str)
def test_loss_and_gradients(case: Case, tmp_path: Path) -> None:
    reference, model = case.make(tmp_path), cutaway.load(tmp_path)
    ids = torch.stack([row[:4] for row in case.rows()])
    labels = ids.masked_fill(torch.tensor([[0, 0, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0]]).bool(), -100)
    ours, theirs = model(ids, labels=labels).loss, reference(ids, labels=labels).loss
    assert torch.allclose(ours, theirs, atol=1e-6)
    ours.backward()
    theirs.backward()
    for name, weight in model.network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name
    expected = reference.model.embed_tokens.weight.grad
    assert torch.allclose(model.embed.weight.grad, expected, atol=1e-5 * expected.abs().max().item())


def test_embeddings_grow_in_their_own_precision() -> None:
    """√width is rounded to the weights' type before it multiplies, as it was in training: 55.5, not 55.4256."""
    model = cutaway.build("gemma", vocab=9, width=3072, depth=0, heads=2, kv_heads=1, hidden=8, head_dim=2, head="base")
    model.bfloat16().network.stack.norm = torch.nn.Identity()
    ids = torch.arange(9)[None]
    assert torch.equal(model(ids).hidden, model.embed.weight[None] * torch.tensor(55.5, dtype=torch.bfloat16))


def test_fresh_norms_are_around_one() -> None:
    model = cutaway.build("gemma2", vocab=9, width=8, depth=3, heads=2, kv_heads=1, hidden=8, head_dim=4)
    assert not model.stack.norm.weight.any()
    assert model.config.windows == (4096, None)
    assert model.embed.weight.std().item() == pytest.approx(0.02, rel=0.3)


GEMMA_2B = dict(
    model_type="gemma", architectures=["GemmaForCausalLM"], attention_bias=False, head_dim=256, hidden_act="gelu",
    hidden_activation=None, hidden_size=2048, intermediate_size=16_384, max_position_embeddings=8192,
    num_attention_heads=8, num_hidden_layers=18, num_key_value_heads=1, rms_norm_eps=1e-6, rope_scaling=None,
    rope_theta=10_000.0, vocab_size=256_000,
)  # fmt: skip
GEMMA_2_2B = dict(
    model_type="gemma2", architectures=["Gemma2ForCausalLM"], attn_logit_softcapping=50.0, head_dim=256,
    cache_implementation="hybrid", final_logit_softcapping=30.0, hidden_act="gelu_pytorch_tanh",
    hidden_activation="gelu_pytorch_tanh", hidden_size=2304, intermediate_size=9216, num_attention_heads=8,
    num_hidden_layers=26, num_key_value_heads=4, query_pre_attn_scalar=256, sliding_window=4096,
)  # fmt: skip


@pytest.mark.parametrize(("keys", "size"), [(GEMMA_2B, 2_506_172_416), (GEMMA_2_2B, 2_614_341_888)])
def test_published_configs(keys: dict[str, object], size: int) -> None:
    """As many parameters as the models' cards say, and nothing lost on the way back."""
    module, form = families.module(keys["model_type"]), families.form(keys["model_type"])
    ours, kept = form.read(keys)
    with torch.device("meta"):
        network = module.NETWORK(module.Config(**ours))
    assert sum(p.numel() for p in network.parameters()) == size
    again, _ = form.read(form.write(network.config, keys["model_type"], kept))
    assert module.Config(**again) == network.config


@pytest.mark.parametrize(
    ("model_type", "keys", "message"),
    [
        ("gemma", dict(use_bidirectional_attention=True), "use_bidirectional_attention = True"),
        ("gemma", dict(hidden_act="relu"), "act 'relu' is not built; known: gelu_pytorch_tanh, gelu"),
        ("gemma2", dict(hidden_activation="silu"), "act 'silu' is not built"),
        ("gemma2", dict(hidden_act="silu"), "hidden_act = 'silu'"),
        ("gemma2", dict(layer_types=["sliding_attention"]), "layer_types must be 26 of"),
        ("gemma2", dict(partial_rotary_factor=0.5), "partial_rotary_factor = 0.5"),
        ("gemma2", dict(architectures=["Gemma2ForTokenClassification"]), "'Gemma2ForTokenClassification' is not built"),
    ],
)
def test_what_is_not_built_is_refused(model_type: str, keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        families.form(model_type).read(keys)
