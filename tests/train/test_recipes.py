"""Recipes: JSON there and back, typos, differences, the published ones as published."""

import json
from dataclasses import replace

import pytest

import cutaway
from cutaway.train import recipes
from cutaway.train.adaptation.lora import LoRA
from cutaway.train.cookbook import RECIPES, named
from cutaway.train.recipes import Recipe


@pytest.mark.parametrize("name", RECIPES)
def test_there_and_back(name, tmp_path):
    recipe = named(name)
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipes.as_json(recipe)))
    assert recipes.read(path) == recipe


def test_nested_values_there_and_back():
    recipe = replace(Recipe(), lora=LoRA(rank=3, targets=("q",)), generation={"num_beams": 4})
    assert recipes.of_json(recipes.as_json(recipe)) == recipe


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"stepz": 3}, "'stepz' is no key; did you mean steps"),
        ({"data": {"trian": ["x"]}}, "data: 'trian' is no key; did you mean train"),
        ({"lora": {"rnk": 8}}, "lora: 'rnk' is no key; did you mean rank"),
        ({"optimizer": {"lr": "0.1"}}, "optimizer: lr: .* got '0.1'"),
        ({"steps": 1.5}, "steps: .* got 1.5"),
        ({"steps": True}, "steps"),
        ({"steps": 0}, "steps is at least 1"),
        ({"model": {"wdth": 3}}, "model: 'wdth' is no key; did you mean width"),
        ({"model": {"width": "3"}}, "model: width"),
        ({"model_type": "gpt5"}, "model type 'gpt5' is not built"),
        ({"data": ["x"]}, "data"),
        ({"precision": "float16"}, "precision"),
        ({"ema": 1.0}, "ema"),
    ],
)
def test_what_is_wrong_is_named(wrong, says):
    with pytest.raises(ValueError, match=says):
        recipes.of_json(wrong)


def test_a_name_that_is_not_there():
    with pytest.raises(ValueError, match="did you mean dates"):
        named("date")


def test_differences():
    a = named("dates")
    assert recipes.differences(a, a) == {}
    assert recipes.differences(a, replace(a, steps=7, lora=LoRA()))["steps"] == (a.steps, 7)


@pytest.mark.parametrize(("name", "size", "dropout", "average"), [("base", 512, 0.1, 5), ("big", 1024, 0.3, 20)])
def test_the_2017_paper(name, size, dropout, average):
    """Section 5 and table 3 of the paper."""
    r = named(f"transformer-{name}")
    assert (r.model.width, r.model.hidden, r.model.heads) == (size, 4 * size, size // 64)
    assert (r.model.depth, r.model.decoder_depth, r.model.residual, r.model.act) == (6, 6, "post", "relu")
    assert (r.model.dropout, r.smoothing, r.save.average) == (dropout, 0.1, average)
    assert (r.optimizer.betas, r.optimizer.eps, r.schedule.warmup) == ((0.9, 0.98), 1e-9, 4000)
    for step in (1, 4000, 50_000):
        rate = r.optimizer.lr * r.schedule(step - 1, r.steps)
        assert rate == pytest.approx(size**-0.5 * min(step**-0.5, step * 4000**-1.5))
    assert r.generation == {"num_beams": 4, "length_penalty": 0.6}
    assert (r.batch.tokens, r.steps) == (25_000, {"base": 100_000, "big": 300_000}[name])


def test_sizes_of_the_published_ones():
    total = lambda name: cutaway.count(cutaway.hub.sketch(named(name).model_type, named(name).model)).total
    assert total("gpt2-124m") == 124_439_808
    assert total("t5-small") == 60_506_624
    assert 109e6 < total("bert-base") < 111e6
