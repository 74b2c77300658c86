"""Contracts that every Transformer keeps, tried on the model at hand: no leaks, padding, batches, cache, packing."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from . import families, hub
from .kernels import Softmax
from .model import Model, Output
from .parts import Attention, Context, EncoderDecoder
from .scores import OPEN, Documents

# Largest difference, relative to the largest number compared, that rounding alone explains.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
LENGTH = 12


@dataclass(frozen=True)
class Finding:
    """One contract: ``figure`` against ``limit`` (None where the contract has no meaning for this model)."""

    contract: str
    figure: float | None
    limit: float
    look_at: str

    @property
    def kept(self) -> bool:
        return self.figure is None or self.figure <= self.limit  # NaN is not


class Subject:
    """The model under test, and the few ways the contracts call it."""

    def __init__(self, model: Model):
        self.model, vocab = model, model.config.vocab
        self.vocab = min(vocab, model.network.source_vocab or vocab)
        self.pad = model.origin.get("pad_token_id") or 0
        self.ends = model.origin.get("eos_token_id")
        self.halves = model.kind == "encoder-decoder"
        self.limit = TOLERANCE.get(model.dtype, 1e-4)
        self.random = torch.Generator().manual_seed(0)

    def ids(self, *lengths: int) -> list[Int[Tensor, " N"]]:
        """Rows of distinct ids, as far as the vocabulary goes; never padding."""
        rows = []
        for n in lengths:
            pool = torch.randperm(self.vocab, generator=self.random)
            row = pool[pool != self.pad].repeat(1 + n // max(self.vocab - 1, 1))[:n]
            if self.model.network.summary == "eos" and isinstance(self.ends, int):
                row[-1] = self.ends
            rows.append(row.to(self.model.device))
        return rows

    def call(self, ids: Tensor, mask: Tensor | None = None, target: Tensor | None = None) -> Output:
        """The whole model; an encoder-decoder reads ``target``, or its first tokens again."""
        if not self.halves or self.model.config.head == "sequence":
            return self.model(ids, mask)
        return self.model(ids, mask, decoder_input_ids=ids[:, :4] if target is None else target)

    def reads(self, ids: Tensor, ctx: Context) -> Float[Tensor, "B N D"]:
        """Hidden states of the half that reads a text by itself, under a context of our own."""
        network = self.model.network
        return network.encode(ids, ctx) if isinstance(network, EncoderDecoder) else network(ids, ctx)


def main(out: Output) -> Tensor:
    """What a call is judged by."""
    for value in (out.logits, out.start_logits, out.pooled):
        if value is not None:
            return value
    return out.hidden


def gap(a: Tensor, b: Tensor) -> float:
    """Max abs difference, relative to the largest number of ``b``."""
    return ((a - b).abs().max() / b.abs().max().clamp(min=1e-6)).item()


@contextmanager
def leaves(network: nn.Module, ids: Tensor) -> Iterator[list[Tensor]]:
    """Cut the graph behind every embedding of ``ids``, so that gradients stop at the tokens."""
    found: list[Tensor] = []

    def cut(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
        if args[0].shape == ids.shape and torch.equal(args[0], ids):
            found.append(out.detach().requires_grad_())
            return found[-1]
        return None

    hooks = [m.register_forward_hook(cut) for m in network.modules() if isinstance(m, nn.Embedding)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def future(s: Subject) -> float | None:
    """The largest gradient of an earlier position's output with respect to a later token."""
    if s.model.kind == "encoder":
        return None
    (row,) = s.ids(LENGTH)
    source, ids = row.flip(0)[None], row[None]
    with torch.enable_grad(), leaves(s.model.network, ids) as tokens:
        out = s.model(source, decoder_input_ids=ids) if s.halves else s.model(ids)
        if not tokens:
            raise ValueError("no embedding reads the ids, so nothing can be traced back to them")
        hidden = out.logits if out.logits is not None and out.logits.ndim == 3 else out.hidden
        worst = 0.0
        for i in range(LENGTH - 1):
            weight = torch.randn(hidden.shape[-1], generator=s.random).to(hidden)
            (grad,) = torch.autograd.grad((hidden[0, i] * weight).sum(), tokens[-1], retain_graph=True)
            worst = max(worst, grad[0, i + 1 :].abs().max().item())
    return worst


def padding(side: str) -> Callable[[Subject], float | None]:
    def contract(s: Subject) -> float | None:
        """Each row alone against all of them padded to one length."""
        rows = s.ids(LENGTH, LENGTH - 4, 5)
        ids = torch.full((len(rows), LENGTH), s.pad, device=rows[0].device)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            place = slice(LENGTH - len(row), None) if side == "left" else slice(0, len(row))
            ids[i, place], mask[i, place] = row, 1
        target = torch.stack([row[:4] for row in rows])
        whole = main(s.call(ids, mask, target))
        worst = []
        for i, row in enumerate(rows):
            alone = main(s.call(row[None], None, target[i : i + 1]))[0]
            per_token = not s.halves and whole[i].shape[:1] == mask[i].shape
            worst.append(gap(whole[i][mask[i].bool()] if per_token else whole[i], alone))
        return max(worst)

    return contract


def mates(s: Subject) -> float:
    """A row alone against the same row among others."""
    rows = torch.stack(s.ids(LENGTH, LENGTH, LENGTH))
    return max(gap(main(s.call(rows))[i], main(s.call(rows[i : i + 1]))[0]) for i in range(len(rows)))


def cached(*splits: int) -> Callable[[Subject], float | None]:
    def contract(s: Subject) -> float | None:
        """With a cache, in pieces, against all at once; rows are padded on the left."""
        if s.model.kind == "encoder":
            return None
        rows = s.ids(LENGTH, LENGTH)
        ids, mask = torch.stack(rows), torch.ones(2, LENGTH, dtype=torch.long, device=rows[0].device)
        ids[1, :3], mask[1, :3] = s.pad, 0
        name = "decoder_" if s.halves else ""
        fixed = {"input_ids": ids.flip(1), "attention_mask": mask.flip(1)} if s.halves else {}
        whole = main(s.model(**fixed, **{f"{name}input_ids": ids, f"{name}attention_mask": mask}))
        if whole.ndim < 3:
            return None
        cache, at, parts = s.model.cache(), 0, []
        for n in splits:
            new = {f"{name}input_ids": ids[:, at : at + n], f"{name}attention_mask": mask[:, : at + n]}
            parts.append(main(s.model(**fixed, **new, cache=cache)))
            at += n
        return gap(torch.cat(parts, 1)[mask.bool()], whole[mask.bool()])

    return contract


def packed(s: Subject) -> float:
    """Two documents in one row, told apart by the rule, against each by itself."""
    a, b = s.ids(LENGTH - 5, 5)
    documents = torch.tensor([[0] * len(a) + [1] * len(b)], device=a.device)
    positions = torch.cat([torch.arange(len(a)), torch.arange(len(b))])[None].to(a.device)
    both = s.reads(torch.cat([a, b])[None], Context(OPEN & Documents(documents), positions, positions))[0]
    alone = [s.reads(row[None], Context(OPEN))[0] for row in (a, b)]
    return max(gap(both[: len(a)], alone[0]), gap(both[len(a) :], alone[1]))


def kernels(s: Subject) -> float:
    """The kernel that runs against the formula written out."""
    (row,) = s.ids(LENGTH)
    fast = main(s.call(row[None]))
    before = {m: m.how for m in s.model.modules() if isinstance(m, Softmax)}
    try:
        for m in before:
            m.how = "eager"
        return gap(fast, main(s.call(row[None])))
    finally:
        for m, how in before.items():
            m.how = how


def saved(s: Subject) -> float | None:
    """Written to a folder and read back: every tensor the same, every output the same."""
    if s.model.origin.model_type not in families.MODEL_TYPES:
        return None
    (row,) = s.ids(LENGTH)
    with tempfile.TemporaryDirectory() as folder:
        try:
            hub.save(s.model, Path(folder) / "model")
        except KeyError:  # parts that the published format has no place for
            return float("inf")
        again = hub.load(Path(folder) / "model", device=s.model.device)
        before, after = s.model.state_dict(), again.state_dict()
        if before.keys() != after.keys() or any(not torch.equal(before[n], after[n]) for n in before):
            return float("inf")
        return gap(main(Subject(again).call(row[None])), main(s.call(row[None])))


def trained(s: Subject) -> float:
    """How many parameters get no gradient, one of nothing but zeros, or one that is not finite."""
    parameters = {n: p for n, p in s.model.network.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        out = s.call(torch.stack(s.ids(LENGTH, LENGTH, LENGTH)))
        values = [t for t in (out.logits, out.start_logits, out.end_logits, out.pooled) if t is not None]
        noise = lambda t: torch.randn(t.shape, generator=s.random).to(t.device)
        losses = [(t.float() * noise(t)).sum() for t in (*values, out.hidden)]
        grads = torch.autograd.grad(losses, list(parameters.values()), allow_unused=True)
    # a key's bias without rotary positions moves all scores of a row alike, so its gradient is 0 but for rounding
    idle = {f"{n}.k.bias" for n, m in s.model.network.named_modules() if isinstance(m, Attention) and m.rotary is None}
    useless = lambda name, grad: grad is None or not grad.isfinite().all() or (name not in idle and not grad.any())
    return float(sum(bool(useless(*pair)) for pair in zip(parameters, grads, strict=True)))


def finite(s: Subject) -> float:
    """How many tensors hold NaN or infinity."""
    return float(sum(not t.isfinite().all() for t in s.model.state_dict().values()))


# name, contract, whether the figure must be 0, what to look at when it is broken
CONTRACTS: list[tuple[str, Callable[[Subject], float | None], bool, str]] = [
    ("weights are finite", finite, True, "the checkpoint: NaN or infinite weights"),
    ("nothing leaks from the future", future, True, "stack.mask, and anything that mixes tokens outside attention"),
    ("right padding changes nothing", padding("right"), False, "whether every attention uses ctx.rule, the padding"),
    ("left padding changes nothing", padding("left"), False, "positions: they come from ctx.places, not from slots"),
    ("batch mates change nothing", mates, False, "anything computed over the batch axis; dropout that is on in eval"),
    ("cached equals uncached", cached(*[1] * LENGTH), False, "ctx.at in positions, and what cache.put is given"),
    ("also several tokens at once", cached(5, 4, 3), False, "the mask of a chunk: queries start at slot ctx.at, not 0"),
    ("packed documents are apart", packed, False, "whether every attention uses ctx.rule, and positions start again"),
    ("kernels agree", kernels, False, "the kernel (model.modules() of class Softmax): scale, mask, or its lowering"),
    ("save and load are exact", saved, True, "the family's rows: a layout whose save is not the inverse of its load"),
    ("every parameter gets a gradient", trained, True, "parameters that forward does not use, or uses detached"),
]


def check(model: Model) -> list[Finding]:
    """Try every contract on ``model``; its weights, mode and gradients' absence are as before afterwards.

    Figures are relative differences, gradients, or counts (see each contract); ``kept`` says whether all is well."""
    subject, training = Subject(model), model.training
    model.eval()
    try:
        with torch.no_grad():
            found = [(name, contract(subject), exact, hint) for name, contract, exact, hint in CONTRACTS]
    finally:
        model.train(training)
    return [Finding(name, figure, 0.0 if exact else subject.limit, hint) for name, figure, exact, hint in found]
