"""Fill in masked words with a masked language model (Devlin et al., 2018)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..model import Model
from ..text import Tokenizer


@dataclass(frozen=True)
class Guess:
    """One candidate for a mask: the token as text, its probability, and the whole text with it."""

    token: str
    id: int
    probability: float
    text: str


@torch.no_grad()
def fill(model: Model, text: str, top: int = 5) -> list[list[Guess]]:
    """The ``top`` likeliest tokens for every mask in ``text``, each mask judged with the others left masked.

    Raises ValueError when the model predicts no masked tokens, or the text holds no mask (naming how it is written)."""
    tokenizer = model.tokenizer
    if model.config.head != "masked_lm":
        raise ValueError(f"a {model.origin.model_type} with head {model.config.head!r} fills no masks: masked_lm does")
    if tokenizer is None or tokenizer.mask_token_id is None:
        raise ValueError("the model's tokenizer has no mask token" if tokenizer else "the model has no tokenizer")
    if top < 1:
        raise ValueError(f"top must be at least 1, got {top}")
    ids = torch.tensor(tokenizer.encode(text).ids)
    masks = (ids == tokenizer.mask_token_id).nonzero()[:, 0].tolist()
    if not masks:
        (mask,) = tokenizer.tokens([tokenizer.mask_token_id])
        raise ValueError(f"the text holds no mask: write {mask} where a word is to be guessed")
    chances = model(ids[None].to(model.device)).logits[0].float().softmax(-1).cpu()
    best = {slot: zip(*map(list, chances[slot].topk(top)), strict=True) for slot in masks}
    return [[guess(tokenizer, ids, slot, token, p) for p, token in best[slot]] for slot in masks]


def guess(tokenizer: Tokenizer, ids: Tensor, slot: int, token: Tensor, probability: Tensor) -> Guess:
    """The candidate ``token`` put into ``slot``."""
    filled = ids.clone()
    filled[slot] = token
    word = tokenizer.decode([int(token)], skip_special=False).strip()
    return Guess(word, int(token), float(probability), tokenizer.decode(filled.tolist()))
