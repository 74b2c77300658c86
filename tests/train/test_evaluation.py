"""How runs are judged, and that judging leaves no trace."""

import math
from pathlib import Path

import pytest
import torch
from train.small import begin, corpus
from train.test_material import pairs, translating

from cutaway.train import evaluation, run
from cutaway.train.evaluation import judging, wearing, write
from cutaway.train.recipes import Evaluation
from cutaway.train.run import Run


@pytest.fixture
def made(tmp_path: Path) -> Run:
    return begin(corpus(tmp_path, 200), tmp_path / "runs" / "a", evaluate=Evaluation(batches=3, sample="the "))


@pytest.fixture
def translator(tmp_path: Path) -> Run:
    chosen = translating(pairs(tmp_path), evaluate=Evaluation(batches=2, exact=3))
    return run.start(chosen, tmp_path / "runs" / "translator", lambda text: None)


def state(made: Run) -> list[object]:
    loop = made.loop
    return [loop.learner.training, torch.get_rng_state().tolist(), *(t.tolist() for t in loop.tensors().values())]


def test_a_validation_leaves_everything_as_it_was(made: Run, translator: Run) -> None:
    for one in (made, translator):
        one.loop.learner.train()
        one.loop.ema = {n: torch.zeros_like(p) for n, p in one.loop.weights().items()}
        before = state(one)
        found = one.loop.validate(whole=True)
        assert found is not None
        assert state(one) == before


def test_a_validation_judges_the_running_mean(made: Run) -> None:
    made.loop.ema = {n: torch.zeros_like(p) for n, p in made.loop.weights().items()}
    found = made.loop.validate(whole=True)
    vocab = made.loop.model.config.vocab
    assert found["loss"] == pytest.approx(math.log(vocab))  # of weights that are all zero


def test_wearing_ends_with_an_error_too(made: Run) -> None:
    weights = made.loop.weights()
    before = {n: t.clone() for n, t in weights.items()}

    def fail() -> None:
        with judging(made.loop.learner), wearing(weights, {n: torch.ones_like(t) for n, t in weights.items()}):
            assert all(torch.equal(t, torch.ones_like(t)) for t in weights.values())
            assert not made.loop.learner.training
            torch.rand(3)
            raise KeyError("x")

    made.loop.learner.train()
    random = torch.get_rng_state()
    with pytest.raises(KeyError):
        fail()
    assert made.loop.learner.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[n], t) for n, t in weights.items())


def test_a_short_validation_is_of_batches_spread_evenly(made: Run) -> None:
    judge, learner = made.loop.judge, made.loop.learner.eval()
    number = judge.batches.per_epoch
    assert number > 3

    def loss(indices: list[int]) -> float:
        total, count = 0.0, 0
        for i in indices:
            batch = judge.objective.batch(judge.batches[i], torch.Generator())
            total += learner(batch.inputs, batch.targets).item()
            count += batch.count
        return total / count

    with torch.no_grad():
        assert judge.loss(learner, whole=False)["loss"] == pytest.approx(loss([i * number // 3 for i in range(3)]))
        assert judge.loss(learner, whole=True)["loss"] == pytest.approx(loss(list(range(number))))


def test_a_sample_is_the_same_draw_each_time(made: Run) -> None:
    judge, model = made.loop.judge, made.loop.model.eval()
    torch.manual_seed(1)
    first = judge.sample(model)
    torch.manual_seed(2)
    assert judge.sample(model) == first
    assert first.startswith("the ")
    assert len(first) > 4


def test_exact_match_is_the_share_of_equal_texts(translator: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    judge, pair = translator.loop.judge, translator.loop.judge.pairs
    assert len(pair) == 3
    said = [pair[0]["target"], "wrong", pair[2]["target"]]
    monkeypatch.setattr(evaluation, "write", lambda model, texts: said[: len(texts)])
    share, shown = judge.exact(translator.loop.model, 3)
    assert share == 2 / 3
    assert shown.splitlines()[1] == f"{pair[1]['input']} → wrong  (not {pair[1]['target']})"
    assert shown.splitlines()[0] == f"{pair[0]['input']} → {pair[0]['target']}"
    assert judge.exact(translator.loop.model, 1)[0] == 1


def test_texts_are_written_together_as_they_are_alone(translator: Run) -> None:
    model = translator.loop.model.eval()
    texts = ["word 1", "word 22 of many more", "w", "word 3 of"]
    together = write(model, texts)
    assert together == [write(model, [text])[0] for text in texts]
