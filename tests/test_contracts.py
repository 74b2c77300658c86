"""The contracts hold for a sound model, and each planted fault breaks the one that names it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cutaway
from cutaway.contracts import CONTRACTS, Finding, check
from cutaway.model import Model
from cutaway.parts import Attention, Context, Learned
from cutaway.scores import CAUSAL, FULL, OPEN, Band

SMALL = dict(vocab=61, width=32, depth=2, heads=4, hidden=64, kv_heads=2, std=0.2)


def sound() -> Model:
    torch.manual_seed(0)
    return cutaway.build("llama", **SMALL)


def broken(findings: list[Finding]) -> set[str]:
    return {f.contract for f in findings if not f.kept}


def test_a_sound_model_keeps_them_all() -> None:
    model = sound()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    findings = check(model.train())
    assert broken(findings) == set()
    assert all(f.figure is not None for f in findings)
    assert model.training
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def wrap(module: nn.Module, change: Callable[..., Any]) -> None:
    """Replace ``module.forward`` by ``change(forward, *args)``."""
    forward = module.forward
    module.forward = lambda *args, **kwargs: change(forward, *args, **kwargs)  # type: ignore[method-assign]


def no_mask(m: Model) -> None:
    m.stack.mask = FULL


def peeks_one_ahead(m: Model) -> None:
    m.stack.mask = Band(after=1)


def mixes_tokens(m: Model) -> None:
    wrap(m.stack.blocks[0].mlp.sublayer, lambda f, x, ctx: f(x, ctx) + 0.1 * x.mean(1, keepdim=True))


def shifts_left(m: Model) -> None:
    wrap(m.stack.blocks[1].mlp.sublayer, lambda f, x, ctx: f(x, ctx) + x.roll(-1, 1))


def ignores_the_rule(m: Model) -> None:
    def blind(f: Callable[..., Tensor], x: Tensor, ctx: Context, **more: Any) -> Tensor:
        return f(x, Context(OPEN & CAUSAL, ctx.positions, at=ctx.at, cache=ctx.cache), **more)

    wrap(m.stack.blocks[0].attention.sublayer, blind)


class AbsoluteSlots(nn.Module):
    """Adds a learned position, read by slot instead of from the context."""

    def __init__(self, embed: nn.Embedding):
        super().__init__()
        self.embed, self.table = embed, nn.Embedding(64, embed.embedding_dim)

    def forward(self, ids: Tensor) -> Tensor:
        return self.embed(ids) + self.table(torch.arange(ids.shape[1]))


def positions_by_slot(m: Model) -> None:
    m.network.embed = AbsoluteSlots(m.network.embed)


def mixes_batch(m: Model) -> None:
    wrap(m.stack.blocks[0].mlp.sublayer, lambda f, x, ctx: f(x, ctx) + 0.1 * x.mean(0, keepdim=True))


def rotary_starts_again(m: Model) -> None:
    rotary = m.stack.blocks[0].attention.sublayer.rotary
    wrap(rotary, lambda f, x, ctx: f(x, Context(OPEN)))


def chunk_from_zero(m: Model) -> None:
    kernel = m.stack.blocks[0].attention.sublayer.kernel
    wrap(kernel, lambda f, q, k, v, rule, at, start: f(q, k, v, rule, at if q.shape[2] == 1 else 0, start))


def cache_repeats(m: Model) -> None:
    attend = m.stack.blocks[0].attention.sublayer

    def stale(f: Callable[..., Tensor], y: Tensor, ctx: Context) -> Any:
        k, v = f(y, ctx)
        return k, v if ctx.at == 0 else torch.zeros_like(v)

    keys = attend.keys
    attend.keys = lambda y, ctx: stale(keys, y, ctx)


def wrong_scale(m: Model) -> None:
    kernel = m.stack.blocks[0].attention.sublayer.kernel
    wrap(kernel, lambda f, q, k, v, *rest: f(2 * q if kernel.how == "auto" else q, k, v, *rest))


def unused_parameter(m: Model) -> None:
    m.network.spare = nn.Linear(3, 3)


def detached(m: Model) -> None:
    wrap(m.stack.blocks[1].attention.sublayer.v, lambda f, x: f(x).detach())


def not_a_number(m: Model) -> None:
    m.network.embed.weight.data[60, 3] = torch.nan


def dropout_in_eval(m: Model) -> None:
    m.stack.blocks[0].mlp.dropout = nn.Identity()
    wrap(m.stack.blocks[0].mlp.dropout, lambda f, x: nn.functional.dropout(x, 0.2, training=True))


FAULTS: list[tuple[Callable[[Model], None], str]] = [
    (no_mask, "nothing leaks from the future"),
    (peeks_one_ahead, "nothing leaks from the future"),
    (mixes_tokens, "nothing leaks from the future"),
    (shifts_left, "nothing leaks from the future"),
    (ignores_the_rule, "left padding changes nothing"),
    (ignores_the_rule, "packed documents are apart"),
    (positions_by_slot, "left padding changes nothing"),
    (positions_by_slot, "cached equals uncached"),
    (mixes_batch, "batch mates change nothing"),
    (rotary_starts_again, "cached equals uncached"),
    (chunk_from_zero, "also several tokens at once"),
    (cache_repeats, "cached equals uncached"),
    (wrong_scale, "kernels agree"),
    (unused_parameter, "every parameter gets a gradient"),
    (detached, "every parameter gets a gradient"),
    (not_a_number, "weights are finite"),
    (dropout_in_eval, "batch mates change nothing"),
]


@pytest.mark.parametrize(("fault", "contract"), FAULTS, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_a_planted_fault_is_caught(fault: Callable[[Model], None], contract: str) -> None:
    model = sound()
    fault(model)
    if fault is unused_parameter:
        model.origin.model_type = "mine"  # it has no published format to be saved in
    assert contract in broken(check(model))


def test_a_lossy_save_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    model = sound()
    real = cutaway.hub.save
    lossy = lambda m, folder: real(m.bfloat16().float(), folder)
    monkeypatch.setattr("cutaway.hub.save", lambda m, folder: lossy(sound(), folder))
    assert broken(check(model)) == {"save and load are exact"}


def test_every_contract_is_broken_by_some_fault() -> None:
    named = {contract for _, contract in FAULTS} | {"save and load are exact"}
    silent = {name for name, *_ in CONTRACTS} - named
    assert silent == {"right padding changes nothing"}  # causal models are safe from it: see the encoders' tests


def test_own_networks_are_checked_too() -> None:
    class Bag(cutaway.parts.Network):
        kind = "encoder"

        def __init__(self) -> None:
            super().__init__(cutaway.families.module("llama").Config(vocab=30, head="base"))
            self.embed, self.place = nn.Embedding(30, 8), Learned(16, 8)
            self.attend, self.head = Attention(8, 2), None

        def forward(self, ids: Tensor, ctx: Context | None = None) -> Tensor:
            ctx = ctx or Context(OPEN)
            x = self.embed(ids) + self.place(ctx.places(ids))
            return x + self.attend(x, ctx)

    findings = check(Model(Bag(), cutaway.model.Origin("mine")))
    assert broken(findings) == set()
    assert {f.contract for f in findings if f.figure is None} == {
        "nothing leaks from the future", "cached equals uncached", "also several tokens at once",
        "save and load are exact",
    }  # fmt: skip
