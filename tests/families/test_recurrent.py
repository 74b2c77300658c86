"""Recurrent translators against PyTorch's own layers, their papers' formulas, and each other."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from families.tiny import tiny
from torch import Tensor, nn

import cutaway
from cutaway.families.alignment import Alignment
from cutaway.families.recurrence import CELLS, Flow, Recurrent, unroll
from cutaway.kernels import Additive
from cutaway.model import Model
from cutaway.parts import Cache, Context
from cutaway.scores import CAUSAL, OPEN, Documents, Padding, as_rule

BAHDANAU = [
    {"attention": "bahdanau", "score": s, "bidirectional": b} for s in ("concat", "general") for b in (True, False)
]
LUONG = [
    {"attention": "luong", "score": s, "feeding": f, "bidirectional": b}
    for s, b in (("dot", False), ("general", True), ("concat", False))
    for f in (True, False)
]
VARIANTS = [*BAHDANAU, {"attention": "bahdanau", "score": "dot", "bidirectional": False}, *LUONG]


def named(variant: dict[str, Any]) -> str:
    return "-".join(k if v is True else str(v) for k, v in variant.items() if v is not False)


@pytest.mark.parametrize(
    ("variant", "cell"),
    [*((v, "gru") for v in VARIANTS), *((v, c) for v in (BAHDANAU[0], LUONG[0], LUONG[3]) for c in ("rnn", "lstm"))],
    ids=lambda x: x if isinstance(x, str) else named(x),
)
def test_every_variant_keeps_every_contract(variant: dict[str, Any], cell: str) -> None:
    findings = cutaway.check(tiny("recurrent", cell=cell, depth=1 + (cell == "lstm"), **variant))
    assert not [f for f in findings if not f.kept]
    assert all(f.figure is not None for f in findings)


# ---- layers under a rule ---------------------------------------------------------------------------


def copied(ours: Recurrent, kind: str) -> nn.Module:
    """PyTorch's module of the same weights."""
    first, depth, back = ours.ahead[0], len(ours.ahead), ours.back is not None
    sizes = first.input_size, first.hidden_size
    theirs = CELLS[kind](*sizes, depth, batch_first=True, bidirectional=back)
    halves = {"": ours.ahead} | ({"_reverse": ours.back} if back else {})
    state = {f"{n[:-3]}_l{i}{way}": t for way, half in halves.items() for i, m in enumerate(half)
        for n, t in m.state_dict().items()}  # fmt: skip
    theirs.load_state_dict(state)
    return theirs


@torch.no_grad()
@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
def test_layers_are_those_of_torch(kind: str, back: bool, side: str) -> None:
    """Whole rows, and rows padded on either side against each alone."""
    ours = Recurrent(kind, 5, 7, 2, back=back)
    theirs, x, ids = copied(ours, kind), torch.randn(3, 9, 5), torch.zeros(3, 9, dtype=torch.long)
    assert torch.allclose(ours(x, Flow.of(OPEN, ids, back=back)), theirs(x)[0], atol=1e-6)
    lengths = (9, 4, 1)
    places = [slice(0, n) if side == "right" else slice(9 - n, 9) for n in lengths]
    keep = torch.zeros(3, 9, dtype=torch.bool)
    for i, place in enumerate(places):
        keep[i, place] = True
    y = ours(x, Flow.of(OPEN & Padding(keep), ids, back=back))
    for i, place in enumerate(places):
        assert torch.allclose(y[i, place], theirs(x[i : i + 1, place])[0][0], atol=1e-6)
    assert not y[~keep].any()


def test_nothing_but_padding_gives_zeros() -> None:
    ids, nobody = torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 3, dtype=torch.bool)
    assert not Recurrent("gru", 4, 4)(torch.randn(2, 3, 4), Flow.of(OPEN & Padding(nobody), ids)).any()


@torch.no_grad()
@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("seed", range(6))
def test_at_once_is_step_by_step_is_document_by_document(kind: str, seed: int) -> None:
    """Documents with padding anywhere, also between a document's own tokens; in one piece, and in two."""
    torch.manual_seed(seed)
    ours, x = Recurrent(kind, 3, 4, 2), torch.randn(4, 12, 3)
    ids, keep, cut = torch.zeros(4, 12, dtype=torch.long), torch.rand(4, 12) < 0.7, 1 + seed
    documents = (torch.rand(4, 12) < 0.3).cumsum(1)
    rule = OPEN & Padding(keep) & Documents(documents)
    first = tuple(torch.randn(4, 12, 2, 4) for _ in range(2 if kind == "lstm" else 1))
    begin = lambda rows, slots: tuple(s[rows, slots] for s in first)
    whole = ours(x, Flow.of(rule, ids), begin)
    steps, _ = unroll(ours.step, x, Flow.of(rule, ids), begin, None)
    one = Flow.of(rule, ids[:, :cut])
    y, state = unroll(ours.step, x[:, :cut], one, begin, None)
    rest = unroll(ours.step, x[:, cut:], Flow.of(rule, ids[:, cut:], cut, one.last), begin, state)[0]
    assert torch.allclose(whole[keep], steps[keep], atol=1e-6)
    assert torch.allclose(whole[keep], torch.cat([y, rest], 1)[keep], atol=1e-6)
    theirs = copied(ours, kind)
    for row, number in {(r, int(d)) for r in range(4) for d in documents[r]}:
        at = (keep[row] & (documents[row] == number)).nonzero().flatten()
        if len(at):
            given = tuple(s[row, at[0]][:, None] for s in first)
            alone = theirs(x[row, at][None], given if kind == "lstm" else given[0])[0][0]
            assert torch.allclose(whole[row, at], alone, atol=1e-6)


def test_a_causal_rule_changes_nothing_ahead_and_cuts_the_way_back() -> None:
    ids, x = torch.zeros(1, 5, dtype=torch.long), torch.randn(1, 5, 3)
    ahead = Recurrent("gru", 3, 4)
    assert torch.equal(ahead(x, Flow.of(as_rule(CAUSAL), ids)), ahead(x, Flow.of(OPEN, ids)))
    assert Flow.of(as_rule(CAUSAL), ids, back=True).joined.sum() == 0


# ---- the papers' formulas --------------------------------------------------------------------------


def score(align: Alignment, s: Tensor, h: Tensor) -> Tensor:
    """Of one state and one annotation."""
    if isinstance(align.kernel, Additive):
        return align.kernel.score.weight[0] @ torch.tanh(align.q.weight @ s + align.q.bias + align.k.weight @ h)
    return s @ h if isinstance(align.k, nn.Identity) else s @ align.k.weight @ h


def context(align: Alignment, s: Tensor, annotations: Tensor) -> Tensor:
    weights = torch.stack([score(align, s, h) for h in annotations]).softmax(0)
    return sum(w * h for w, h in zip(weights, annotations, strict=True))


def cell(model: Model, x: Tensor, state: list[Tensor]) -> list[Tensor]:
    """One step of a single layer: the GRU's and the LSTM's equations, and Elman's."""
    layer = model.decoder.cells.ahead[0]
    a = layer.weight_ih_l0 @ x + layer.bias_ih_l0
    b = layer.weight_hh_l0 @ state[0] + layer.bias_hh_l0
    if isinstance(layer, nn.GRU):
        (r, z, n), (r2, z2, n2) = a.chunk(3), b.chunk(3)
        r, z = torch.sigmoid(r + r2), torch.sigmoid(z + z2)
        return [(1 - z) * torch.tanh(n + r * n2) + z * state[0]]
    if isinstance(layer, nn.LSTM):
        i, f, g, o = (a + b).chunk(4)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return [torch.sigmoid(o) * torch.tanh(c), c]
    return [torch.tanh(a + b)]


@torch.no_grad()
@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("variant", VARIANTS, ids=named)
def test_decoders_are_their_papers(variant: dict[str, Any], kind: str) -> None:
    model = tiny("recurrent", cell=kind, depth=1, **variant)
    source, target = torch.randint(5, 61, (1, 6)), torch.randint(5, 61, (1, 4))
    c, annotations = model.config, model.encode(source, Context.of())[0]
    last = annotations[0, c.width :] if c.bidirectional else annotations[-1]
    state = list(torch.tanh(model.bridge(last)).chunk(2 if kind == "lstm" else 1))
    fed, found = torch.zeros(c.width), []
    for y in model.embed(target)[0]:
        if c.attention == "bahdanau":
            seen = context(model.align, state[0], annotations)
            read = torch.cat([state[0], seen, y])
            state = cell(model, torch.cat([y, seen]), state)
            pairs = (model.decoder.readout.weight @ read + model.decoder.readout.bias).view(-1, 2)
            found.append(pairs.max(1).values)
        else:
            state = cell(model, torch.cat([y, fed]) if c.feeding else y, state)
            seen = context(model.align, state[0], annotations)
            found.append(torch.tanh(model.decoder.combine.weight @ torch.cat([seen, state[0]])))
            fed = found[-1]
    out = model(source, decoder_input_ids=target)
    assert torch.allclose(out.hidden[0], torch.stack(found), atol=1e-5)
    assert torch.allclose(out.logits[0], torch.stack(found) @ model.head.weight.T + model.head.bias, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS, ids=named)
def test_alignments_can_be_recomputed_from_what_the_kernel_saw(variant: dict[str, Any]) -> None:
    """The weights [B, T, M] of a whole translation: 1 in sum, 0 on padding, and what made the contexts."""
    model, seen = tiny("recurrent", **variant), []
    hook = lambda kernel, args, out: seen.append((kernel.weights(*args[:2], args[3], torch.arange(args[4],
        args[4] + args[0].shape[2]), args[5]), args[2], out))  # fmt: skip
    model.align.kernel.register_forward_hook(hook)
    mask = torch.tensor([[1] * 7, [0, 0, 1, 1, 1, 1, 1]])
    model(torch.randint(5, 61, (2, 7)), mask, decoder_input_ids=torch.randint(5, 61, (2, 5)))
    weights = torch.cat([w for w, _, _ in seen], 2)[:, 0]
    assert weights.shape == (2, 5, 7)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 5), atol=1e-6)
    assert not weights[1, :, :2].any()
    assert all(torch.allclose(w @ v, out, atol=1e-6) for w, v, out in seen)


@torch.no_grad()
def test_additive_attention_is_its_formula() -> None:
    """Several heads, under a mask and a bias, against plain loops; a query that sees nothing gets 0."""
    kernel, q, k, v = Additive(4), torch.randn(2, 3, 5, 4), torch.randn(2, 3, 6, 4), torch.randn(2, 3, 6, 2)
    rule = OPEN & CAUSAL & Padding(torch.tensor([[True] * 6, [False, False, True, True, True, True]]))
    out = kernel(q, k, v, rule)
    for b, h, i in itertools.product(range(2), range(3), range(5)):
        keys = [j for j in range(6) if rule.allows(i, j, b)]
        scores = [kernel.score.weight[0] @ torch.tanh(q[b, h, i] + k[b, h, j]) for j in keys]
        mean = sum(w * v[b, h, j] for w, j in zip(torch.tensor(scores).softmax(0), keys, strict=True))
        assert torch.allclose(out[b, h, i], torch.as_tensor(mean, dtype=out.dtype).expand(2), atol=1e-6)


# ---- a model like any other ------------------------------------------------------------------------


@pytest.mark.parametrize("variant", [BAHDANAU[0], LUONG[0], LUONG[3]], ids=named)
@pytest.mark.parametrize("source_vocab", [None, 70])
def test_it_comes_back_from_its_files(variant: dict[str, Any], source_vocab: int | None, tmp_path: Path) -> None:
    model = tiny("recurrent", cell="lstm", source_vocab=source_vocab, **variant)
    cutaway.save(model, tmp_path)
    again = cutaway.load(tmp_path)
    assert again.config == model.config
    ids, target = torch.randint(5, source_vocab or 61, (2, 9)), torch.randint(5, 61, (2, 5))
    assert torch.equal(again(ids, decoder_input_ids=target).logits, model(ids, decoder_input_ids=target).logits)


SETTINGS = [{"num_beams": 1}, {"num_beams": 3}, {"num_beams": 3, "num_return_sequences": 2}]


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS, ids=named)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_generation_keeps_rows_apart(variant: dict[str, Any], settings: dict[str, Any]) -> None:
    """Sources of several lengths together against each alone; the likeliest next token without a cache."""
    model = tiny("recurrent", cell="lstm", **variant)
    rows = [torch.randint(5, 61, (n,)).tolist() for n in (7, 3, 5)]
    settings = {"max_new_tokens": 6, "eos_token_id": None, "bad_words_ids": [], **settings}
    together = model.generate(rows, **settings)
    alone = torch.cat([model.generate([row], **settings) for row in rows])
    assert torch.equal(together, alone)
    if settings["num_beams"] == 1:
        for row, found in zip(rows, together, strict=True):
            ids = torch.tensor([[1]])
            for _ in range(6):
                step = model(torch.tensor([row]), decoder_input_ids=ids).logits[:, -1].argmax(-1, keepdim=True)
                ids = torch.cat([ids, step], 1)
            assert torch.equal(ids[0], found)


@torch.no_grad()
@pytest.mark.parametrize("variant", [BAHDANAU[0], *LUONG[:2]], ids=named)
def test_as_many_beams_as_tokens_find_the_best_of_all(variant: dict[str, Any]) -> None:
    """Three tokens of seven: every sequence scored without a cache."""
    model = tiny("recurrent", vocab=7, **variant)
    for layer in model.network.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.mul_(3)
    source = torch.randint(0, 7, (1, 5))
    best = model.generate(source, num_beams=49, max_new_tokens=3, eos_token_id=None)[0, 1:]
    every = torch.tensor(list(itertools.product(range(7), repeat=3)))
    given = F.pad(every[:, :-1], (1, 0), value=1)
    logp = model(source.expand(len(every), -1), decoder_input_ids=given).logits.log_softmax(-1)
    assert torch.equal(every[logp.gather(-1, every[..., None]).sum((1, 2)).argmax()], best)


def test_a_state_does_not_go_back() -> None:
    model, ids = tiny("recurrent"), torch.randint(5, 61, (2, 6))
    cache = model.cache()
    model(ids, decoder_input_ids=ids[:, :3], cache=cache)
    assert cache.length == 3
    assert cache.bytes > sum(t.numel() * 4 for t in cache.states[model.network][1:])
    with pytest.raises(ValueError, match="after 3 slots only, cannot go back to 2"):
        cache.cut(2)
    cache.cut(3)
    assert Cache().bytes == 0


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"cell": "tanh"}, "no cell 'tanh'; there are rnn, lstm, gru"),
        ({"score": "cosine"}, "'cosine' is not built here; what is: dot, general, concat"),
        ({"attention": "none"}, "'none' is not built here; what is: bahdanau, luong"),
        ({"feeding": True}, "reads its context anyway"),
        ({"width": 33}, "halves an even width"),
        ({"score": "dot"}, "bidirectional=False, or 'general'"),
    ],
)
def test_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        tiny("recurrent", **given)


def test_a_decoder_needs_a_memory() -> None:
    with pytest.raises(ValueError, match="needs a memory"):
        tiny("recurrent").decode(torch.tensor([[5]]), Context.of())


def test_the_size_of_the_paper() -> None:
    """RNNsearch-50's shapes, counted from appendix A.2: embeddings, encoder, alignment, decoder, maxout, logits."""
    m, n, v, gates = 620, 1000, 30_000, 3
    biased = lambda i, o: i * o + o
    cells = lambda i: gates * (i * n + n * n + 2 * n)
    parts = [2 * v * m, 2 * cells(m), biased(n, n), n * n + n + 2 * n * n + n, cells(m + 2 * n)]
    parts += [biased(n + 2 * n + m, n), biased(n // 2, v)]
    config = {"source_vocab": 30_000}
    with torch.device("meta"):
        network = cutaway.families.module("recurrent").NETWORK(cutaway.families.module("recurrent").Config(**config))
    assert sum(p.numel() for p in network.parameters()) == sum(parts)


def test_initial_weights() -> None:
    model = tiny("recurrent", cell="lstm")
    layer = model.decoder.cells.ahead[0]
    for gate in layer.weight_hh_l0.split(32):
        assert torch.allclose(gate @ gate.T, torch.eye(32), atol=1e-5)
    assert layer.bias_ih_l0.tolist() == [0.0] * 32 + [1.0] * 32 + [0.0] * 64
    assert not layer.bias_hh_l0.any()


@pytest.mark.parametrize("variant", [BAHDANAU[0], LUONG[0], LUONG[1]], ids=named)
def test_it_learns_to_reverse(variant: dict[str, Any]) -> None:
    """Five digits backwards, of sources never seen; the alignment looks from the end to the start."""
    model = cutaway.build("recurrent", vocab=14, embedding=16, width=48, **variant)
    adam, random = torch.optim.AdamW(model.parameters(), lr=8e-3, weight_decay=0.0), torch.Generator().manual_seed(1)
    draw = lambda n: torch.randint(4, 14, (n, 5), generator=random)
    for _ in range(220):
        source = draw(24)
        loss = model(source, labels=F.pad(source.flip(1), (0, 1), value=2)).loss
        adam.zero_grad()
        loss.backward()
        adam.step()
    test = draw(100)
    written = model.generate(test, max_new_tokens=6)
    right = [row[1:6].tolist() == goal.tolist() for row, goal in zip(written, test.flip(1), strict=True)]
    assert sum(right) >= 95
