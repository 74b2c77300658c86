"""transformers, with its attention on SDPA and written out ("eager")."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from . import Act, Array, Job, Make, Mark, importing
from .torches import DTYPES, numbers, scores, started, stepping, tensor

CLASSES = {"bert": "BertModel", "marian": "MarianMTModel"}


def opened(job: Job) -> Any:
    kind = getattr(import_module("transformers"), CLASSES.get(job.work.model.family, "AutoModelForCausalLM"))
    attend = "eager" if job.entry.variant == "recorded" else job.entry.variant
    dtype = torch.float32 if job.work.kind == "train" else DTYPES[job.entry.dtype]
    return kind.from_pretrained(job.folder, dtype=dtype, attn_implementation=attend).to(job.device).eval()


def marker(mark: Mark) -> Callable[..., Tensor]:
    """A stopping rule that never stops: ``generate`` asks it once per token."""

    def rule(ids: Tensor, scores: object, **_: object) -> Tensor:
        mark()
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    return rule


@torch.inference_mode()
def last(model: Any, ids: Tensor, **how: Any) -> Array:
    """The logits after the last token."""
    return numbers(model(ids, logits_to_keep=1, **how).logits[:, -1])


def decode(job: Job) -> Act:
    model, new, ids = opened(job), job.work.new, tensor(job)
    attend = torch.ones_like(ids)
    how = dict(do_sample=False, max_new_tokens=new, min_new_tokens=new, pad_token_id=0, eos_token_id=None)
    turn = lambda mark: model.generate(ids, attention_mask=attend, stopping_criteria=[marker(mark)], **how)
    return Act(turn, lambda: last(model, ids))


def prefill(job: Job) -> Act:
    model, ids = opened(job), tensor(job)
    return Act(lambda mark: last(model, ids, use_cache=True), lambda: last(model, ids))


def record(job: Job) -> Act:
    """A forward pass that also gives every attention weight and hidden state, beside one that does not."""
    model, ids = opened(job), tensor(job)
    seen = job.entry.variant == "recorded"
    how = dict(output_attentions=seen, output_hidden_states=seen)
    return Act(lambda mark: last(model, ids, **how), lambda: last(model, ids))


def encode(job: Job) -> Act:
    model, ids = opened(job), tensor(job)

    @torch.inference_mode()
    def run(mark: Mark = lambda: None) -> Array:
        return numbers(model(ids).last_hidden_state)

    return Act(run, run)


def translate(job: Job) -> Act:
    model, work, ids = opened(job), job.work, tensor(job)
    told = started(ids, model.config.decoder_start_token_id)
    how: dict[str, Any] = dict(num_beams=work.beams, max_new_tokens=work.new, min_new_tokens=work.new, do_sample=False)
    how |= dict(attention_mask=torch.ones_like(ids), bad_words_ids=[[model.config.pad_token_id]])

    @torch.inference_mode()
    def answer() -> Array:
        return scores(model(ids, decoder_input_ids=told[:, :-1]).logits, told)

    return Act(lambda mark: model.generate(ids, **how), answer)


def train(job: Job) -> Act:
    model = opened(job)
    loss = lambda ids, targets: model(ids, labels=targets, shift_labels=targets, use_cache=False).loss
    return stepping(job, model, loss, model.transformer.wpe.weight)


def load(job: Job) -> Act:
    ids = tensor(job)
    return Act(lambda mark: last(opened(job), ids), lambda: last(opened(job), ids))


WORKS: dict[str, Make] = {
    "decode": decode, "prefill": prefill, "encode": encode, "translate": translate, "train": train, "record": record,
    "load": load, "import": importing("from transformers import AutoModelForCausalLM"),
}  # fmt: skip
