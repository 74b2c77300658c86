"""One call of ``generate``: text or ids in, text or ids out, at once or piece by piece."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .job import Job, prepare
from .processors import Ids
from .prompts import Prompt, rows_of
from .settings import listed, read
from .text import Writer

if TYPE_CHECKING:
    from ..model import Model
    from ..text import Tokenizer


def generate(
    model: "Model",
    prompt: str | Sequence[str] | Prompt,
    *,
    attention_mask: Tensor | None = None,
    decoder_input_ids: Prompt | None = None,
    stream: bool = False,
    **settings: Any,
) -> Any:
    """What the model writes after a prompt; an encoder-decoder, for a source.

    Ids, a tensor [B, N] or lists of any lengths, give ids [B · num_return_sequences, T]: the prompt (or the
    decoder's input) and the new tokens, padded on the left where prompts are shorter, on the right where endings
    are. A text gives the new text alone (a list of them if ``num_return_sequences`` is above 1), a list of texts
    gives a list. ``stream=True`` gives an iterator, over pieces of text (for a list: lists of pieces), or over the
    next tokens [B] of all rows.

    ``attention_mask`` [B, N] is 0 where ids are padding, on either side; without it every id counts.
    ``decoder_input_ids`` begin the output, after the decoder's start token. ``settings`` are the fields of
    :class:`Settings`: ``max_new_tokens``, ``temperature``, ``num_beams``, ``stop``, ... Where positions come from
    a table, a row ends when it has filled it.

    Raises TypeError for unknown keywords, ValueError for settings, ids, lengths and models that cannot be."""
    if model.kind == "encoder" or model.config.head != "lm":
        what = f"{model.origin.model_type} ({model.kind} with head {model.config.head!r})"
        raise ValueError(f"{what} cannot generate: that takes a decoder with a language-model head")
    tokenizer, device, texts = model.tokenizer, model.device, texts_of(prompt)
    s = read(settings, model.origin.generation, {**special_ids(tokenizer), **model.origin.kept})
    if stream and s.num_beams > 1:
        raise ValueError("a beam search has nothing to stream until it ends: give num_beams=1")
    starts = None if decoder_input_ids is None else rows_of(decoder_input_ids, device, "decoder_input_ids")
    if texts is None:
        job = prepare(model, rows_of(prompt, device, "the prompt", attention_mask), starts, s)
        return map(job.padded, job.tokens()) if stream else job.padded(job.ids())
    if tokenizer is None:
        raise ValueError("a text needs a tokenizer, and this model has none: give ids")
    if attention_mask is not None:
        raise ValueError("attention_mask belongs to ids: texts have their own lengths")
    ids = [tokenizer.encode(text).ids for text in texts]
    job = prepare(model, rows_of(ids, device, "the prompt"), starts, s)
    alone = isinstance(prompt, str) and s.num_return_sequences == 1
    if stream:
        found = pieces(job, tokenizer)
        return (piece for (piece,) in found) if alone else found
    return written(job, tokenizer)[0] if alone else written(job, tokenizer)


def texts_of(prompt: object) -> list[str] | None:
    """The texts of a prompt; None for ids."""
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt, list | tuple) and prompt and all(isinstance(text, str) for text in prompt):
        return list(prompt)
    return None


def special_ids(tokenizer: "Tokenizer | None") -> dict[str, int | None]:
    """The special tokens of a tokenizer, for a checkpoint whose config does not name its own."""
    if tokenizer is None:
        return {}
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    return {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad}


def writers(job: Job, ids: Ids, tokenizer: "Tokenizer") -> list[Writer]:
    """Who writes what follows the prompt in each row of ``ids``."""
    prompts = ids[:, : job.prompt.shape[1]].tolist()
    return [Writer(tokenizer, row, job.ends, listed(job.settings.stop)) for row in prompts]


def written(job: Job, tokenizer: "Tokenizer") -> list[str]:
    """The new text of each row."""
    ids = job.ids()
    rows = zip(writers(job, ids, tokenizer), ids[:, job.prompt.shape[1] :].tolist(), strict=True)
    return ["".join([*map(writer.put, row), writer.end()]) for writer, row in rows]


def pieces(job: Job, tokenizer: "Tokenizer") -> Iterator[list[str]]:
    """The new text of each row, as it comes."""
    rows = writers(job, job.prompt, tokenizer)
    for token in job.tokens():
        found = [writer.put(index) for writer, index in zip(rows, token.tolist(), strict=True)]
        if any(found):
            yield found
    found = [writer.end() for writer in rows]
    if any(found):
        yield found
