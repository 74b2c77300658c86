"""An objective for the model at hand: its special ids from its tokenizer and its checkpoint."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ...model import Model
from ...text import Tokenizer
from .batch import Objective
from .denoising import Infilling, SpanCorruption
from .plain import CausalLM, MaskedLM, Seq2Seq, SequenceClassification, TokenClassification

# name -> the objective, the kind of model it is for (None: any), the head that it takes
OBJECTIVES: dict[str, tuple[type[Objective], str | None, str]] = {
    "causal-lm": (CausalLM, "decoder", "lm"),
    "masked-lm": (MaskedLM, "encoder", "masked_lm"),
    "span-corruption": (SpanCorruption, "encoder-decoder", "lm"),
    "infilling": (Infilling, "encoder-decoder", "lm"),
    "seq2seq": (Seq2Seq, "encoder-decoder", "lm"),
    "sequence-classification": (SequenceClassification, None, "sequence"),
    "token-classification": (TokenClassification, None, "token"),
}
WORDS = ("\u0120", "\u2581")  # what a word begins with: byte-level BPE's sign of a space, SentencePiece's
ENDS = tuple(".!?…。！？।؟۔")


def known(name: str) -> tuple[type[Objective], str | None, str]:
    """The entry of ``OBJECTIVES`` with this name. Raises ValueError for none."""
    if name not in OBJECTIVES:
        raise ValueError(f"no objective {name!r}; there are: {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]


def objective_for(model: Model, name: str, **options: Any) -> Objective:
    """The objective of this name (see ``OBJECTIVES``), told the model's special ids.

    ``options`` are its fields and go before what the model says; ``whole_words=True`` reads from the tokenizer which
    ids go on with a word. Raises ValueError for a name that is not known, for a model of another kind or head, and
    for an id that neither says; TypeError for an unknown option."""
    made, kind, head = known(name)
    if kind not in (None, model.kind) or model.config.head != head:
        need = f"{kind or 'model'} with head {head!r}"
        have = f"{model.kind} with head {model.config.head!r}"
        raise ValueError(f"{name} is for a {need}, but this {model.origin.model_type} is a {have}")
    names = [f.name for f in fields(made)]  # type: ignore[arg-type]
    if "continues" in names and options.pop("whole_words", False):
        options["continues"] = continuations(tokenizer_of(model, "whole_words"))
    if unknown := sorted(options.keys() - set(names)):
        raise TypeError(f"{name} has no option {unknown[0]!r}; it has: {', '.join(names)}")
    told = {field: find(model) for field, find in FROM_MODEL.items() if field in names and field not in options}
    return made(**told, **options)


def tokenizer_of(model: Model, option: str) -> Tokenizer:
    """The model's tokenizer, which is asked for an option."""
    if model.tokenizer is None:
        raise ValueError(f"{option} is read from a tokenizer, and this {model.origin.model_type} has none: give it")
    return model.tokenizer


def special_id(model: Model, *roles: str) -> int | None:
    """The id of the first of these roles that the checkpoint or the tokenizer names."""
    for role in roles:
        named = model.origin.get(f"{role}_token_id")
        named = named[0] if isinstance(named, list) and named else named
        if named is None and model.tokenizer is not None and f"{role}_token" in model.tokenizer.special:
            named = model.tokenizer.id(model.tokenizer.special[f"{role}_token"])
        if named is not None and 0 <= named < model.config.vocab:
            return int(named)
    return None


def needed(model: Model, option: str, *roles: str) -> int:
    """The same. Raises ValueError if there is none."""
    found = special_id(model, *roles)
    if found is None:
        tried = " or ".join(f"{role}_token" for role in roles)
        raise ValueError(f"neither config.json nor the tokenizer names a {tried} within the vocabulary: give {option}=")
    return found


def pad_id(model: Model) -> int:
    """What fills rows up; masks hide it, so any id does where none is named."""
    return special_id(model, "pad", "eos") or 0


def special_ids(model: Model) -> tuple[int, ...]:
    """All ids that stand for no text."""
    roles = ("pad", "bos", "eos", "cls", "sep", "mask")
    found = {i for role in roles if (i := special_id(model, role)) is not None}
    return tuple(sorted(found | (set() if model.tokenizer is None else model.tokenizer.parts.source.special_ids())))


def vocabulary(model: Model) -> int:
    """How many ids there are to draw from: padding of the embedding stands for nothing."""
    return model.config.vocab if model.tokenizer is None else min(model.config.vocab, len(model.tokenizer))


def first_sentinel(model: Model) -> int:
    """The id of ``<extra_id_0>``; the others descend from it."""
    found = tokenizer_of(model, "sentinel").id("<extra_id_0>")
    if found is None:
        raise ValueError("the tokenizer has no <extra_id_0>: give sentinel=, the highest of ids that no text uses")
    return found


def sentinel_count(model: Model) -> int:
    """How many sentinels descend from the first; T5's hundred where the tokenizer does not say."""
    if model.tokenizer is None or (first := model.tokenizer.id("<extra_id_0>")) is None:
        return 100
    return next(n for n in range(1, first + 2) if model.tokenizer.id(f"<extra_id_{n}>") != first - n)


FROM_MODEL: dict[str, Callable[[Model], Any]] = {
    "pad": pad_id,
    "mask": lambda model: needed(model, "mask", "mask"),
    "eos": lambda model: None if model.network.wraps else needed(model, "eos", "eos", "sep"),
    "bos": lambda model: special_id(model, "bos", "cls"),
    "start": lambda model: None if model.network.wraps else needed(model, "start", "decoder_start", "bos"),
    "vocab": vocabulary,
    "special": special_ids,
    "sentinel": first_sentinel,
    "sentinels": sentinel_count,
    "borders": lambda model: sentence_ends(tokenizer_of(model, "borders")),
}


def texts(tokenizer: Tokenizer) -> list[str]:
    """The token of every id, empty for special ones."""
    source = tokenizer.parts.source
    special = source.special_ids()
    return ["" if i in special else source.token(i) or "" for i in range(len(tokenizer))]


def continuations(tokenizer: Tokenizer) -> Bool[Tensor, " V"]:
    """Which ids go on with a word: WordPiece's ``##``, or those without a sign of the space before a word.

    Raises ValueError for a tokenizer that marks neither (bytes, characters)."""
    tokens = texts(tokenizer)
    if any(token.startswith("##") for token in tokens):
        return torch.tensor([token.startswith("##") for token in tokens])
    for sign in WORDS:
        if sum(token.startswith(sign) and len(token) > 1 for token in tokens) > 1:
            return torch.tensor([token != "" and not token.startswith(sign) for token in tokens])
    raise ValueError("this tokenizer does not mark where words begin, so words cannot be masked whole")


def sentence_ends(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids of full stops and their like: tokens of nothing else, but for signs of a space."""
    bare = [token.removeprefix("##").lstrip("".join(WORDS)) for token in texts(tokenizer)]
    found = tuple(i for i, token in enumerate(bare) if token and all(sign in ENDS for sign in token))
    if not found:
        raise ValueError("the tokenizer has no token that ends a sentence: give borders=, or borders=() for none")
    return found
