"""A model, its prompts and settings as what decoding needs: a step, a process, an end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from . import processors as P
from .drafts import Drafting, Small, lookup, paired
from .processors import NOTHING, Ids, Processor
from .prompts import Row, aligned
from .search import Ahead, Ended, Pick, beam_search, extend, greedy, sampler
from .settings import Settings, listed
from .step import NetworkStep
from .text import saying

if TYPE_CHECKING:
    from ..model import Model

NEW = 50  # new tokens, if neither the call nor the checkpoint says how many


@dataclass
class Job:
    """Decoding, ready to run once; ``prompt`` [R, N] holds a prompt as often as it has beams or results."""

    step: NetworkStep
    process: Processor
    pick: Pick
    ended: Ended
    prompt: Ids
    room: Int[Tensor, " R"]
    ends: list[int]
    pad: int
    settings: Settings
    ahead: Ahead | None = None

    def tokens(self) -> Iterator[Int[Tensor, " R"]]:
        """The next token of all rows, again and again; NOTHING for a row that has ended."""
        how = self.process, self.pick, self.ended, self.prompt, self.room, self.ahead
        return extend(self.step, *how)

    def beams(self) -> tuple[Int[Tensor, "B n L"], Float[Tensor, "B n"]]:
        """The best completions of each prompt, and their scores."""
        s, ends = self.settings, len(self.ends)
        how = s.num_beams, ends, s.length_penalty, s.early_stopping
        return beam_search(self.step, self.process, self.ended, self.prompt, self.room, *how)

    def ids(self) -> Ids:
        """Prompts and new tokens, NOTHING where there is none."""
        if self.settings.num_beams == 1:
            return torch.cat([self.prompt, torch.stack(list(self.tokens()), 1)], 1)
        best = self.beams()[0][:, : self.settings.num_return_sequences].flatten(0, 1)
        return best[:, (best != NOTHING).any(0)]

    def padded(self, ids: Int[Tensor, "*_"]) -> Int[Tensor, "*_"]:
        """The padding id in place of NOTHING."""
        return ids.masked_fill(ids == NOTHING, self.pad)


def prepare(model: "Model", rows: Sequence[Row], starts: Sequence[Row] | None, s: Settings) -> Job:
    """The job of going on from ``rows``; an encoder-decoder reads them, and goes on from ``starts``."""
    source, vocab = None, model.config.vocab
    if model.kind == "encoder-decoder":
        source, rows = sources(model, rows), decoder_rows(starts, rows, s)
    elif starts is not None:
        raise TypeError(f"{model.origin.model_type} has no decoder of its own: it takes no decoder_input_ids")
    else:
        rows = [row if len(row) else bos_row(i, row, s) for i, row in enumerate(rows)]
    model.checked(torch.cat(list(rows))[None], "the prompt" if source is None else "decoder_input_ids")
    copies = s.num_beams if s.num_beams > 1 else s.num_return_sequences
    prompt = aligned(rows, "left").repeat_interleave(copies, 0)
    room = prompt.new_tensor([room_for(model, len(row), s) for row in rows]).repeat_interleave(copies)
    ends = [i for i in listed(s.eos_token_id) if 0 <= i < vocab and not s.ignore_eos]
    read = prompt if source is None else source.repeat_interleave(copies, 0)
    process, pick = P.chain(processors(s, prompt, read, room, ends, vocab)), picker(s, prompt.device)
    step = NetworkStep(model.network, int(room.max()), copies, source, s.draft_tokens if s.draft else 0)
    pad = next(i for i in (s.pad_token_id, *listed(s.eos_token_id), 0) if i is not None and 0 <= i < vocab)
    job = Job(step, process, pick, ending(model, prompt, ends, listed(s.stop)), prompt, room, ends, pad, s)
    return job if s.draft is None else replace(job, ahead=drafting(model, job, rows))


def picker(s: Settings, device: torch.device) -> Pick:
    """How a token is chosen."""
    if s.temperature == 0:
        return greedy
    return sampler(None if s.seed is None else torch.Generator(device).manual_seed(s.seed), s.draft_tokens)


def drafting(model: "Model", job: Job, rows: Sequence[Row]) -> Ahead:
    """What reads ahead for a job that goes on from ``rows``. Raises ValueError for a draft that cannot be."""
    s, step, source = job.settings, job.step, job.step.source
    small = model if s.draft == "lookup" else paired(model, s.draft)
    for one in (model, small):
        if any(isinstance(part, nn.RNNBase | nn.RNNCellBase) for part in one.modules()):
            raise ValueError(f"a {one.origin.model_type} is recurrent and cannot go back to before a draft: give none")
    if small is model:
        known = None if source is None or model.network.source_vocab else source.repeat_interleave(step.copies, 0)
        return Drafting(step.again, lookup(known), s.draft_tokens)
    if source is not None:
        sources(small, [row[row != NOTHING] for row in source])
    room = min(room_for(small, len(row), s) for row in rows)
    its = NetworkStep(small.network, room, step.copies, source, s.draft_tokens)
    return Drafting(step.again, Small(its, its.again, job.process, job.pick, job.prompt.shape[1], room), s.draft_tokens)


def sources(model: "Model", rows: Sequence[Row]) -> Int[Tensor, "B M"]:
    """What the encoder reads. Raises ValueError for a row that is empty or too long."""
    lengths = [len(row) for row in rows]
    if min(lengths) == 0:
        raise ValueError(f"row {lengths.index(0)} of the source is empty: an encoder needs at least one token")
    if model.limit is not None and max(lengths) > model.limit:
        raise ValueError(f"a source of {max(lengths)} tokens is too long: there are {model.limit} positions")
    model.checked(torch.cat(list(rows))[None], "input_ids")
    return aligned(rows, "right")


def decoder_rows(starts: Sequence[Row] | None, rows: Sequence[Row], s: Settings) -> list[Row]:
    """The decoder's start token, then ``starts``. Raises ValueError if there is neither."""
    start = s.bos_token_id if s.decoder_start_token_id is None else s.decoder_start_token_id
    if start is None and starts is None:
        raise ValueError("the checkpoint names no decoder_start_token_id: give one, or decoder_input_ids")
    if starts is None:
        starts = [row[:0] for row in rows]
    if len(starts) != len(rows):
        raise ValueError(f"every source needs its decoder_input_ids: {len(rows)} sources, {len(starts)} rows")
    first = rows[0].new_tensor([] if start is None else [start])
    return [row if len(row) and row[0] == start else torch.cat([first, row]) for row in starts]


def bos_row(i: int, row: Row, s: Settings) -> Row:
    """What an empty row begins with."""
    if s.bos_token_id is None:
        raise ValueError(f"row {i} of the prompt is empty, and no bos_token_id says what to begin with")
    return row.new_tensor([s.bos_token_id])


def room_for(model: "Model", length: int, s: Settings) -> int:
    """How many tokens may follow a prompt of this length. Raises ValueError if none may."""
    room = NEW if s.max_new_tokens is None else s.max_new_tokens
    if s.max_new_tokens is None and s.max_length is not None:
        room = s.max_length - length
        if room < 1:
            raise ValueError(f"max_length={s.max_length} leaves no room after {length} tokens: give max_new_tokens")
    if model.limit is None:
        return room
    if length > model.limit:
        raise ValueError(f"a prompt of {length} tokens is too long: there are {model.limit} positions")
    return min(room, model.limit + 1 - length)  # the last token is not read again


def ending(model: "Model", prompt: Ids, ends: Sequence[int], stops: Sequence[str]) -> Ended:
    """Whether rows end with one of the tokens ``ends``, or have just said one of the strings ``stops``."""
    last, tokenizer = torch.tensor(ends, device=prompt.device), model.tokenizer
    if stops and tokenizer is None:
        raise ValueError("stop needs a tokenizer to read what was written, and this model has none")

    def ended(ids: Ids) -> Bool[Tensor, " R"]:
        over = (ids[:, -1:] == last).any(-1)
        if tokenizer is None or not stops:
            return over
        return over | saying(tokenizer, stops, prompt.shape[1], ids)

    return ended


def processors(
    s: Settings,
    prompt: Ids,
    source: Int[Tensor, "R M"],
    room: Int[Tensor, " R"],
    ends: list[int],
    vocab: int,
) -> list[Processor]:
    """What the settings do to the logits, in the order of transformers.

    Lengths count a row's own tokens, so that its padding, and with it the other rows, make no difference."""
    found: list[Processor] = []
    start, first = prompt.shape[1], (prompt == NOTHING).sum(-1)  # the slots of the first new and the first token

    def tokens(name: str, ids: Sequence[int] | int) -> Int[Tensor, " E"]:
        if odd := [i for i in listed(ids) if not 0 <= i < vocab]:
            raise ValueError(f"{name} holds id {odd[0]}, but the vocabulary has {vocab} (0 to {vocab - 1})")
        return torch.tensor(listed(ids), dtype=torch.long, device=prompt.device)

    if s.repetition_penalty != 1:
        found.append(P.repetition(s.repetition_penalty))
    if s.no_repeat_ngram_size:
        found.append(P.no_repeat_ngram(s.no_repeat_ngram_size))
    if s.encoder_no_repeat_ngram_size:
        found.append(P.no_repeat_ngram(s.encoder_no_repeat_ngram_size, source))
    single = listed(s.eos_token_id)  # an end token alone is never a bad word
    if words := [w for w in s.bad_words_ids if len(w) > 1 or w[0] not in single]:
        found.append(P.bad_words([tokens("bad_words_ids", word) for word in words]))
    least = first + s.min_length if s.min_new_tokens is None else start + s.min_new_tokens
    if ends and (s.min_new_tokens or s.min_length):
        found.append(P.suppress(tokens("eos_token_id", ends), stop=least))
    if s.forced_bos_token_id is not None:
        found.append(P.force(tokens("forced_bos_token_id", s.forced_bos_token_id), first + 1))
    if s.forced_eos_token_id is not None:
        found.append(P.force(tokens("forced_eos_token_id", s.forced_eos_token_id), start + room - 1))
    if s.suppress_tokens:
        found.append(P.suppress(tokens("suppress_tokens", s.suppress_tokens)))
    if s.begin_suppress_tokens:
        begin = start + ((first == start - 1) & (s.forced_bos_token_id is not None)).long()
        found.append(P.suppress(tokens("begin_suppress_tokens", s.begin_suppress_tokens), begin, begin + 1))
    if s.temperature > 0:
        found += shaping(s)
    if s.renormalize_logits:
        found.append(P.normalise)
    return found


def shaping(s: Settings) -> list[Processor]:
    """What shapes the distribution that is drawn from."""
    found = [P.temperature(s.temperature)]
    if s.top_k is not None:
        found.append(P.top_k(s.top_k))
    if s.top_p is not None and s.top_p < 1:
        found.append(P.top_p(s.top_p))
    if s.min_p:
        found.append(P.min_p(s.min_p))
    return found
