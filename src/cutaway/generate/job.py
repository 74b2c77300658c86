"""A model, its prompts and settings as what decoding needs: a step, a process, an end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from . import processors as P
from .processors import NOTHING, Ids, Processor
from .prompts import Row, aligned
from .search import Ended, Step, beam_search, extend, greedy, sampler
from .settings import Settings, listed
from .step import NetworkStep
from .text import saying

if TYPE_CHECKING:
    from ..model import Model

NEW = 50  # new tokens, if neither the call nor the checkpoint says how many


@dataclass
class Job:
    """Decoding, ready to run once. ``prompt`` [R, N] holds every prompt as often as it has beams or results."""

    step: Step
    process: Processor
    ended: Ended
    prompt: Ids
    room: int
    ends: list[int]
    settings: Settings

    def tokens(self) -> Iterator[Int[Tensor, "R"]]:
        """The next token of all rows, again and again; NOTHING for a row that has ended."""
        s, pick = self.settings, greedy
        if s.temperature > 0:
            pick = sampler(None if s.seed is None else torch.Generator(self.prompt.device).manual_seed(s.seed))
        return extend(self.step, self.process, pick, self.ended, self.prompt, self.room)

    def beams(self) -> tuple[Int[Tensor, "B n T"], Float[Tensor, "B n"]]:
        """The best completions of each prompt, and their scores."""
        s = self.settings
        more = dict(beams=s.num_beams, ends=len(self.ends), penalty=s.length_penalty, early=s.early_stopping)
        return beam_search(self.step, self.process, self.ended, self.prompt, self.room, **more)

    def ids(self) -> Ids:
        """Prompts and new tokens, NOTHING where there is none."""
        if self.settings.num_beams == 1:
            return torch.cat([self.prompt, torch.stack(list(self.tokens()), 1)], 1)
        best = self.beams()[0][:, : self.settings.num_return_sequences].flatten(0, 1)
        return best[:, (best != NOTHING).any(0)]


def prepare(model: "Model", rows: Sequence[Row], starts: Sequence[Row] | None, s: Settings) -> Job:
    """The job of going on from ``rows``, or of an encoder-decoder that reads ``rows`` and goes on from ``starts``."""
    source = None
    if model.kind == "encoder-decoder":
        source, rows = sources(model, rows), decoder_rows(starts, len(rows), s)
    elif starts is not None:
        raise TypeError(f"{model.origin.model_type} has no decoder of its own: it takes no decoder_input_ids")
    else:
        rows = [row if len(row) else bos_row(i, s) for i, row in enumerate(rows)]
    model.checked(torch.cat([row.to(model.device) for row in rows])[None], "the prompt")
    copies = s.num_beams if s.num_beams > 1 else s.num_return_sequences
    prompt = aligned(rows, "left").to(model.device).repeat_interleave(copies, 0)
    room = room_for(model, prompt.shape[1], s)
    ends = [i for i in listed(s.eos_token_id) if 0 <= i < model.config.vocab and not s.ignore_eos]
    read = prompt if source is None else source.repeat_interleave(copies, 0)
    return Job(
        NetworkStep(model.network, room, copies, source),
        P.chain(processors(s, prompt, read, room, ends, model.config.vocab)),
        ending(model, prompt, ends, listed(s.stop)),
        prompt, room, ends, s,
    )  # fmt: skip


def sources(model: "Model", rows: Sequence[Row]) -> Int[Tensor, "B M"]:
    """What the encoder reads. Raises ValueError for a row that is empty or too long."""
    lengths = [len(row) for row in rows]
    if min(lengths) == 0:
        raise ValueError(f"row {lengths.index(0)} of the source is empty: an encoder needs a token at least")
    if model.limit is not None and max(lengths) > model.limit:
        raise ValueError(f"a source of {max(lengths)} tokens is too long: this model has positions for {model.limit}")
    model.checked(torch.cat(list(rows))[None], "input_ids")
    return aligned(rows, "right").to(model.device)


def decoder_rows(starts: Sequence[Row] | None, batch: int, s: Settings) -> list[Row]:
    """What the decoder begins with: the start token, and then ``starts``."""
    start = s.bos_token_id if s.decoder_start_token_id is None else s.decoder_start_token_id
    if starts is None and start is None:
        raise ValueError("the checkpoint names no decoder_start_token_id: give one, or decoder_input_ids")
    if starts is not None and len(starts) != batch:
        raise ValueError(f"every source needs its decoder_input_ids: {batch} sources, {len(starts)} rows of them")
    first = torch.tensor([] if start is None else [start], dtype=torch.long)
    rows = [first[:0]] * batch if starts is None else [row.cpu() for row in starts]
    return [row if len(row) and row[0] == start else torch.cat([first, row]) for row in rows]


def bos_row(i: int, s: Settings) -> Row:
    """What an empty prompt begins with."""
    if s.bos_token_id is None:
        raise ValueError(f"row {i} of the prompt is empty, and the checkpoint names no bos_token_id to begin with")
    return torch.tensor([s.bos_token_id])


def room_for(model: "Model", length: int, s: Settings) -> int:
    """How many tokens may follow a prompt of this length. Raises ValueError if none may."""
    room = NEW if s.max_new_tokens is None else s.max_new_tokens
    if s.max_new_tokens is None and s.max_length is not None:
        room = s.max_length - length
        if room < 1:
            raise ValueError(f"a prompt of {length} tokens leaves no room in max_length={s.max_length}: give max_new_tokens")
    if model.limit is not None and length >= model.limit:
        raise ValueError(f"a prompt of {length} tokens is too long: this model has positions for {model.limit} in all")
    return room if model.limit is None else min(room, model.limit - length)


def ending(model: "Model", prompt: Ids, ends: Sequence[int], stops: Sequence[str]) -> Ended:
    """Whether rows end with one of the tokens ``ends``, or have just said one of the strings ``stops``."""
    last, start, tokenizer = torch.tensor(ends, device=prompt.device), prompt.shape[1], model.tokenizer

    def ended(ids: Ids) -> Bool[Tensor, "R"]:
        over = (ids[:, -1:] == last).any(-1)
        return over if tokenizer is None or not stops else over | saying(tokenizer, stops, start, ids)

    return ended


def processors(s: Settings, prompt: Ids, source: Ids, room: int, ends: list[int], vocab: int) -> list[Processor]:
    """What the settings do to logits, in the order of transformers."""
    device, start, drawing = prompt.device, prompt.shape[1], s.temperature > 0

    def tensor(name: str, tokens: object) -> Int[Tensor, "E"]:
        for index in listed(tokens):
            if not 0 <= index < vocab:
                raise ValueError(f"{name} holds id {index}, but the vocabulary has {vocab} (0 to {vocab - 1})")
        return torch.tensor(listed(tokens), dtype=torch.long, device=device)

    least = s.min_length if s.min_new_tokens is None else start + s.min_new_tokens
    begin = start + (start == 1 and s.forced_bos_token_id is not None)
    words = [tensor("bad_words_ids", word) for word in s.bad_words_ids if list(word) not in [[i] for i in ends]]
    wanted = {
        s.repetition_penalty != 1: lambda: P.repetition(s.repetition_penalty),
    }
    return [make() for make in wanted.values()]
