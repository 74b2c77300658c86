"""llama.cpp through its Python package, from a GGUF file of the same tensors."""

import ctypes
from importlib import import_module

import numpy as np

from . import Act, Array, Job, Make, Mark, importing

FILES = {"fp32": "F32", "bf16": "BF16", "int8": "Q8_0", "int4": "Q4_0"}


def prepare(job: Job) -> None:
    """Writes the GGUF file of the contestant's precision beside the checkpoint; the fp32 one first."""
    from ... import storage, weights  # they import torch, which must not count as llama.cpp's memory
    from .. import gguf

    whole, target = job.folder / "F32.gguf", job.folder / f"{FILES[job.entry.dtype]}.gguf"
    if not whole.exists():
        gguf.from_folder(storage.read_json(job.folder / "config.json"), weights.read_tensors(job.folder), whole)
    if target.exists():
        return
    llama = import_module("llama_cpp")
    how = llama.llama_model_quantize_default_params()
    how.ftype, how.nthread = getattr(llama, f"LLAMA_FTYPE_MOSTLY_{FILES[job.entry.dtype]}"), job.threads
    if llama.llama_model_quantize(str(whole).encode(), str(target).encode(), how):
        raise ValueError(f"llama.cpp could not write {target.name}")


class Session:
    """A model and its context, one sequence for each row."""

    def __init__(self, job: Job, room: int):
        self.llama = llama = import_module("llama_cpp")
        model_how, how = llama.llama_model_default_params(), llama.llama_context_default_params()
        model_how.n_gpu_layers = 0 if job.device == "cpu" else 999
        rows, length = job.work.batch, job.work.length
        how.n_ctx, how.n_seq_max, how.kv_unified = rows * room, rows, rows == 1
        how.n_batch, how.n_ubatch = rows * length, max(512, rows)
        how.n_threads = how.n_threads_batch = job.threads
        path = job.folder / f"{FILES[job.entry.dtype]}.gguf"
        self.model = llama.llama_model_load_from_file(str(path).encode(), model_how)
        self.context = llama.llama_init_from_model(self.model, how)
        if not self.context:
            raise ValueError(f"llama.cpp could not open {path.name}")
        self.vocab, self.ids = job.work.model.config["vocab"], job.ids()
        self.batch = llama.llama_batch_init(rows * length, 0, 1)

    def close(self) -> None:
        self.llama.llama_batch_free(self.batch)
        self.llama.llama_free(self.context)
        self.llama.llama_model_free(self.model)

    def read(self, ids: Array, at: int) -> Array:
        """The logits [B, V] after the last of these tokens [B, N], which stand from slot ``at``."""
        b, (rows, length) = self.batch, ids.shape
        for row in range(rows):
            for column in range(length):
                i = row * length + column
                b.token[i], b.pos[i], b.n_seq_id[i] = int(ids[row, column]), at + column, 1
                b.seq_id[i][0], b.logits[i] = row, column == length - 1
        b.n_tokens = rows * length
        if self.llama.llama_decode(self.context, b):
            raise ValueError("llama.cpp could not decode")
        each = [self.llama.llama_get_logits_ith(self.context, (row + 1) * length - 1) for row in range(rows)]
        return np.stack(
            [np.ctypeslib.as_array(ctypes.cast(p, ctypes.POINTER(ctypes.c_float)), (self.vocab,)) for p in each]
        )

    def begin(self) -> Array:
        self.llama.llama_memory_clear(self.llama.llama_get_memory(self.context), False)
        return self.read(self.ids, 0)


def decode(job: Job) -> Act:
    work = job.work
    session = Session(job, work.length + work.new)

    def turn(mark: Mark) -> None:
        found = session.begin()
        for at in range(work.length, work.length + work.new):
            token = found.argmax(-1)[:, None]
            mark()
            if at < work.length + work.new - 1:
                found = session.read(token, at)

    return Act(turn, session.begin)


def prefill(job: Job) -> Act:
    session = Session(job, job.work.length)
    return Act(lambda mark: session.begin(), session.begin)


def load(job: Job) -> Act:
    def run(*_: object) -> Array:
        session = Session(job, job.work.length)
        found = session.begin()
        session.close()
        return found

    return Act(run, run)


WORKS: dict[str, Make] = {
    "decode": decode, "prefill": prefill, "load": load, "import": importing("import llama_cpp"),
}  # fmt: skip
