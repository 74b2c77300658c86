"""CTranslate2, by its own converter from transformers' models."""

from importlib import import_module
from typing import Any

import numpy as np

from . import TOLD, Act, Array, Job, Make, Mark, importing

COMPUTE = {"fp32": "float32", "int8": "int8"}


class Words:
    """The tokenizer of random weights, as far as the converter asks for one: every id is its own word."""

    bos_token, eos_token, unk_token = "w1", "w2", "w0"

    def __init__(self, vocab: int, padded: bool):
        self.words = words(range(vocab))
        if padded:  # Marian's converter knows the last row of the embedding by this name
            self.words[-1] = "<pad>"

    def get_vocab(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words)}

    def convert_ids_to_tokens(self, index: int) -> str:
        return self.words[index]


def words(ids: Any) -> list[str]:
    return [f"w{index}" for index in ids]


def prepare(job: Job) -> None:
    """Writes the model in CTranslate2's format beside the checkpoint."""
    target = job.folder / f"ctranslate2-{job.entry.dtype}"
    if target.exists():
        return
    base = import_module("ctranslate2.converters").TransformersConverter
    shape = job.work.model

    class Converter(base):  # type: ignore[misc, valid-type]
        def load_tokenizer(self, tokenizer_class: object, model_name_or_path: str, **kwargs: object) -> Words:
            return Words(shape.config["vocab"], shape.family == "marian")

        def load_model(self, model_class: Any, model_name_or_path: str, **kwargs: object) -> Any:
            model = super().load_model(model_class, model_name_or_path, **kwargs)
            if shape.family == "bert":  # the converter asks for a key that transformers 5 has no more
                model.config.position_embedding_type = "absolute"
            return model

    Converter(str(job.folder)).convert(str(target), quantization=COMPUTE[job.entry.dtype])


def opened(job: Job, kind: str) -> Any:
    make = getattr(import_module("ctranslate2"), kind)
    how = dict(compute_type=COMPUTE[job.entry.dtype], intra_threads=job.threads, inter_threads=1)
    return make(str(job.folder / f"ctranslate2-{job.entry.dtype}"), device=job.device, **how)


def view(ids: Array) -> tuple[Any, Any]:
    """Ids and their lengths as CTranslate2's own arrays."""
    make = import_module("ctranslate2").StorageView.from_array
    lengths = np.full(len(ids), ids.shape[1], np.int32)
    return make(np.ascontiguousarray(ids.astype(np.int32))), make(lengths)


def decode(job: Job) -> Act:
    model, work = opened(job, "Generator"), job.work
    ids = job.ids()
    rows = [words(row) for row in ids]
    how = dict(max_length=work.new, min_length=work.new, include_prompt_in_result=False, beam_size=1, sampling_topk=1)

    def turn(mark: Mark) -> None:
        def seen(step: Any) -> bool:
            if step.batch_id == 0:
                mark()
            return False

        model.generate_batch(rows, callback=seen, **how)

    return Act(turn, lambda: logits(model, ids))


def logits(model: Any, ids: Array) -> Array:
    found: Array = np.array(model.forward_batch(*view(ids)))[:, -1]
    return found


def prefill(job: Job) -> Act:
    model = opened(job, "Generator")
    ids = job.ids()
    rows = [words(row) for row in ids]
    turn = lambda mark: model.generate_batch(rows, max_length=1, min_length=1, include_prompt_in_result=False)
    return Act(turn, lambda: logits(model, ids))


def encode(job: Job) -> Act:
    model = opened(job, "Encoder")
    given = view(job.ids())

    def run(mark: Mark = lambda: None) -> Array:
        return np.array(model.forward_batch(*given).last_hidden_state)

    return Act(run, run)


def translate(job: Job) -> Act:
    model, work = opened(job, "Translator"), job.work
    rows = [words(row) for row in job.ids()]
    how = dict(beam_size=work.beams, max_decoding_length=work.new, min_decoding_length=work.new, length_penalty=1)

    def answer() -> Array:
        told = [row[:TOLD] for row in rows]
        return np.array(
            [found.log_probs[: len(row)] for found, row in zip(model.score_batch(rows, told), told, strict=True)]
        )

    return Act(lambda mark: model.translate_batch(rows, **how), answer)


def load(job: Job) -> Act:
    run = lambda *_: logits(opened(job, "Generator"), job.ids())
    return Act(run, run)


WORKS: dict[str, Make] = {
    "decode": decode, "prefill": prefill, "encode": encode, "translate": translate, "load": load,
    "import": importing("import ctranslate2"),
}  # fmt: skip
