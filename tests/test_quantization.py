"""A quantised model is the model with rounded matrices, in every family, and everything that models do it does."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as T
from families.tiny import tiny
from looking.small import SMALL, TARGET, TEXT, read, small
from safetensors.torch import load_file, save_file
from torch import Tensor

import cutaway
from cutaway import families
from cutaway.cli import main
from cutaway.contracts import check
from cutaway.looking.desk import Desk
from cutaway.model import Model
from cutaway.parts import Learned, Unembed
from cutaway.quantization import compare, described, quantized
from cutaway.text import Tokenizer
from cutaway.train.adaptation.lora import LoRA, add
from cutaway.train.learner import Learner

EVERY = list(families.MODEL_TYPES)
WRITE = ("gpt2", "mixtral", "gemma2", "t5", "marian", "recurrent")  # with a cache, each in its own way
LLAMA = dict(vocab=259, width=32, depth=2, heads=4, kv_heads=2, hidden=64)


def inputs(model: Model) -> dict[str, Tensor]:
    ids = torch.arange(5, 23).view(2, 9)
    return {"input_ids": ids} | ({"decoder_input_ids": ids[:, :5]} if model.kind == "encoder-decoder" else {})


def answer(model: Model) -> Tensor:
    with torch.no_grad():
        out = model(**inputs(model))
    return out.hidden if out.logits is None else out.logits


def rounded(model: Model, quantised: Model) -> Model:
    """The model with the numbers of a quantised one, dense."""
    dense = copy.deepcopy(model)
    for name, part in quantized(quantised.network).items():
        dense.network.get_submodule(name).weight.data.copy_(part.packed.dense())
    return dense


@pytest.fixture(scope="module")
def text_model() -> Model:
    torch.manual_seed(0)
    model = cutaway.build("llama", **LLAMA)
    model.tokenizer = Tokenizer.bytes()
    return model


@pytest.mark.parametrize("model_type", EVERY)
def test_every_family_is_the_model_with_rounded_matrices(model_type: str, tmp_path: Path) -> None:
    """It answers as that does, and writes where it can, and comes back from a folder bit for bit."""
    how = "int4" if EVERY.index(model_type) % 2 else "int8"
    model = tiny(model_type)
    ours = cutaway.quantize(copy.deepcopy(model), how, 8)
    dense = rounded(model, ours)
    found, expected, other = answer(ours), answer(dense), answer(model)
    near = 1e-5 * float(expected.abs().max())
    assert torch.allclose(found, expected, atol=near)
    assert not torch.allclose(found, other, atol=near)
    if model_type in WRITE:
        ids = inputs(model)["input_ids"]
        assert torch.equal(ours.generate(ids, max_new_tokens=5), dense.generate(ids, max_new_tokens=5))
    cutaway.save(ours, tmp_path / "model")
    again = cutaway.load(tmp_path / "model")
    assert again.state_dict().keys() == ours.state_dict().keys()
    held = again.state_dict()
    assert all(torch.equal(t, held[n]) for n, t in ours.state_dict().items())
    assert torch.equal(answer(again), found)


@pytest.mark.parametrize("model_type", EVERY)
def test_matrices_are_quantised_and_the_rest_is_not(model_type: str) -> None:
    model = tiny(model_type)
    counted = cutaway.count(model)
    assert cutaway.count(cutaway.quantize(model, "int4", 8)) == counted
    names = [name for name, _ in model.network.named_parameters()]
    large = [n for n in names if model.network.get_parameter(n).ndim == 2 and n.endswith(".weight")]
    kept = ("position", "place", "places", "segment", "table", "router", "linear", "score")
    assert [n for n in large if not set(kept) & set(n.split("."))] == []
    parts = quantized(model.network)
    assert "embed" in parts
    assert {"o", "down"} <= {n.split(".")[-1] for n in parts} or model_type == "recurrent"
    assert not any(isinstance(part, Learned) for part in parts.values())
    heads = [m for m in model.modules() if isinstance(m, Unembed)]
    assert all((m.tied[0] is parts["embed"]) if m.tied[0] is not None else m in parts.values() for m in heads)


@pytest.mark.parametrize("model_type", ["gemma2", "recurrent"])
def test_contracts_hold(model_type: str) -> None:
    findings = check(cutaway.quantize(tiny(model_type), "int4", 8))
    assert [f for f in findings if not f.kept] == []


def test_a_cast_changes_what_is_computed_in_and_not_what_is_held() -> None:
    model = cutaway.quantize(tiny("gemma"), "int8", 8)
    held = {n: t.clone() for n, t in model.state_dict().items() if n.endswith((".codes", ".scales"))}
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        model.to(dtype)
        assert model.dtype == answer(model).dtype == dtype
        assert model.network.embed.weight.dtype == dtype
    assert all(torch.equal(model.state_dict()[n], t) for n, t in held.items())
    assert all(model.state_dict()[n].dtype == t.dtype for n, t in held.items())


def test_loading_quantises(tmp_path: Path, text_model: Model) -> None:
    cutaway.save(text_model, tmp_path / "model")
    ours = cutaway.quantize(cutaway.load(tmp_path / "model"), "int4", 16)
    again = cutaway.load(tmp_path / "model", quantize="int4", group=16)
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in ours.state_dict().items())
    assert described(again.network) == {"how": "int4", "group": 16}
    half = cutaway.load(tmp_path / "model", quantize="int4", dtype=torch.bfloat16)
    assert half.dtype == answer(half).dtype == torch.bfloat16
    cutaway.save(half, tmp_path / "half")
    back = cutaway.load(tmp_path / "half")
    assert back.dtype == torch.bfloat16
    assert torch.equal(answer(back), answer(half))
    with pytest.raises(ValueError, match="group=16 is for quantize="):
        cutaway.load(tmp_path / "model", group=16)
    with pytest.raises(ValueError, match="quantised already, int4 in groups of 32"):
        cutaway.load(tmp_path / "half", quantize="int8")


def unfinished(model: Model) -> None:
    model.network.stack.blocks[1].mlp.sublayer.down.weight.data[3, 5] = torch.inf


REFUSALS: list[tuple[Callable[[Model], object], tuple[Any, ...], str]] = [
    (lambda m: None, ("int3",), "no quantisation 'int3'; there are int8, int4"),
    (lambda m: None, ("int8",), r"embed has 32 inputs, no whole int8 groups of 64 \(nor .* more\); group=32 would do"),
    (lambda m: None, ("int4", 5), r"embed has 32 inputs, no whole int4 groups of 5 .*; group=4 would do for all"),
    (lambda m: None, ("int4", 1), "no whole int4 groups of 1 .*; group=2 would do for all"),
    (lambda m: cutaway.quantize(m, "int8", 16), ("int4",), "quantised already, int8 in groups of 16"),
    (lambda m: add(m, LoRA(targets=("q",))), ("int4",), "attention.sublayer.q is a LoRALinear.* merge it first"),
    (unfinished, ("int4",), "blocks.1.mlp.sublayer.down cannot be quantised: it holds NaN or infinity"),
]


@pytest.mark.parametrize(("prepare", "words", "message"), REFUSALS)
def test_what_cannot_be_is_refused_and_nothing_changed(
    prepare: Callable[[Model], object], words: tuple[Any, ...], message: str
) -> None:
    model = tiny("llama", hidden=64)
    prepare(model)
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=message):
        cutaway.quantize(model, *words)
    assert repr(model) == repr(before)
    assert all(torch.equal(t, before.state_dict()[n]) for n, t in model.state_dict().items())


def test_codes_do_not_learn() -> None:
    model = cutaway.quantize(tiny("llama"), "int8", 8)
    for learn in (Learner, lambda m: add(m, LoRA())):
        with pytest.raises(ValueError, match="embed is quantised, and codes do not learn"):
            learn(model)


def config(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        told = json.loads((folder / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps(told))

    return change


def tensors(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        held = load_file(folder / "quantized.safetensors")
        change(held)
        save_file(held, folder / "quantized.safetensors")

    return rewrite


HELD = "head.codes"
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no codes": (tensors(lambda t: t.pop(HELD)), "head.codes.* missing"),
    "codes of numbers": (tensors(lambda t: t.update({HELD: t[HELD].float()})), "head.codes must be torch.uint8"),
    "codes cut off": (tensors(lambda t: t.update({HELD: t[HELD][:-1].clone()})), r"head.codes is \[258, 16\], not"),
    "too much": (tensors(lambda t: t.update({"head.weight": torch.ones(1)})), "head.weight.* no place for"),
    "another group": (config(cutaway_quantization={"how": "int4", "group": 8}), r"scales is .*, not"),
    "a word too many": (config(cutaway_quantization={"how": "int4"}), "must say how and group"),
    "another way": (config(cutaway_quantization={"how": "int2", "group": 8}), "no quantisation 'int2'"),
    "another tool": (
        config(quantization_config={"quant_method": "gptq", "bits": 4}),
        r"quantised by another tool \(gptq\), which is not read",
    ),
    "no weights": (lambda folder: (folder / "quantized.safetensors").unlink(), "expected quantized.safetensors"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_folder_is_refused(fault: str, tmp_path: Path, text_model: Model) -> None:
    cutaway.save(cutaway.quantize(copy.deepcopy(text_model), "int4"), tmp_path / "model")
    spoil, message = FAULTS[fault]
    spoil(tmp_path / "model")
    with pytest.raises((ValueError, KeyError, FileNotFoundError), match=message):
        cutaway.load(tmp_path / "model")


def test_others_find_no_weights(tmp_path: Path, text_model: Model) -> None:
    """They would fill what they miss at random."""
    cutaway.save(cutaway.quantize(copy.deepcopy(text_model), "int8", 16), tmp_path / "model")
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        T.LlamaForCausalLM.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize("name", SMALL)
def test_the_page_looks_inside(name: str) -> None:
    """What it recomputes from codes is what the model made; a changed head changes the rest."""
    desk = Desk(cutaway.quantize(small(name), "int8", 8), name)
    look = desk.look(TEXT, TARGET if desk.bench.model.kind == "encoder-decoder" else None)
    site = desk.ask("seen", {"look": look})["sites"][-1]
    _, meta = read(desk.ask("walk", {"look": look, "site": site["name"], "head": 0, "i": 2, "j": 1}))
    assert max(json.loads(meta["walk"])["checks"].values()) < 1e-4


def test_a_trained_model_says_nearly_the_same() -> None:
    torch.manual_seed(0)
    model, ids = cutaway.build("llama", **LLAMA | dict(vocab=32)), torch.arange(96) ** 2 % 31
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model(ids.view(2, 48), labels=ids.view(2, 48)).loss.backward()
        optimizer.step()
    same = compare(model, copy.deepcopy(model), [ids])
    assert same.difference == same.relative == same.divergence == 0
    assert (same.agreement, same.errors) == (1.0, {})
    found = {how: compare(model, cutaway.quantize(copy.deepcopy(model), how, 16), [ids]) for how in ("int8", "int4")}
    for how, most in (("int8", 0.02), ("int4", 0.15)):
        c = found[how]
        one, two = c.perplexity
        assert one < 4
        assert abs(two / one - 1) < most
        assert c.agreement > 1 - most
        assert 0 < c.divergence < most
    assert 8 * found["int8"].relative < found["int4"].relative
    assert 8 * max(found["int8"].errors.values()) < max(found["int4"].errors.values()) < 0.12
    assert found["int8"].bytes[1] / found["int8"].bytes[0] == pytest.approx((8 + 16 / 16) / 32, abs=0.02)
    assert found["int4"].bytes[1] / found["int4"].bytes[0] == pytest.approx((4 + 16 / 16) / 32, abs=0.02)


def test_the_figures_are_what_they_are_said_to_be(text_model: Model) -> None:
    ours, ids = cutaway.quantize(copy.deepcopy(text_model), "int4"), torch.arange(40, 52)
    c = compare(text_model, ours, [ids])
    with torch.no_grad():
        a, b = (m(ids[None], labels=ids[None]) for m in (text_model, ours))
    p, q = a.logits[0, :-1].log_softmax(-1), b.logits[0, :-1].log_softmax(-1)
    assert c.perplexity == pytest.approx((float(a.loss.exp()), float(b.loss.exp())))
    assert c.difference == pytest.approx(float((a.logits - b.logits).abs().max()))
    assert c.relative == pytest.approx(float((a.logits - b.logits).norm() / a.logits.norm()), rel=1e-4)
    assert c.divergence == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-3)
    assert c.agreement == pytest.approx(float((p.argmax(-1) == q.argmax(-1)).float().mean()))
    was, now = text_model.network.head.weight.detach(), ours.network.head.weight
    assert c.errors["head"] == pytest.approx(float((was - now).norm() / was.norm()), rel=1e-4)
    assert max(c.errors, key=c.errors.__getitem__) in str(c)


@pytest.mark.parametrize("model_type", ["gpt2", "t5", "bert", "electra", "recurrent"])
def test_every_kind_can_be_compared(model_type: str) -> None:
    model = tiny(model_type)
    c = compare(model, cutaway.quantize(copy.deepcopy(model), "int8", 8), [torch.arange(5, 40)], length=10)
    assert 0 < c.relative < 0.1
    assert (c.perplexity is None) == (model.config.head != "lm")


def test_a_masked_language_model_is_asked_what_was_hidden(text_model: Model) -> None:
    model = small("bert")
    assert compare(model, model, [TEXT]).perplexity is None  # bytes have no mask
    with pytest.raises(ValueError, match="nothing to compare on"):
        compare(model, model, [""])
    with pytest.raises(ValueError, match="no tokenizer: give rows of ids"):
        compare(tiny("bert"), tiny("bert"), [TEXT])


def test_the_command(tmp_path: Path, text_model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    cutaway.save(text_model, tmp_path / "model")
    (tmp_path / "text.txt").write_text("it was so tired\nand then it slept\n")
    words = ["quantize", tmp_path / "model", tmp_path / "small", "--how", "int4", "--data", tmp_path / "text.txt"]
    assert main([str(w) for w in words]) == 0
    out = capsys.readouterr().out
    assert "int4 in groups of 32, compared on" in out
    ours = cutaway.load(tmp_path / "model", quantize="int4")
    found = compare(cutaway.load(tmp_path / "model"), ours, ["it was so tired", "and then it slept"])
    assert str(found) in out
    assert torch.equal(answer(cutaway.load(tmp_path / "small")), answer(ours))
    for source, more in ((tmp_path / "small", []), (tmp_path / "model", ["--quantize", "int4", "--group", "32"])):
        assert main(["generate", str(source), "abc", "--max-new-tokens", "8", *more]) == 0
        assert capsys.readouterr().out == ours.generate("abc", max_new_tokens=8) + "\n"
    assert main(["quantize", str(tmp_path / "small"), str(tmp_path / "again")]) == 2
    assert "quantised already" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()
