"""Quantisation after training: which matrices of a model are put in 8 or 4 bits, and what that does to its answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, gcd
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from .kernels import Additive
from .kernels.packed import GROUPS, blank, pack
from .model import Model
from .output import IGNORED
from .parts import Learned, MixtureOfExperts, Network, RelativeBias, Unembed
from .parts.heads import Classifier, QuantizedUnembed
from .parts.quantized import Quantized, QuantizedEmbedding, QuantizedLinear

KINDS: list[tuple[type[nn.Module], type[Quantized]]] = [
    (nn.Linear, QuantizedLinear),
    (nn.Embedding, QuantizedEmbedding),
    (Unembed, QuantizedUnembed),
]
EVERY = 7  # of a masked language model's tokens, one is hidden
WORST = 5  # matrices that are shown


def quantize(model: Model, how: str = "int8", group: int | None = None) -> Model:
    """Put a model's matrices in 8 ("int8") or 4 bits ("int4"), a scale for every ``group`` inputs (64, 32), in place.

    These are all linear products, token embeddings and unembeddings, once each; positions, norms, biases, routers,
    recurrent cells, convolutions and classifiers stay as they are. Raises ValueError that names what cannot be
    quantised; the model is then as it was. Returns the model."""
    convert(model.network, how, group)
    return model


def convert(network: Network, how: str, group: int | None = None) -> None:
    """As :func:`quantize` does with a model's network; of one on the meta device, the shapes."""
    parts = chosen(network)
    refuse(network, parts, how, group)
    made: dict[nn.Module, Quantized] = {}
    for name, part in parts.items():
        kind = next(new for old, new in KINDS if isinstance(part, old))
        assert isinstance(part.weight, Tensor)  # of every part that is chosen
        try:
            made[part] = kind(part, pack(part.weight, how, group))
        except ValueError as error:
            raise ValueError(f"{name} cannot be quantised: {error}") from error
    for name, part in list(network.named_modules(remove_duplicate=False)):
        if part in made:
            network.set_submodule(name, made[part])
        elif isinstance(part, Unembed) and part.tied[0] in made:
            embedding = made[part.tied[0]]
            assert isinstance(embedding, QuantizedEmbedding)
            part.tied = (embedding,)


def chosen(network: Network) -> dict[str, nn.Module]:
    """The parts whose matrices are quantised, by name."""
    stays: set[nn.Module] = set()
    for part in network.modules():
        match part:
            case MixtureOfExperts():
                stays.add(part.router)
            case Additive():
                stays.add(part.score)
            case Classifier():
                stays.add(part.linear)
            case RelativeBias():
                stays.add(part.table)
            case Learned():
                stays.add(part)
    tokens = (network.config.vocab, network.source_vocab)
    return {
        name: part
        for name, part in network.named_modules()
        if part not in stays
        and (
            isinstance(part, nn.Linear)
            or (isinstance(part, nn.Embedding) and part.num_embeddings in tokens)
            or (isinstance(part, Unembed) and part.tied[0] is None)
        )
    }


def refuse(network: Network, parts: dict[str, nn.Module], how: str, group: int | None) -> None:
    """Raises ValueError for what cannot be quantised, by name."""
    if (said := described(network)) is not None:
        raise ValueError(f"the model is quantised already, {said['how']} in groups of {said['group']}")
    blank((1, 2), how, 2)  # an unknown word before all else
    for name, part in parts.items():
        if any(of not in ("weight", "bias") for of, _ in part.named_parameters(recurse=False)):
            raise ValueError(f"{name} is a {type(part).__name__}, with more than a matrix and a bias: merge it first")
    widths = {name: part.weight.shape[1] for name, part in parts.items() if isinstance(part.weight, Tensor)}
    size, step = GROUPS[how] if group is None else group, 2 if how == "int4" else 1
    if wrong := [name for name, width in widths.items() if size < 1 or width % size or size % step]:
        common = gcd(*widths.values())
        fitting = [d for d in range(step, min(common, max(size, step)) + 1, step) if common % d == 0]
        more = f" (nor those of {len(wrong) - 1} more)" if wrong[1:] else ""
        best = f"group={max(fitting, key=lambda d: (d & -d, d))} would do for all" if fitting else f"no {how} would do"
        raise ValueError(f"{wrong[0]} has {widths[wrong[0]]} inputs, no whole {how} groups of {size}{more}; {best}")


def quantized(network: nn.Module) -> dict[str, Quantized]:
    """The quantised parts by name."""
    return {name: part for name, part in network.named_modules() if isinstance(part, Quantized)}


def described(network: nn.Module) -> dict[str, Any] | None:
    """``how`` and ``group`` of a quantised network, None of another. Raises ValueError where parts differ."""
    found = {(part.how, part.group) for part in quantized(network).values()}
    if len(found) > 1:
        raise ValueError(f"parts of one model are quantised in several ways: {sorted(found)}")
    return next(({"how": how, "group": group} for how, group in found), None)


def refuse_codes(model: Model) -> None:
    """Raises ValueError for a model that cannot learn, as it is quantised."""
    if found := quantized(model.network):
        raise ValueError(f"{next(iter(found))} is quantised, and codes do not learn: train the model it was made of")


@dataclass(frozen=True)
class Comparison:
    """What quantisation does to a model's answers: ``before`` and ``after`` where there are two numbers.

    ``difference`` is the largest between two logits (of a model without: hidden states), ``relative`` that of all,
    ``‖after - before‖ / ‖before‖``. With a vocabulary, ``perplexity`` of the texts, ``agreement`` the share of tokens
    with the same likeliest, ``divergence`` the mean ``KL(before ‖ after)`` in nats. ``errors`` is of every matrix
    ``‖W' - W‖ / ‖W‖``."""

    bytes: tuple[int, int]
    difference: float
    relative: float
    perplexity: tuple[float, float] | None
    agreement: float | None
    divergence: float | None
    errors: dict[str, float]

    def __str__(self) -> str:
        before, after = self.bytes
        rows = [("bytes", f"{before:,}", f"{after:,}", f"{after / before:.1%}")]
        if self.perplexity is not None:
            one, two = self.perplexity
            rows += [("perplexity", f"{one:.4f}", f"{two:.4f}", f"{two / one - 1:+.2%}")]
        wide = [max(len(row[i]) for row in rows) for i in range(4)]
        table = [f"{'':<{wide[0]}}  {'before':>{wide[1]}}  {'after':>{wide[2]}}"]
        table += [f"{a:<{wide[0]}}  {b:>{wide[1]}}  {c:>{wide[2]}}  {d:>{wide[3]}}" for a, b, c, d in rows]
        table += [f"answers differ by {self.difference:.4g} at most, by {self.relative:.2%} on the whole"]
        if self.agreement is not None:
            table += [f"the likeliest token is the same {self.agreement:.1%} of the time"]
            table += [f"divergence {self.divergence:.2e} nats a token"]
        worst = sorted(self.errors.items(), key=lambda item: -item[1])[:WORST]
        return "\n".join([*table, "the matrices that change most", *(f"  {e:6.2%}  {n}" for n, e in worst)])


@torch.no_grad()
def compare(before: Model, after: Model, texts: Sequence[str | Int[Tensor, " _"]], length: int = 256) -> Comparison:
    """A model against the same model quantised, on texts or rows of ids, ``length`` tokens at a time.

    A decoder predicts each next token; of a masked language model every seventh token is hidden; an encoder-decoder
    reads a text and is asked for the same. Raises ValueError where there is no text, or no tokenizer to read it."""
    found, top = torch.zeros(7, dtype=torch.float64), 0.0
    for ids in rows(before, texts, length):
        (a, targets), (b, _) = answers(before, ids), answers(after, ids)
        top = max(top, float((b - a).abs().max()))
        found += sums(a.cpu(), b.cpu(), targets.cpu())
    gap, size, tokens, one, two, divergence, same = found.tolist()
    told = tokens > 0
    return Comparison(
        bytes=(held(before), held(after)),
        difference=top,
        relative=(gap / size) ** 0.5,
        perplexity=(exp(one / tokens), exp(two / tokens)) if told else None,
        agreement=same / tokens if told else None,
        divergence=divergence / tokens if told else None,
        errors=errors(before.network, after.network),
    )


def rows(model: Model, texts: Sequence[str | Int[Tensor, " _"]], length: int) -> list[Int[Tensor, " _"]]:
    """The ids of texts, in pieces of at most ``length`` and of at least two."""
    found: list[Tensor] = []
    for text in texts:
        if not isinstance(text, str):
            ids = text
        elif model.tokenizer is None:
            raise ValueError(f"this {model.origin.model_type} has no tokenizer: give rows of ids")
        else:
            ids = torch.tensor(model.tokenizer.encode(text).ids)
        found += [row for row in ids.split(min(length, model.limit or length)) if len(row) > 1]
    if not found:
        raise ValueError("there is nothing to compare on: no text of at least two tokens")
    return [row.to(model.device) for row in found]


def answers(model: Model, ids: Int[Tensor, " N"]) -> tuple[Float[Tensor, "*N"], Int[Tensor, " M"]]:
    """What a model says of a row, and the token that each logit is to tell, IGNORED where there is none."""
    head, nothing = model.config.head, torch.full_like(ids, IGNORED)
    given, targets = ids, nothing
    if head == "masked_lm" and model.tokenizer is not None and model.tokenizer.mask_token_id is not None:
        hidden = torch.arange(len(ids), device=ids.device) % EVERY == 1
        given, targets = ids.where(~hidden, model.tokenizer.mask_token_id), ids.where(hidden, IGNORED)
    elif head == "lm":
        targets = ids if model.kind == "encoder-decoder" else torch.cat([ids[1:], nothing[:1]])
    labels = ids[None] if model.kind == "encoder-decoder" and head not in ("sequence", "question") else None
    out = model(given[None], labels=labels)
    return (out.hidden if out.logits is None else out.logits)[0].float(), targets


def sums(a: Float[Tensor, "*N"], b: Float[Tensor, "*N"], targets: Int[Tensor, " M"]) -> Float[Tensor, "7"]:
    """Of a row: squared differences, squares, targets, both negative log-likelihoods, KL, likeliest tokens alike."""
    told, found = targets != IGNORED, torch.zeros(7, dtype=torch.float64)
    found[:3] = torch.stack([(b - a).square().sum(), a.square().sum(), told.sum()])
    if told.any():
        p, q = (x[told].log_softmax(-1) for x in (a, b))
        nats = [F.nll_loss(x, targets[told], reduction="sum") for x in (p, q)]
        alike = (p.argmax(-1) == q.argmax(-1)).sum()
        found[3:] = torch.stack([*nats, F.kl_div(q, p, reduction="sum", log_target=True), alike])
    return found


def held(model: Model) -> int:
    """Bytes of a model's parameters and buffers, each once."""
    tensors = {id(t): t.nbytes for t in (*model.parameters(), *model.buffers())}
    return sum(tensors.values())


def errors(before: Network, after: Network) -> dict[str, float]:
    """``‖W' - W‖ / ‖W‖`` of every matrix that is quantised in ``after``, made dense some rows at a time."""
    found = {}
    for name, part in quantized(after).items():
        packed, weight = part.packed, before.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        gap = sum(float((packed[at].dense() - weight[at].float()).square().sum()) for at in packed.pieces())
        found[name] = (gap / max(float(weight.float().square().sum()), 1e-30)) ** 0.5
    return found
