"""Decoding: greedy, sampling, and beam search (Graves, 2012; with length normalisation: Wu et al., 2016).

No function here knows a model. ``step(ids, rows)`` reads new tokens [R, n] and gives the logits [R, V] of the
next, after row i has become a copy of row ``rows[i]`` (None: all stay); ``process(logits, ids)`` changes them;
``ended(ids)`` says which rows are complete, and ``room`` [R] how many new tokens a row may get."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .processors import NOTHING, Ids, Logits, Processor

Step = Callable[[Ids, Tensor | None], Logits]
Ended = Callable[[Ids], Bool[Tensor, " R"]]
Pick = Callable[[Logits, int], Int[Tensor, " R"]]
Ahead = Callable[[Ids, Bool[Tensor, " R"], int], tuple[Float[Tensor, "R n V"], Int[Tensor, "R g"]]]

BLOCK = 64  # numbers of which a search looks at the largest first
NEVER = -1e9  # the score of what must not be chosen: finite, so that such scores still add up


def greedy(logits: Logits, slot: int) -> Int[Tensor, " R"]:
    """The most probable token."""
    return logits.argmax(-1)


def sampler(generator: torch.Generator | None = None, ahead: int = 0) -> Pick:
    """A token drawn with its probability: ``argmax p / e`` for times e that are Exponential(1), drawn for each slot.

    The last ``ahead`` slots keep their times, so that who guesses a slot has the luck of who picks it. Raises
    ValueError where no token is left."""
    times: dict[int, Tensor] = {}

    def pick(logits: Logits, slot: int) -> Int[Tensor, " R"]:
        if slot not in times:
            times.pop(slot - ahead - 1, None)
            times[slot] = torch.empty_like(logits).exponential_(generator=generator)
        best, token = (logits.softmax(-1) / times[slot]).max(-1)
        if best.isnan().any():
            raise ValueError("the settings leave no token to draw: every logit is -inf, or one is NaN")
        return token

    return pick


def extend(
    step: Step,
    process: Processor,
    pick: Pick,
    ended: Ended,
    prompt: Ids,
    room: Int[Tensor, " R"],
    ahead: Ahead | None = None,
) -> Iterator[Int[Tensor, " R"]]:
    """The next token of every row, until all have ended; NOTHING for a row that has.

    ``pick(logits, slot)`` chooses them. ``ahead(ids, over, spare)``, if given, is what reads after the prompt: the
    last token and at most ``spare`` guesses, of which as many count as all rows then pick."""
    start, least, most = prompt.shape[1], int(room.min()), int(room.max())
    ids = F.pad(prompt, (0, most), value=NOTHING)
    over, some = torch.zeros_like(room, dtype=torch.bool), False
    logits, guess, text = step(prompt, None)[:, None], prompt[:, :0], prompt
    while True:
        for place, after in enumerate(logits.unbind(1)):
            end = text.shape[1]
            token = pick(process(after, text), end)
            if some:
                token = token.masked_fill(over, NOTHING)
            ids[:, end] = token
            text, new = ids[:, : end + 1], end + 1 - start
            yield token
            done = ended(text) | (room <= new) if new >= least else ended(text)
            if done.any():
                over, some = over | done, True
                if over.all():
                    return
            if place < guess.shape[1] and not (over | (token == guess[:, place])).all():
                break
        if some:
            ids[:, end] = token.masked_fill(over, NOTHING)  # what ends a row is not read
        if ahead is None:
            logits = step(text[:, -1:], None)[:, None]
        else:
            logits, guess = ahead(text, over, int((room - new).masked_fill(over, most).min()) - 1)


def beam_search(
    step: Step,
    process: Processor,
    ended: Ended,
    prompt: Ids,
    room: Int[Tensor, " R"],
    beams: int,
    ends: int = 1,
    penalty: float = 1.0,
    early: bool | str = False,
) -> tuple[Int[Tensor, "B n L"], Float[Tensor, "B n"]]:
    """The ``beams`` best completions of each prompt, best first, and their scores ``Σ log p / length^penalty``.

    ``prompt`` [B·n, N] holds every prompt n times, ``ends`` is how many tokens end a row; ids are NOTHING after
    the end. ``early`` says when to stop: True at n completions; False when the best running beam would not be
    among the best n if it ended now; "never" when it would not at any length."""
    batch, most, own, device = len(prompt) // beams, int(room.max()), room[::beams, None], prompt.device
    first = torch.arange(batch, device=device)[:, None] * beams  # the row of each prompt's first beam
    running = prompt.unflatten(0, (batch, beams))
    score = torch.full((batch, beams), NEVER, device=device)
    score[:, 0] = 0  # the beams of a prompt begin as one
    best, best_score = F.pad(running, (0, most), value=NOTHING), torch.full_like(score, NEVER)
    full, hope = torch.zeros_like(score, dtype=torch.bool), torch.ones_like(first, dtype=torch.bool)
    logits = step(prompt, None)
    wide = min(max(2, 1 + ends), logits.shape[1]) * beams  # so that n of them go on, whatever ends
    for length in range(1, most + 1):
        gain = process(logits.log_softmax(-1), running.flatten(0, 1)).unflatten(0, (batch, beams))
        total, at = largest((score[..., None] + gain).flatten(1), wide)
        source, token = at // gain.shape[2], at % gain.shape[2]
        grown = torch.cat([rows_at(running, source), token[..., None]], -1)
        over = ended(grown.flatten(0, 1)).unflatten(0, (batch, wide)) | (own <= length)

        done = over & hope & (torch.arange(wide, device=device) < beams)
        if early is True:
            done = done & ~full.all(1, keepdim=True)
        final = total / length**penalty + NEVER * ~done
        best_score, kept = torch.cat([best_score, final], 1).topk(beams)
        best = rows_at(torch.cat([best, F.pad(grown, (0, most - length), value=NOTHING)], 1), kept)
        full = torch.cat([full, done], 1).gather(1, kept)

        score, on = (total + NEVER * over).topk(beams)
        running = rows_at(grown, on)
        longest = own if early == "never" and penalty > 0 else length
        worst = best_score.amin(1, keepdim=True).where(full, NEVER)
        hope = hope & (own > length) & (score[:, :1] / longest**penalty > worst).any(1, keepdim=True)
        if over.all() or not hope.any() or (early is True and full.all()):
            break
        new = running[..., -1].masked_fill(own <= length, NOTHING)
        logits = step(new.reshape(-1, 1), (first + source.gather(1, on)).flatten())
    return best, best_score


def rows_at(x: Int[Tensor, "B n T"], index: Int[Tensor, "B m"]) -> Int[Tensor, "B m T"]:
    """Row ``index[b, i]`` of each batch element."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[2]))


def largest(x: Float[Tensor, "B N"], k: int) -> tuple[Float[Tensor, "B k"], Int[Tensor, "B k"]]:
    """The ``k`` largest of each row, largest first, and where they are: what ``topk`` finds.

    That reads every number one by one. Here it sees the largest of each block, then the blocks of the best ``k``."""
    whole = x.shape[1] // BLOCK * BLOCK
    if whole <= k * BLOCK:
        return x.topk(k)
    blocks = x[:, :whole].unflatten(1, (-1, BLOCK))
    at = blocks.amax(-1).topk(k).indices[..., None]
    slots = torch.arange(BLOCK, device=x.device)
    rest = torch.arange(whole, x.shape[1], device=x.device).expand(len(x), -1)
    found, best = torch.cat([blocks.take_along_dim(at, 1).flatten(1), x[:, whole:]], 1).topk(k)
    return found, torch.cat([(at * BLOCK + slots).flatten(1), rest], 1).gather(1, best)
