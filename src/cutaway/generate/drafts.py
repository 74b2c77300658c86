"""Drafts: tokens guessed cheaply, which a model then reads in one pass (Leviathan et al., 2023; Chen et al., 2023).

A draft changes no token. The model picks every token itself, and has read ahead as far as the guesses were its picks.
A slot's luck is the same for the draft and the model (Daliri et al., 2024), so a good draft guesses draws, too: the
law of what is drawn is the model's by construction, and a seed gives the same tokens with any draft or none."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .processors import NOTHING, Ids, Processor
from .search import Pick, Step

if TYPE_CHECKING:
    from ..model import Model

Guess = Int[Tensor, "R g"]
# draft(ids, n): up to n guesses [R, g] of what follows, NOTHING from where a row has none: at once if its last id is.
Draft = Callable[[Ids, int], Guess]
# again(ids, at): the logits after each of these, which stand from slot ``at`` on; what stood there is forgotten.
Again = Callable[[Ids, int], Float[Tensor, "R n V"]]

PROBES = 64  # ids that are compared to tell another tokenizer
GRAM, LEAST = 3, 2  # how many tokens are compared to find where the text stood before, and how many must be the same


@dataclass(frozen=True)
class Drafting:
    """Reads the last token and up to ``tokens`` guesses of what follows: their logits, and the guesses.

    All rows have as many guesses as the row that has fewest, for they share their slots."""

    again: Again
    draft: Draft
    tokens: int

    def __call__(self, ids: Ids, over: Bool[Tensor, " R"], spare: int) -> tuple[Float[Tensor, "R n V"], Guess]:
        most = min(self.tokens, spare)
        guess = self.draft(ids, most) if most else ids[:, :0]
        known = (guess != NOTHING).sum(-1).masked_fill(over, most).min()
        guess = guess[:, :known]
        return self.again(torch.cat([ids[:, -1:], guess], 1), ids.shape[1] - 1), guess


def lookup(source: Int[Tensor, "R M"] | None = None) -> Draft:
    """What followed where the row's last tokens, or those of its ``source``, stood before (Saxena, 2023).

    Of the places that share LEAST tokens or more with the end, up to GRAM, one that shares most counts, and of these
    the latest. What followed may reach the end, and then begins again: a text that repeats itself is to go on so."""

    def draft(ids: Ids, n: int) -> Guess:
        text = ids if source is None else torch.cat([source, ids], 1)
        text = F.pad(text, (GRAM, 0), value=NOTHING)
        end = text.shape[1]
        same = (text[:, :-1].unfold(1, GRAM, 1) == text[:, None, -GRAM:]) & (text[:, None, -GRAM:] != NOTHING)
        shared = same.flip(-1).cumprod(-1).sum(-1)  # tokens that end at each place as the row ends
        places = torch.arange(GRAM, end, device=ids.device)
        after = (shared * end + places).argmax(-1, keepdim=True)
        begin = places[after]
        guess = text.gather(1, begin + torch.arange(n, device=ids.device) % (end - begin))
        return guess.where((shared.gather(1, after) >= LEAST) & (guess != NOTHING).cummin(-1).values, NOTHING)

    return draft


def paired(model: "Model", draft: object) -> "Model":
    """``draft`` if it can draft for ``model``. Raises TypeError for what is no model, ValueError for one of other
    tokens, on another device, or the same."""
    if not isinstance(draft, type(model)):
        raise TypeError(f"draft must be 'lookup' or a model as cutaway.load gives it, not {type(draft).__name__}")
    if draft.network is model.network:
        raise ValueError("a model cannot be its own draft: that saves nothing; give a smaller one, or 'lookup'")
    for what, ours, its in (
        ("kind", model.kind, draft.kind),
        ("head", model.config.head, draft.config.head),
        ("vocabulary", model.config.vocab, draft.config.vocab),
        ("source vocabulary", model.network.source_vocab, draft.network.source_vocab),
        ("device", model.device, draft.device),
    ):
        if ours != its:
            raise ValueError(f"a draft must have the model's {what}: the model's is {ours}, the draft's {its}")
    if model.tokenizer is not None and draft.tokenizer is not None:
        for i in range(0, model.config.vocab, 1 + model.config.vocab // PROBES):
            ours, its = (one.decode([i], skip_special=False) for one in (model.tokenizer, draft.tokenizer))
            if ours != its:
                raise ValueError(f"a draft must have the model's tokens: id {i} is {ours!r}, the draft's {its!r}")
    return draft


class Small:
    """The guesses of a smaller model, picked as the model's own tokens are: ``process`` and ``pick`` are shared.

    ``prompt`` slots come before the first new token, ``room`` is how many tokens it has positions for."""

    def __init__(self, step: Step, again: Again, process: Processor, pick: Pick, prompt: int, room: int):
        self.step, self.again, self.process, self.pick = step, again, process, pick
        self.prompt, self.room, self.read = prompt, room, 0

    def __call__(self, ids: Ids, n: int) -> Guess:
        end = ids.shape[1]
        n = min(n, self.prompt + self.room - end)
        if n < 1:
            return ids[:, :0]
        if self.read == 0:
            self.step(ids[:, : self.prompt], None)
            self.read = self.prompt
        at = min(self.read, end - 1)
        over, text = ids[:, -1] == NOTHING, ids
        logits = self.again(ids[:, at:], at)
        for slot in range(end, end + n):
            token = self.pick(self.process(logits[:, -1], text), slot).masked_fill(over, NOTHING)
            text, self.read = torch.cat([text, token[:, None]], 1), slot
            if slot + 1 < end + n:
                logits = self.again(text[:, slot:], slot)
        return text[:, end:]
