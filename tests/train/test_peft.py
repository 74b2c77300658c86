"""Adapters against the PEFT library, on transformers' models: read, written, merged, trained."""

import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

import cutaway
from cutaway.model import Model
from cutaway.train.adaptation import peft as adapters
from cutaway.train.adaptation.lora import LoRA, add, merge
from cutaway.train.adaptation.lora import adapters as adapted
from cutaway.train.adaptation.patterns import unfreeze

# The published type, sizes of transformers' config, PEFT's targets: fused and transposed, by head, by part, ...
SMALL: dict[str, Any] = dict(
    vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=48, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)  # fmt: skip
GPT: dict[str, Any] = dict(
    vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=48, bos_token_id=1, eos_token_id=2, pad_token_id=0
)
CASES = {
    "gpt2": (transformers.GPT2Config(**GPT), "GPT2LMHeadModel", ["c_attn", "c_proj"]),
    "gpt2-body": (transformers.GPT2Config(**GPT), "GPT2Model", ["c_attn"]),
    "gpt_neox": (transformers.GPTNeoXConfig(**SMALL), "GPTNeoXForCausalLM", ["query_key_value", "dense_h_to_4h"]),
    "gptj": (transformers.GPTJConfig(**GPT, rotary_dim=4), "GPTJForCausalLM", ["q_proj", "v_proj", "fc_out"]),
    "phi3": (transformers.Phi3Config(**SMALL, num_key_value_heads=2), "Phi3ForCausalLM", ["qkv_proj", "gate_up_proj"]),
    "falcon": (
        transformers.FalconConfig(
            vocab_size=61, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_kv_heads=2,
            new_decoder_architecture=True, bos_token_id=1, eos_token_id=2,
        ),
        "FalconForCausalLM", ["query_key_value", "dense_4h_to_h"],
    ),
    "bloom": (
        transformers.BloomConfig(vocab_size=61, hidden_size=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2),
        "BloomForCausalLM", ["query_key_value"],
    ),
    "llama": (transformers.LlamaConfig(**SMALL, num_key_value_heads=2), "LlamaForCausalLM", "all-linear"),
    "bert": (transformers.BertConfig(**SMALL), "BertForMaskedLM", ["query", "value", "dense"]),
    "t5": (
        transformers.T5Config(
            vocab_size=61, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0
        ),
        "T5ForConditionalGeneration", ["q", "v", "wo"],
    ),
}  # fmt: skip


def reference(case: str, folder: Path) -> torch.nn.Module:
    """transformers' model of a case with weights that all count, saved to a folder."""
    config, name, _ = CASES[case]
    torch.manual_seed(0)
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    return getattr(transformers, name).from_pretrained(folder).eval()


def with_adapter(model: torch.nn.Module, **config: Any) -> peft.PeftModel:
    """PEFT's model with random adapters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PEFT: a Conv1D changes its config; what it calls is deprecated
        theirs = peft.get_peft_model(model, peft.LoraConfig(**{"r": 4, "lora_alpha": 6.0} | config)).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    return theirs


def answers(model: Any, case: str) -> Tensor:
    torch.manual_seed(1)
    ids = torch.randint(3, 61, (2, 9))
    more = {"decoder_input_ids": ids[:, :5]} if case == "t5" else {}
    with torch.no_grad():
        out = model(input_ids=ids, **more)
    if case == "gpt2-body":
        return out.hidden if isinstance(model, Model) else out.last_hidden_state
    return out.logits


@pytest.mark.parametrize("case", CASES)
def test_reads_what_peft_writes_and_peft_what_is_written(case: str, tmp_path: Path):
    theirs = with_adapter(reference(case, tmp_path / "base"), target_modules=CASES[case][2])
    theirs.save_pretrained(tmp_path / "theirs")
    expected = answers(theirs, case)

    ours = cutaway.load(tmp_path / "base")
    before = answers(ours, case)
    adapters.read(ours, tmp_path / "theirs")
    assert (answers(ours, case) - expected).abs().max() <= 1e-4
    assert (before - expected).abs().max() > 0.1

    adapters.write(ours, tmp_path / "ours")
    one, two = (load_file(tmp_path / name / adapters.WEIGHTS) for name in ("theirs", "ours"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    again = read_by_peft(case, tmp_path)
    assert (answers(again, case) - expected).abs().max() <= 1e-5

    merge(ours)
    cutaway.save(ours, tmp_path / "merged")
    assert (answers(cutaway.load(tmp_path / "merged"), case) - expected).abs().max() <= 1e-4


def read_by_peft(name: str, folder: Path) -> torch.nn.Module:
    """PEFT's model of the base and of what was written here; ``name`` is a case or a class of transformers."""
    base = getattr(transformers, CASES[name][1] if name in CASES else name).from_pretrained(folder / "base").eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.PeftModel.from_pretrained(base, folder / "ours").eval()


def trained(model: Model, lora: LoRA) -> Model:
    """The model with adapters as if they had learned."""
    add(model, lora)
    with torch.no_grad():
        for part in adapted(model).values():
            part.lora_a.normal_(std=0.3)
            part.lora_b.normal_(std=0.3)
    return model


@pytest.mark.parametrize(
    ("case", "targets"),
    [("gpt2", ("q", "v")), ("gpt2", ("attention.*", "up")), ("gpt_neox", ("k", "o")), ("phi3", ("gate", "q", "k"))],
)
def test_parts_of_a_fused_tensor_are_written_together(case: str, targets: tuple[str, ...], tmp_path: Path):
    reference(case, tmp_path / "base")
    ours = trained(cutaway.load(tmp_path / "base"), LoRA(rank=3, alpha=5, targets=targets))
    expected = answers(ours, case)
    adapters.write(ours, tmp_path / "ours", base="a/name")
    assert json.loads((tmp_path / "ours" / adapters.CONFIG).read_text())["base_model_name_or_path"] == "a/name"
    assert (answers(read_by_peft(case, tmp_path), case) - expected).abs().max() <= 1e-4
    again = cutaway.load(tmp_path / "base")
    adapters.read(again, tmp_path / "ours")
    assert (answers(again, case) - expected).abs().max() <= 1e-4


@pytest.mark.parametrize(
    "config",
    [
        dict(use_rslora=True),
        dict(rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 3}),
        dict(rank_pattern={r"^model.layers.1.self_attn.q_proj": 2}, alpha_pattern={"0.self_attn.q_proj": 9}),
        dict(init_lora_weights="gaussian", lora_dropout=0.25),
        dict(layers_to_transform=[1]),
    ],
    ids=str,
)
def test_reads_peft_settings(config: dict[str, Any], tmp_path: Path):
    theirs = with_adapter(reference("llama", tmp_path / "base"), target_modules=["q_proj", "v_proj"], **config)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = cutaway.load(tmp_path / "base")
    adapters.read(ours, tmp_path / "theirs")
    assert (answers(ours, "llama") - answers(theirs, "llama")).abs().max() <= 1e-4
    assert {part.dropout.p for part in adapted(ours).values()} == {config.get("lora_dropout", 0.0)}


def test_learns_what_peft_learns(tmp_path: Path):
    """The same gradients, step by step: A and B end where PEFT's do."""
    theirs = with_adapter(reference("gpt2", tmp_path / "base"), target_modules=["c_attn"])
    theirs.save_pretrained(tmp_path / "theirs")
    ours = cutaway.load(tmp_path / "base")
    adapters.read(ours, tmp_path / "theirs")
    ids = torch.randint(3, 61, (2, 9))
    theirs(input_ids=ids, labels=ids).loss.backward()
    ours(ids, labels=ids).loss.backward()
    layer = theirs.base_model.model.transformer.h[0].attn.c_attn
    parts = [ours.stack.blocks[0].attention.sublayer.get_submodule(x) for x in "qkv"]
    b = torch.cat([part.lora_b.grad for part in parts])
    a = sum(part.lora_a.grad for part in parts)
    assert (b - layer.lora_B.default.weight.grad).abs().max() <= 1e-4
    assert (a - layer.lora_A.default.weight.grad).abs().max() <= 1e-4
    assert all(p.grad is None for n, p in ours.network.named_parameters() if ".lora_" not in n)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An adapter folder, and ``base`` beside it."""
    reference("gpt2", tmp_path / "base")
    adapters.write(trained(cutaway.load(tmp_path / "base"), LoRA(targets=("c_attn",))), tmp_path / "ours")
    return tmp_path / "ours"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_dora": True}, r"not built: use_dora = True"),
        ({"bias": "all"}, "bias = 'all'"),
        ({"lora_bias": True}, "lora_bias"),
        ({"target_parameters": ["x"]}, "target_parameters"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa'"),
        ({"a_later_idea": 1}, "a_later_idea = 1"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"r": 0}, "r must be a positive number"),
        ({"lora_alpha": None}, "lora_alpha must be a positive number"),
        ({"alpha_pattern": {".*attn": 3}}, "alpha_pattern is read for names of parts"),
        ({"rank_pattern": {"c_attn": 0}}, "rank_pattern of c_attn must be a positive number"),
        ({"rank_pattern": {"c_attn": 2}}, r"must be \[2, 32\] and \[96, 2\], got \[24, 32\]"),
    ],
    ids=str,
)
def test_refuses_what_is_not_built(folder: Path, change: dict[str, Any], said: str):
    path = folder / adapters.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    model = cutaway.load(folder.parent / "base")
    with pytest.raises(ValueError, match=said):
        adapters.read(model, folder)
    assert not adapted(model)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("c_attn.lora_A.weight", "c_attn.lora_magnitude_vector", "which is not built"),
        ("h.0.attn.c_attn", "h.0.attn.c_att", "no Linear of this gpt2; near it are .*c_attn"),
        ("base_model.model.", "", "which is not built"),
    ],
)
def test_refuses_tensors_without_a_place(folder: Path, old: str, new: str, said: str):
    path = folder / adapters.WEIGHTS
    save_file({name.replace(old, new): t for name, t in load_file(path).items()}, path)
    with pytest.raises(KeyError, match=said):
        adapters.read(cutaway.load(folder.parent / "base"), folder)


def test_refuses_to_leave_out_what_learned(folder: Path):
    model = cutaway.load(folder.parent / "base")
    with pytest.raises(ValueError, match="no adapter to write"):
        adapters.write(model, folder)
    add(model, LoRA(targets=("up",)))
    unfreeze(model, ["stack.norm"])
    with pytest.raises(ValueError, match=r"stack\.norm\.weight learns, too"):
        adapters.write(model, folder.parent / "new")


def test_adapts_once(folder: Path):
    model = cutaway.load(folder.parent / "base")
    adapters.read(model, folder)
    with pytest.raises(ValueError, match="has an adapter already"):
        adapters.read(model, folder)
    with pytest.raises(ValueError, match="has an adapter already"):
        add(model, LoRA(targets=("q",)))


def classifier(folder: Path) -> torch.nn.Module:
    """transformers' classifier, its weights random."""
    torch.manual_seed(0)
    config = transformers.BertConfig(**SMALL, num_labels=3)
    model = transformers.BertForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    return transformers.BertForSequenceClassification.from_pretrained(folder).eval()


def test_a_head_that_learned_is_kept_whole(tmp_path: Path):
    theirs = with_adapter(
        classifier(tmp_path / "base"), target_modules=["query", "value"], modules_to_save=["classifier"]
    )
    head = theirs.base_model.model.classifier.modules_to_save.default
    torch.nn.init.normal_(head.weight)
    theirs.save_pretrained(tmp_path / "theirs")
    expected = answers(theirs, "bert")

    ours = cutaway.load(tmp_path / "base")
    adapters.read(ours, tmp_path / "theirs")
    assert (answers(ours, "bert") - expected).abs().max() <= 1e-4
    learning = {n for n, p in ours.network.named_parameters() if p.requires_grad and ".lora_" not in n}
    assert learning == {"head.linear.weight", "head.linear.bias"}

    adapters.write(ours, tmp_path / "ours")
    again = read_by_peft("BertForSequenceClassification", tmp_path)
    assert (answers(again, "bert") - expected).abs().max() <= 1e-4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classifier.weight": torch.zeros(2, 32)}, r"holds head\.linear\.weight of \[2, 32\] whole"),
        ({"bert.embeddings.word_embeddings.weight": torch.zeros(61, 32)}, "holds embed.weight"),
    ],
)
def test_only_a_head_that_fits_is_kept_whole(tmp_path: Path, change: dict[str, Tensor], said: str):
    theirs = with_adapter(
        classifier(tmp_path / "base"), target_modules=["query"], modules_to_save=["classifier", "word_embeddings"]
    )
    theirs.save_pretrained(tmp_path / "theirs")
    path = tmp_path / "theirs" / adapters.WEIGHTS
    kept = {n: t for n, t in load_file(path).items() if "word_embeddings" not in n}
    save_file(kept | {adapters.BEFORE + name: t for name, t in change.items()}, path)
    ours = cutaway.load(tmp_path / "base")
    with pytest.raises(ValueError, match=said):
        adapters.read(ours, tmp_path / "theirs")
    assert not adapted(ours)
