"""DeBERTa's attention, term by term, against its definition written out in loops."""

import math

import pytest
import torch
from torch import Tensor, nn

from cutaway.kernels import weights
from cutaway.parts import Attention, Context, Disentangled
from cutaway.scores import CAUSAL, FULL, PerToken, Rule

WIDTH, HEADS = 12, 3
DIM = WIDTH // HEADS


def attend(**places: object) -> Attention:
    """An attention of random weights with places in its scores."""
    attention = Attention(WIDTH, HEADS, relative=Disentangled(**places), scale=(3 * DIM) ** -0.5)
    for parameter in attention.parameters():
        nn.init.normal_(parameter)
    return attention.eval()


def side(rows: int) -> Context:
    return Context(Rule(FULL), side={"relative": torch.randn(rows, WIDTH)})


def heads(x: Tensor) -> Tensor:
    """[N, D] -> [H, N, d]"""
    return x.view(len(x), HEADS, DIM).transpose(0, 1)


def bucket(distance: int, span: int, far: int | None) -> int:
    """The paper's places: each distance its own up to span / 2, then ever more of them one."""
    near = span // 2
    if far is not None and abs(distance) > near:
        steps = math.log(abs(distance) / near) / math.log((far - 1) / near) * (near - 1)
        distance = int(math.copysign(near + math.ceil(steps - 1e-6), distance))
    return min(max(distance + span, 0), 2 * span - 1)


PLACES = [{"span": 3}, {"span": 20}, {"span": 6, "max_distance": 9}, {"span": 5, "max_distance": 40}]


@pytest.mark.parametrize("terms", [("c2p", "p2c"), ("p2c",), ("c2p",), ()])
@pytest.mark.parametrize("places", PLACES, ids=str)
@pytest.mark.parametrize("own", [False, True])
@torch.no_grad()
def test_scores_are_the_sum_of_their_terms(terms: tuple[str, ...], places: dict[str, int], own: bool) -> None:
    lone = {"keys": nn.Linear(WIDTH, WIDTH, bias=False), "queries": nn.Linear(WIDTH, WIDTH)} if own else {}
    attention, n = attend(terms=terms, **places, **lone), 13
    ctx, x = side(2 * places["span"]), torch.randn(1, n, WIDTH)
    q, k, v = (heads(f(x[0])) for f in (attention.q, attention.k, attention.v))
    table = ctx.side["relative"]
    place_k = heads(attention.relative.keys(table) if own else attention.k(table))
    place_q = heads(attention.relative.queries(table) if own else attention.q(table))
    score = torch.zeros(HEADS, n, n)
    for h in range(HEADS):
        for i in range(n):
            for j in range(n):
                p = bucket(i - j, places["span"], places.get("max_distance"))
                s = q[h, i] @ k[h, j]
                s += q[h, i] @ place_k[h, p] if "c2p" in terms else 0
                s += k[h, j] @ place_q[h, p] if "p2c" in terms else 0
                score[h, i, j] = s / math.sqrt(3 * DIM)
    mixed = attention.o((score.softmax(-1) @ v).transpose(0, 1).flatten(1))
    torch.testing.assert_close(attention(x, ctx)[0], mixed, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_terms_stay_apart_in_the_rule() -> None:
    attention, ctx = attend(span=4), side(8)
    x = torch.randn(2, 9, WIDTH)
    q, k = (f(x).view(2, 9, HEADS, DIM).transpose(1, 2) for f in (attention.q, attention.k))
    rule = attention.score(q, k, ctx.rule, ctx, 0)
    assert [(type(bias), bias.by) for bias in rule.biases] == [(PerToken, "query"), (PerToken, "key")]
    rows = torch.tensor([2, 7])
    whole = weights(q, k, rule, attention.kernel.scale, torch.arange(9))
    torch.testing.assert_close(weights(q[:, :, rows], k, rule, attention.kernel.scale, rows), whole[:, :, rows])
    without = weights(q, k, Rule(FULL, rule.biases[:1]), attention.kernel.scale, torch.arange(9))
    assert (whole - without).abs().max() > 0.01


def agrees(how: str, places: dict[str, int]) -> bool:
    attention, ctx, x = attend(**places), side(2 * places["span"]), torch.randn(2, 13, WIDTH)
    ctx.rule, attention.kernel.how = Rule(CAUSAL), "eager"
    slow = attention(x, ctx)
    attention.kernel.how = how
    return torch.allclose(attention(x, ctx), slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("places", PLACES, ids=str)
@torch.no_grad()
def test_sdpa_is_eager(places: dict[str, int]) -> None:
    assert agrees("sdpa", places)


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning")
@pytest.mark.parametrize("places", PLACES, ids=str)
@torch.no_grad()
def test_flex_is_eager(places: dict[str, int]) -> None:
    assert agrees("flex", places)


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="10 and 6"):
        Disentangled(10, max_distance=6)
    with pytest.raises(ValueError, match="1 and 8"):
        Disentangled(1, max_distance=8)
    with pytest.raises(ValueError, match="table of places"):
        attend(span=4)(torch.randn(1, 3, WIDTH))
