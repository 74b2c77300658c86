"""What is done to the next token's logits before one is chosen: each a tiny function (logits, ids) -> logits.

``ids`` are the rows so far, prompt included, with NOTHING where a row has no token (padding)."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

Logits = Float[Tensor, "R V"]
Ids = Int[Tensor, "R T"]
Processor = Callable[[Logits, Ids], Logits]

NOTHING = -1  # in place of an id: no token


def chain(processors: Sequence[Processor]) -> Processor:
    """One after the other."""

    def process(logits: Logits, ids: Ids) -> Logits:
        for processor in processors:
            logits = processor(logits, ids)
        return logits

    return process


def among(ids: Int[Tensor, "R _"], logits: Logits) -> Bool[Tensor, "R V"]:
    """Which tokens of the vocabulary stand in each row of ``ids``."""
    vocab = logits.shape[1]
    found = torch.zeros(len(logits), vocab + 1, dtype=torch.bool, device=logits.device)
    return found.scatter_(1, ids.remainder(vocab + 1), True)[:, :vocab]  # NOTHING falls into the spare column


def ban(logits: Logits, ids: Int[Tensor, "R _"]) -> Logits:
    """-inf for every token that stands in a row of ``ids``."""
    return logits.masked_fill(among(ids, logits), -math.inf)


def repetition(penalty: float) -> Processor:
    """``l / penalty`` if l > 0, else ``l · penalty``, for tokens that the row has (Keskar et al., 2019)."""

    def process(logits: Logits, ids: Ids) -> Logits:
        lower = torch.where(logits < 0, logits * penalty, logits / penalty)
        return torch.where(among(ids, logits), lower, logits)

    return process


def no_repeat_ngram(n: int, source: Int[Tensor, "R M"] | None = None) -> Processor:
    """No n tokens in a row that the row, or ``source``, has already (Paulus et al., 2017)."""

    def process(logits: Logits, ids: Ids) -> Logits:
        text, end = ids if source is None else source, ids.shape[1]
        if end < n - 1 or text.shape[1] < n:
            return logits
        grams = text.unfold(1, n, 1)
        match = (grams[..., :-1] == ids[:, None, end - n + 1 :]).all(-1)
        return ban(logits, grams[..., -1].where(match, NOTHING))

    return process


def bad_words(words: Sequence[Int[Tensor, " _"]]) -> Processor:
    """None of these sequences of tokens: their last is banned where the others have just come."""
    by_length: dict[int, list[Tensor]] = {}
    for word in words:
        by_length.setdefault(len(word), []).append(word)
    groups = [torch.stack(group) for group in by_length.values()]

    def process(logits: Logits, ids: Ids) -> Logits:
        end = ids.shape[1]
        for group in groups:
            before = group.shape[1] - 1
            if before <= end:
                match = (group[:, :-1] == ids[:, None, end - before :]).all(-1)
                logits = ban(logits, group[:, -1].where(match, NOTHING))
        return logits

    return process


Slots = Int[Tensor, " R"] | int | float


def suppress(tokens: Int[Tensor, " E"], start: Slots = 0, stop: Slots = math.inf) -> Processor:
    """None of these tokens in the slots ``start`` up to ``stop``, of all rows or of each."""

    def process(logits: Logits, ids: Ids) -> Logits:
        now = torch.as_tensor((start <= ids.shape[1]) & (ids.shape[1] < stop), device=logits.device)
        return torch.where(now[..., None], logits.index_fill(1, tokens, -math.inf), logits)

    return process


def force(tokens: Int[Tensor, " E"], at: Slots) -> Processor:
    """One of these tokens in the slot ``at``, of all rows or of each."""

    def process(logits: Logits, ids: Ids) -> Logits:
        now = torch.as_tensor(at == ids.shape[1], device=logits.device)
        forced = torch.full_like(logits, -math.inf).index_fill(1, tokens, 0)
        return torch.where(now[..., None], forced, logits)

    return process


def temperature(t: float) -> Processor:
    """``l / t``: flatter above 1, sharper below."""
    return lambda logits, ids: logits / t


def top_k(k: int) -> Processor:
    """Only the k most probable (Fan et al., 2018); all of them where several share the last place."""

    def process(logits: Logits, ids: Ids) -> Logits:
        least = logits.topk(min(k, logits.shape[1])).values[:, -1:]
        return logits.masked_fill(logits < least, -math.inf)

    return process


def top_p(p: float) -> Processor:
    """Only the fewest most probable that together have probability p (Holtzman et al., 2020)."""

    def process(logits: Logits, ids: Ids) -> Logits:
        ordered, order = logits.sort(descending=True, stable=True)
        share = ordered.softmax(-1)
        beyond = share.cumsum(-1) - share >= p
        return logits.masked_fill(beyond.scatter(1, order, beyond), -math.inf)

    return process


def min_p(p: float) -> Processor:
    """Only those at least p times as probable as the most probable (Nguyen et al., 2024)."""
    return lambda logits, ids: logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(p), -math.inf)


def normalise(logits: Logits, ids: Ids) -> Logits:
    """Log-probabilities again, after others have changed them."""
    return F.log_softmax(logits, -1)
