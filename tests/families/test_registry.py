"""What every published model type must do, by being registered."""

import re
from pathlib import Path

import pytest
import torch
from families.tiny import tiny

import cutaway
from cutaway import families

EVERY = list(families.MODEL_TYPES)


@pytest.mark.parametrize("model_type", EVERY)
def test_it_keeps_every_contract(model_type: str) -> None:
    broken = [f for f in cutaway.check(tiny(model_type)) if not f.kept]
    assert not broken


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("model_type", ["llama", "bert", "t5", "bloom", "gemma2", "deberta-v2"])
def test_it_keeps_them_in_every_dtype(model_type: str, dtype: torch.dtype) -> None:
    broken = [f for f in cutaway.check(tiny(model_type).to(dtype)) if not f.kept]
    assert not broken


@pytest.mark.parametrize("model_type", EVERY)
def test_it_trains_and_comes_back_as_it_was(model_type: str, tmp_path: Path) -> None:
    model = tiny(model_type).train()
    ids = torch.randint(5, 61, (2, 6))
    if model.config.head == "base":
        loss = model(ids).hidden.square().mean()
    else:
        loss = model(ids, labels=ids % 2 if model.config.head == "replaced" else ids).loss
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    cutaway.save(model, tmp_path / "model")
    again = cutaway.load(tmp_path / "model")
    assert again.config == model.config
    assert repr(again) == repr(model.eval())
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in model.state_dict().items())


@pytest.mark.parametrize("model_type", EVERY)
def test_every_attention_can_be_recomputed_from_what_its_kernel_saw(model_type: str) -> None:
    model, ids = tiny(model_type), torch.randint(5, 61, (2, 9))
    seen = []
    kernels = [m for m in model.modules() if isinstance(m, cutaway.kernels.Softmax)]
    hooks = [m.register_forward_hook(lambda m, args, out: seen.append((m, args, out))) for m in kernels]
    with torch.no_grad():
        model(ids, **({"decoder_input_ids": ids[:, :4]} if model.kind == "encoder-decoder" else {}))
    assert len(seen) >= len(kernels)
    for kernel, (q, k, v, rule, at, start), out in seen:
        rows = torch.arange(at, at + q.shape[2])
        mixed = kernel.weights(q, k, rule, rows, start) @ v.repeat_interleave(q.shape[1] // v.shape[1], 1)
        assert torch.allclose(mixed, out, atol=2e-5)
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_family_reads_well(family: str) -> None:
    module = families.module(family)
    first = (module.__doc__ or "").splitlines()[0]
    assert re.search(r"\(.*(19|20)\d\d.*\)", module.__doc__ or ""), "a family names its paper and year"
    assert len(first) <= 120
    assert set(module.FORMATS) == {t for t, home in families.MODEL_TYPES.items() if home == family}
    assert module.Config().head in module.FORMATS[next(iter(module.FORMATS))].heads.values()


def test_an_unknown_model_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"model type 'lama' is not built; known: albert, bart"):
        families.module("lama")
