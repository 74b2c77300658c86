"""What every decoder does beside running: learn as transformers does, begin fresh, drop out."""

from pathlib import Path

import torch
import transformers
from families.parity import Case
from safetensors.torch import load_file, save_file

import cutaway
from cutaway import families

NONE: dict[str, str] = {}


def learning(case: Case, folder: Path, renamed: dict[str, str] = NONE) -> float:
    """Max abs difference of the loss and of every gradient, in their layout, to transformers'.

    ``renamed`` are tensors that a checkpoint names otherwise than their own module does."""
    reference, model = case.make(folder), cutaway.load(folder)
    ids = torch.stack([row[:4] for row in case.rows()])
    labels = ids.masked_fill(torch.tensor([[0, 0, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0]]).bool(), -100)
    ours, theirs = model(ids, labels=labels).loss, reference(input_ids=ids, labels=labels).loss
    ours.backward()
    theirs.backward()
    gradients = {name: weight.grad for name, weight in model.network.named_parameters()}
    for name, gradient in gradients.items():
        assert gradient is not None, f"{name} has no gradient"
        assert gradient.isfinite().all(), f"the gradient of {name} is not finite"
        assert gradient.any(), f"the gradient of {name} is 0"
    got = {renamed.get(n, n): g for n, g in model.format.save(model.config, gradients).items()}
    expected = {name: weight.grad for name, weight in reference.named_parameters()}
    assert got.keys() == expected.keys(), got.keys() ^ expected.keys()
    worst = [(got[name] - expected[name]).abs().max() for name in got]
    return max(x.item() for x in (*worst, (ours - theirs).abs()))


@torch.no_grad()
def older(case: Case, folder: Path, prefix: str, *buffers: str, embedding: str = "") -> float:
    """As the first checkpoints were written: bodies without ``prefix``, ``buffers`` among the weights, tied weights
    twice (``embedding`` as lm_head). Max abs difference of the logits."""
    reference, ids = case.make(folder), case.rows()[0][None]
    weights = load_file(folder / "model.safetensors")
    if embedding:
        weights["lm_head.weight"] = weights[embedding].clone()
    weights |= {name: torch.ones(1, 1, 4, 4) for name in buffers}
    save_file({name.removeprefix(prefix): tensor for name, tensor in weights.items()}, folder / "model.safetensors")
    model = cutaway.load(folder)
    assert set(model.origin.ignored) == set(buffers)
    return (model(ids).logits - reference(ids).logits).abs().max().item()


@torch.no_grad()
def fresh(model_type: str, folder: Path, **sizes: object) -> float:
    """A model that was built, saved, and loaded by both: max abs difference of the logits."""
    built = cutaway.build(model_type, **sizes)
    cutaway.save(built, folder)
    again, ids = cutaway.load(folder), torch.randint(sizes["vocab"], (2, 7))
    assert again.config == built.config
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    logits = built(ids).logits
    return max((other(ids).logits - logits).abs().max().item() for other in (again, reference))


@torch.no_grad()
def dropping(model_type: str, **sizes: object) -> list[str]:
    """The dropouts of a model type that change its output in training, each tried alone."""
    names = [name for name in vars(families.module(model_type).Config()) if name.endswith("dropout")]
    ids, found = torch.randint(sizes["vocab"], (2, 7)), []
    for name in names:
        model = cutaway.build(model_type, **sizes, **{other: 0.5 * (other == name) for other in names})
        same = model(ids).logits
        assert torch.equal(model(ids).logits, same)
        if not torch.equal(model.train()(ids).logits, same):
            found.append(name)
    assert found == names, f"without effect: {set(names) - set(found)}"
    return found


def read(model_type: str, **keys: object) -> None:
    """A config with these keys, as far as the network (which gets no memory)."""
    with torch.device("meta"):
        config, _ = families.form(model_type).read({"model_type": model_type, **keys})
        families.network(model_type, families.module(model_type).Config(**config))
