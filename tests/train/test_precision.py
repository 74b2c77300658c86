"""The probe: what it takes for the fastest, and that it leaves no trace."""

import pytest
import torch
from torch import nn

from cutaway.train.precision import Probe, autocast, probe

CPU = torch.device("cpu")


class Slow(nn.Module):
    """Counts its calls, and says in which precision each was made; the clock goes on by hand."""

    def __init__(self, clock: list[float]):
        super().__init__()
        self.linear, self.clock = nn.Linear(4, 4), clock
        self.calls: list[str] = []

    def forward(self, inputs: dict[str, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        y = self.linear(inputs["x"])
        self.calls.append(str(y.dtype).removeprefix("torch."))
        slow = self.calls[-1] == "float32"
        self.clock[0] += 9.0 if len(self.calls) in (1, 3) else 3.0 if slow else 1.0
        return (y.float() + torch.rand(4)).sum()


@pytest.fixture
def learner(monkeypatch: pytest.MonkeyPatch) -> Slow:
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    return Slow(clock)


def test_the_first_pass_does_not_count(learner: Slow) -> None:
    tried = probe(learner, {"x": torch.ones(2, 4)}, torch.zeros(2), ("float32", "bfloat16"), seconds=0)
    assert learner.calls == ["float32", "float32", "bfloat16", "bfloat16"]
    assert tried.seconds == {"float32": 3.0, "bfloat16": 1.0}
    assert tried.best == "bfloat16"
    assert str(tried) == "bfloat16, 3.0x as fast as float32 here"


def test_it_goes_on_for_its_time(learner: Slow) -> None:
    probe(learner, {"x": torch.ones(2, 4)}, torch.zeros(2), ("float32",), seconds=20)
    assert len(learner.calls) == 3  # 9, 3 and 9 seconds


def test_it_leaves_no_trace(learner: Slow) -> None:
    before, weights = torch.get_rng_state(), learner.linear.weight.clone()
    probe(learner, {"x": torch.ones(2, 4)}, torch.zeros(2), ("float32", "bfloat16"), seconds=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(learner.linear.weight, weights)
    assert all(p.grad is None for p in learner.parameters())
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    ("seconds", "best", "said"),
    [({"float32": 1.0, "bfloat16": 2.5}, "float32", "float32, 2.5x as fast as bfloat16 here"),
     ({"bfloat16": 2.0}, "bfloat16", "bfloat16"), ({"float32": 1.0, "bfloat16": 1.0}, "float32", "float32")],
)  # fmt: skip
def test_what_is_said(seconds, best: str, said: str) -> None:
    assert Probe(seconds).best == best
    assert str(Probe(seconds)) == said


@pytest.mark.parametrize(("name", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_products_are_in_the_precision_and_norms_in_float32(name: str, dtype: torch.dtype) -> None:
    with autocast(CPU, name):
        assert nn.Linear(4, 4)(torch.ones(1, 4)).dtype == dtype
        assert torch.logsumexp(torch.ones(1, 4), -1).dtype == torch.float32
