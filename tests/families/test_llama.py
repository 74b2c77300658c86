"""LLaMA and its kin against transformers."""

import re
from pathlib import Path

import pytest
import torch
import transformers as T
from families import parity
from families.parity import Case
from families.rolling import rolling
from hypothesis import given
from hypothesis import strategies as st

import cutaway
from cutaway import families
from cutaway.families.windows import causal
from cutaway.parts import Scaling
from cutaway.scores import window

SMALL = dict(
    vocab_size=61, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40,
    max_position_embeddings=64, num_key_value_heads=2, bos_token_id=1, eos_token_id=2, pad_token_id=None,
)  # fmt: skip


def case(name: str, note: str = "", body: bool = False, **more: object) -> Case:
    """A small causal LM of a model type, or its body alone."""
    config = getattr(T, f"{name}Config")(**{**SMALL, **more})
    return Case(f"{name}Model" if body else f"{name}ForCausalLM", config, note=note)


def rope(kind: str, **more: object) -> dict[str, object]:
    return dict(rope_scaling=dict(rope_type=kind, **more))


LATE = dict(use_sliding_window=True, sliding_window=3, max_window_layers=1)
LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
FACTORS = dict(short_factor=[1.0, 1.1, 1.3, 1.7], long_factor=[1.0, 2.0, 5.0, 9.0])
FOURFOLD = dict(factor=4.0, original_max_position_embeddings=16)
MSCALE = dict(mscale=0.7, mscale_all_dim=0.4)

LM = [
    case("Llama"),
    case("Llama", "tied", tie_word_embeddings=True, head_dim=12),
    case("Llama", "biased", attention_bias=True, mlp_bias=True, hidden_act="relu", num_key_value_heads=None),
    case("Llama", "linear", rope_theta=50.0, rms_norm_eps=0.01, **rope("linear", factor=2.5)),
    case("Llama", "dynamic", max_position_embeddings=8, **rope("dynamic", factor=3.0)),
    case("Llama", "yarn", **rope("yarn", **FOURFOLD, attention_factor=1.3)),
    case("Llama", "yarn2", **rope("yarn", **FOURFOLD, beta_fast=4.0, beta_slow=0.5, truncate=False, **MSCALE)),
    case("Llama", "llama3", **rope("llama3", **FOURFOLD, low_freq_factor=1.0, high_freq_factor=4.0)),
    case("Mistral", sliding_window=3),
    case("Mistral", "open", sliding_window=None, head_dim=6),
    case("Mixtral", num_local_experts=5, num_experts_per_tok=2, sliding_window=4),
    case("Mixtral", "top1", num_local_experts=3, num_experts_per_tok=1, head_dim=10, router_aux_loss_coef=0.02),
    case("Qwen2"),
    case("Qwen2", "late", tie_word_embeddings=True, **LATE),
    case("Qwen2", "layers", layer_types=LAYERS, **LATE),
    case("Qwen3", head_dim=12),
    case("Qwen3", "late", head_dim=8, attention_bias=True, **LATE),
    case("Phi3"),
    case("Phi3", "partial", partial_rotary_factor=0.5, sliding_window=5, tie_word_embeddings=True),
    case("Phi3", "longrope", original_max_position_embeddings=8, **rope("longrope", **FACTORS)),
    case("Olmo2"),
    case("Olmo2", "biased", attention_bias=True, num_key_value_heads=None),
]
NAMES = ["Llama", "Mistral", "Mixtral", "Qwen2", "Qwen3", "Phi3", "Olmo2"]
BODIES = [case(name, body=True, num_hidden_layers=1) for name in NAMES]
# Frequencies that change with the length change what was cached before.
STEPPED = [c for c in LM if c.note in ("", "llama3", "layers", "partial")]
CASES = LM + BODIES


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal(case: Case, tmp_path: Path) -> None:
    assert parity.equal(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_export(case: Case, tmp_path: Path) -> None:
    parity.export(case, tmp_path)


@pytest.mark.parametrize("case", STEPPED, ids=str)
def test_cached(case: Case, tmp_path: Path) -> None:
    assert parity.cached(case, tmp_path) < parity.TOLERANCE


@pytest.mark.parametrize(
    ("case", "windowed"),
    [
        (case("Mistral", sliding_window=4), [True, True, True]),
        (case("Mixtral", num_local_experts=3, sliding_window=2), [True, True, True]),
        (case("Phi3", sliding_window=5, partial_rotary_factor=0.5), [True, True, True]),
        (case("Qwen2", **LATE), [False, True, True]),
        (case("Qwen3", layer_types=LAYERS, **LATE), [True, False, True]),
    ],
    ids=str,
)
def test_long_inputs_roll_through_their_windows(case: Case, windowed: list[bool], tmp_path: Path) -> None:
    worst, held = rolling(case, tmp_path)
    assert worst < parity.TOLERANCE
    assert [slots < 16 for slots in held] == windowed


@pytest.mark.parametrize("name", NAMES)
def test_defaults(name: str) -> None:
    config = getattr(T, f"{name}Config")
    parity.defaults(config.model_type, config)


@pytest.mark.parametrize("case", [case("Llama"), case("Mixtral", num_local_experts=3)], ids=str)
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
    assert torch.allclose(model.embed.weight.grad, reference.model.embed_tokens.weight.grad, atol=1e-5)


REFUSED = [
    ("llama", dict(rope_scaling=dict(rope_type="spiral", factor=2.0)), "rotary scaling 'spiral' is not built; known: "),
    ("llama", dict(rope_scaling=dict(type="linear")), r"'linear' needs \['factor'\], but the config gives \[\]"),
    ("llama", dict(rope_scaling=dict(type="linear", factor=2.0, beta_fast=3)), "gives \\['beta_fast', 'factor'\\]"),
    ("llama", dict(rope_parameters=dict(rope_theta=5.0, factor=2.0)), "'default' needs nothing, but .*'factor'"),
    ("llama", dict(partial_rotary_factor=0.5), "partial_rotary_factor = 0.5"),
    ("llama", dict(hidden_act="xielu"), "'xielu' is not built"),
    ("llama", dict(sliding_window=4), r"sliding_window = 4 \(unknown key\)"),
    ("llama", dict(architectures=["LlamaForSequenceClassification"]), "'LlamaForSequenceClassification' is not built"),
    ("mistral", dict(attention_bias=True), "attention_bias = True"),
    ("mistral", dict(layer_types=["full_attention"]), "layer_types"),
    ("mistral", dict(sliding_window=0), r"window\(0\)"),
    ("mixtral", dict(router_jitter_noise=0.1), "router_jitter_noise = 0.1"),
    ("mixtral", dict(output_router_logits=True), "output_router_logits = True"),
    ("mixtral", dict(num_experts_per_tok=9), "1..8 of 8 experts, not to 9"),
    ("qwen2", dict(use_mrope=True), "use_mrope = True"),
    ("qwen2", dict(layer_types=["full_attention"]), "layer_types must be 32 of"),
    ("qwen3", dict(num_hidden_layers=1, layer_types=["chunked_attention"]), "chunked_attention"),
    ("qwen3", dict(num_hidden_layers=1, layer_types=["sliding_attention"]), "sliding_window is not set, or not used"),
    ("phi3", dict(embd_pdrop=0.1), "embd_pdrop = 0.1"),
    (
        "phi3",
        dict(rope_scaling=dict(type="longrope", short_factor=[1.0], long_factor=[1.0])),
        "longrope needs 48 factors",
    ),
    ("olmo2", dict(clip_qkv=8.0), "clip_qkv"),
]


@pytest.mark.parametrize(("model_type", "keys", "message"), REFUSED)
def test_what_is_not_built_is_refused(model_type: str, keys: dict[str, object], message: str) -> None:
    module = families.module(model_type)
    make = lambda: module.NETWORK(module.Config(**module.FORMATS[model_type].read(keys)[0]))
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        make()


LLAMA_1B = dict(
    model_type="llama", architectures=["LlamaForCausalLM"], attention_bias=False, attention_dropout=0.0,
    bos_token_id=128_000, eos_token_id=128_001, head_dim=64, hidden_act="silu", hidden_size=2048,
    initializer_range=0.02, intermediate_size=8192, max_position_embeddings=131_072, mlp_bias=False,
    num_attention_heads=32, num_hidden_layers=16, num_key_value_heads=8, pretraining_tp=1, rms_norm_eps=1e-5,
    rope_scaling=dict(
        factor=32.0, high_freq_factor=4.0, low_freq_factor=1.0, original_max_position_embeddings=8192,
        rope_type="llama3",
    ),
    rope_theta=500_000.0, tie_word_embeddings=True, torch_dtype="bfloat16", vocab_size=128_256,
)  # fmt: skip
PHI_4_MINI = dict(
    model_type="phi3", architectures=["Phi3ForCausalLM"], attention_bias=False, embd_pdrop=0.0, full_attn_mod=1,
    hidden_size=3072, intermediate_size=8192, interpolate_factor=1, lm_head_bias=False, mlp_bias=False,
    max_position_embeddings=131_072, num_attention_heads=24, num_hidden_layers=32, num_key_value_heads=8,
    original_max_position_embeddings=4096, partial_rotary_factor=0.75, resid_pdrop=0.0, sliding_window=262_144,
    rope_scaling=dict(long_factor=[1.0] * 48, short_factor=[1.0] * 48, type="su"), tie_word_embeddings=True,
    vocab_size=200_064,
)  # fmt: skip


@pytest.mark.parametrize(("keys", "size"), [(LLAMA_1B, 1_235_814_400), (PHI_4_MINI, 3_836_021_760)])
def test_published_configs(keys: dict[str, object], size: int) -> None:
    """Llama 3.2 1B and Phi-4 mini have as many parameters as their cards say, and their keys come back."""
    model_type = keys["model_type"]
    module, form = families.module(model_type), families.form(model_type)
    ours, kept = form.read(keys)
    with torch.device("meta"):
        network = module.NETWORK(module.Config(**ours))
    assert sum(p.numel() for p in network.parameters()) == size
    again, _ = form.read(form.write(network.config, model_type, kept))
    assert module.Config(**again) == network.config
    if model_type == "llama":
        assert form.write(network.config, model_type, kept) == keys


def test_every_dropout_is_somewhere() -> None:
    block = cutaway.build("phi3", **OURS, dropout=0.1, attention_dropout=0.2, std=0.5).stack.blocks[4]
    assert (block.attention.dropout.p, block.mlp.dropout.p, block.attention.sublayer.kernel.dropout) == (0.1, 0.1, 0.2)
    assert block.mlp.sublayer.up.weight.std().item() == pytest.approx(0.5, rel=0.2)


OURS = dict(vocab=61, width=32, depth=5, heads=4, kv_heads=2, hidden=40, head_dim=8)


def test_fresh_models_know_their_type(tmp_path: Path) -> None:
    model = cutaway.build("qwen3", **OURS, windows=(3, None))
    cutaway.save(model, tmp_path)
    theirs = T.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert theirs.config.layer_types == ["sliding_attention", "full_attention"] * 2 + ["sliding_attention"]
    ids = torch.randint(0, 61, (1, 12))
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, theirs(ids).logits, atol=1e-5)


@pytest.mark.parametrize(
    ("model_type", "wrong", "message"),
    [
        ("qwen3", dict(qk_norm="whole"), "no place for {'qk_norm': 'whole'}"),
        ("qwen3", dict(windows=(3, 4)), "one size of windows, not [3, 4]"),
        ("qwen3", dict(experts=4), "qwen3 has no way to say experts = 4"),
        ("mistral", dict(windows=(3, None)), "mistral has no way to say windows = (3, None)"),
        ("llama", dict(scaling=Scaling("ntk", 2.0)), "config.json has no rotary scaling 'ntk'"),
        ("llama", dict(scaling=Scaling("dynamic", 2.0, original=9)), "no way to say scaling"),
        ("llama", dict(fraction=0.5), "no way to say fraction = 0.5"),
        ("llama", dict(bias="qv"), "no way to say bias = 'qv'"),
        ("llama", dict(qk_norm="half"), "qk_norm is one of None, 'head', 'whole', got 'half'"),
        ("llama", dict(residual="post"), "residual is one of 'pre', 'output', got 'post'"),
        ("llama", dict(kv_heads=3), "key heads must divide the heads, got 3 and 4"),
    ],
)
def test_a_type_refuses_what_it_cannot_say(model_type: str, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        cutaway.build(model_type, **{**OURS, **wrong})


@given(st.integers(1, 6), st.integers(0, 7), st.booleans())
def test_windows_before_layer_types(depth: int, first: int, used: bool) -> None:
    """Configs of before 2025 say from which layer on there are windows."""
    keys = dict(num_hidden_layers=depth, max_window_layers=first, use_sliding_window=used, sliding_window=4)
    ours, _ = families.form("qwen2").read(keys)
    masks = causal(ours["windows"], depth)
    sees = [mask == window(4) for mask in (masks if isinstance(masks, list) else [masks] * depth)]
    assert sees == [kind == "sliding_attention" for kind in T.Qwen2Config(**keys).layer_types]


def test_windows_of_no_layer() -> None:
    with pytest.raises(ValueError, match="windows need at least one"):
        causal((), 3)
