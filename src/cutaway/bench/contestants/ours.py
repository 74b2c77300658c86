"""Cutaway itself, which also writes the checkpoints that all read."""

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

import cutaway

from ...data.batches import Batches, Row
from . import Act, Array, Job, Make, Mark, importing
from .torches import BETAS, CLIP, DECAY, DTYPES, RATE, numbers, pair, scores, started, tensor


def prepare(job: Job) -> None:
    """Writes the checkpoint: random weights, the same every time."""
    shape = job.work.model
    if not job.folder.exists():
        torch.manual_seed(0)
        model = cutaway.build(shape.family, **shape.config).to(DTYPES[shape.stored])
        if shape.family == "marian":  # published ones begin with the padding token, whose embedding is zero
            words = [
                m for m in model.modules() if isinstance(m, nn.Embedding) and len(m.weight) == shape.config["vocab"]
            ]
            for embedding in words:
                embedding.weight.data[-1].zero_()
        cutaway.save(model, job.folder)


def opened(job: Job) -> Any:
    dtype = job.entry.dtype
    codes = None if dtype in DTYPES else dtype
    return cutaway.load(job.folder, dtype=DTYPES.get(dtype, torch.float32), device=job.device, quantize=codes)


def decode(job: Job) -> Act:
    model, new, ids = opened(job), job.work.new, tensor(job)

    def turn(mark: Mark) -> None:
        for _ in model.generate(ids, max_new_tokens=new, ignore_eos=True, stream=True):
            mark()

    return Act(turn, lambda: last(model, ids))


@torch.inference_mode()
def last(model: Any, ids: Tensor, keep: bool = False) -> Array:
    """The logits after the last token; with ``keep``, as a generation's first step, which fills a cache, has them."""
    states = model.states(ids, cache=model.cache(ids.shape[1]) if keep else None)
    return numbers(model.head(states.hidden[:, -1:])[:, 0])


def prefill(job: Job) -> Act:
    model, ids = opened(job), tensor(job)
    return Act(lambda mark: last(model, ids, keep=True), lambda: last(model, ids))


def record(job: Job) -> Act:
    model, ids = opened(job), tensor(job)
    watch: Callable[[Any], Any] = cutaway.record if job.entry.variant == "recorded" else nullcontext

    def run(mark: Mark = lambda: None) -> Array:
        with watch(model):
            return last(model, ids)

    return Act(run, run)


def encode(job: Job) -> Act:
    model, ids = opened(job), tensor(job)

    @torch.inference_mode()
    def run(mark: Mark = lambda: None) -> Array:
        return numbers(model(ids).hidden)

    return Act(run, run)


def translate(job: Job) -> Act:
    model, work, ids = opened(job), job.work, tensor(job)
    told = started(ids, model.token("decoder_start_token_id"))
    how: dict[str, Any] = dict(num_beams=work.beams, max_new_tokens=work.new, ignore_eos=True)
    how["suppress_tokens"] = [model.token("pad_token_id")]

    @torch.inference_mode()
    def answer() -> Array:
        return scores(model(ids, decoder_input_ids=told[:, :-1]).logits, told)

    return Act(lambda mark: model.generate(ids, **how), answer)


class Same(Batches):
    """The job's rows, again and again."""

    def __init__(self, ids: Tensor):
        rows, length = ids.shape
        super().__init__(units=rows, rows=rows, seed=0, ordered=False, targets=rows * length)
        self.ids = ids.cpu()

    def unit(self, epoch: int, number: int) -> list[Row]:
        row = self.ids[number]
        return [{"input": torch.cat([row, row[:1]])}]


def train(job: Job) -> Act:
    """Cutaway's loop, every part of its step."""
    from ...heap import keeping
    from ...train.learner import Learner
    from ...train.loop import Loop
    from ...train.objectives import CausalLM
    from ...train.optimizers import Optimizer, Optimizers
    from ...train.precision import autocast
    from ...train.ranks.world import World
    from ...train.recipes import Recipe
    from ...train.schedules import Schedule

    learner, ids = Learner(cutaway.load(job.folder, dtype=torch.float32, device=job.device)).train(), tensor(job)
    adamw = Optimizer("adamw", lr=RATE, betas=BETAS, weight_decay=DECAY)
    recipe = Recipe("gpt2", steps=1_000_000, optimizer=adamw, schedule=Schedule("constant", warmup=0), clip=CLIP)
    world = World(device=torch.device(job.device))
    precision = "bfloat16" if job.entry.dtype == "bf16" else "float32"
    loop = Loop(
        recipe, job.folder, learner, learner, Optimizers(learner, adamw), CausalLM(), Same(ids), None, world,
        precision, {},
    )  # fmt: skip

    def answer() -> Array:
        given, targets = pair(ids)
        with autocast(ids.device, precision):
            loss = learner({"input_ids": given}, targets)
        (loss / targets.numel()).backward()
        watched = learner.model.network.get_parameter("place.weight").grad
        assert watched is not None
        found = numbers(watched[: ids.shape[1]])
        learner.zero_grad(set_to_none=True)
        return found

    kept = ExitStack()
    kept.enter_context(keeping())  # as Loop.run does; here until the process ends
    return Act(lambda mark, kept=kept: loop.step(), answer)  # type: ignore[misc]


def load(job: Job) -> Act:
    ids = tensor(job)
    return Act(lambda mark: last(opened(job), ids), lambda: last(opened(job), ids))


WORKS: dict[str, Make] = {
    "decode": decode, "prefill": prefill, "encode": encode, "translate": translate, "train": train, "record": record,
    "load": load, "import": importing("import cutaway; cutaway.load"),
}  # fmt: skip
