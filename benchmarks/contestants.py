"""Who trains GPT-2 in the benchmarks of training: Cutaway, transformers' GPT-2 twice, a plain PyTorch GPT.

The same weights, the same batches, fused AdamW at one rate in the same two groups, gradients clipped at a norm of 1."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from contest import Drawn, Job, Run, Turn
from torch import Tensor, nn

from cutaway.train.precision import autocast

CPU, DECAY, BETAS = torch.device("cpu"), 0.1, (0.9, 0.95)


def ours(job: Job, turn: Turn) -> None:
    """Cutaway's loop, every part of its step."""
    import cutaway
    from cutaway.train.learner import Learner

    run_loop(job, turn, Learner(cutaway.load(job.folder, dtype=torch.float32)))


def run_loop(job: Job, turn: Turn, learner: Any) -> None:
    from cutaway.heap import keeping
    from cutaway.train.loop import Loop
    from cutaway.train.objectives import CausalLM
    from cutaway.train.optimizers import Optimizer, Optimizers
    from cutaway.train.ranks.world import World
    from cutaway.train.recipes import Recipe
    from cutaway.train.schedules import Schedule

    adamw = Optimizer("adamw", lr=job.lr, betas=BETAS, weight_decay=DECAY)
    recipe = Recipe("gpt2", steps=job.steps, optimizer=adamw, schedule=Schedule("constant", warmup=0), clip=1.0)
    loop = Loop(
        recipe, Path(job.folder), learner.train(), learner, Optimizers(learner, adamw), CausalLM(), Drawn(job), None,
        World(), job.precision, {},
    )  # fmt: skip
    loss = None
    with keeping():  # as Loop.run does, which steps without waiting for turns
        for _ in range(job.steps):
            turn(loss)
            loss = loop.step()["loss"]
        turn(loss)


def plainly(job: Job, turn: Turn, model: nn.Module, loss_of: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The loop that everybody writes."""
    from cutaway.train.optimizers import decaying

    groups = decaying(model.train().parameters(), DECAY)
    optimizer = torch.optim.AdamW(groups, job.lr, BETAS, fused=True)
    found = None
    for step in range(job.steps):
        turn(found)
        ids, targets = job.pair(step)
        with autocast(CPU, job.precision):
            loss = loss_of(ids, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        found = loss.item()
    turn(found)


def transformers_loop(job: Job, turn: Turn) -> None:
    """transformers' GPT-2 in a plain loop."""
    import transformers

    model = transformers.GPT2LMHeadModel.from_pretrained(job.folder)
    plainly(job, turn, model, lambda ids, targets: model(ids, labels=targets, shift_labels=targets).loss)


def transformers_trainer(job: Job, turn: Turn) -> None:
    """transformers' GPT-2 in its Trainer, which steps when the callback returns."""
    import transformers

    class Rows(torch.utils.data.IterableDataset[dict[str, Tensor]]):
        def __iter__(self) -> Iterator[dict[str, Tensor]]:
            for step in range(job.steps):
                for ids, targets in zip(*job.pair(step), strict=True):
                    yield {"input_ids": ids, "labels": targets, "shift_labels": targets}

    class Watched(transformers.Trainer):
        loss: float | None = None

        def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
            found: Tensor = super().training_step(*args, **kwargs)
            self.loss = found.item()
            return found

    class Turns(transformers.TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            turn(trainer.loss)

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            turn(trainer.loss)

    how = transformers.TrainingArguments(
        output_dir=job.folder + "/trainer", max_steps=job.steps, per_device_train_batch_size=job.rows,
        learning_rate=job.lr, lr_scheduler_type="constant", weight_decay=DECAY, adam_beta1=BETAS[0],
        adam_beta2=BETAS[1], max_grad_norm=1.0, optim="adamw_torch_fused", bf16=job.precision == "bfloat16",
        use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
        remove_unused_columns=False,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel.from_pretrained(job.folder)
    trainer = Watched(model, how, train_dataset=Rows(), callbacks=[Turns()])
    trainer.train()


class Attend(nn.Module):
    """Causal attention whose queries, keys and values are one product."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.c_attn, self.c_proj, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.c_attn(x).chunk(3, -1))
        mixed: Tensor = self.c_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return mixed


class Layer(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1, self.attn, self.ln_2 = nn.LayerNorm(width), Attend(width, heads), nn.LayerNorm(width)
        up, down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(OrderedDict(c_fc=up, act=nn.GELU("tanh"), c_proj=down))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))  # type: ignore[no-any-return]


class PlainGPT(nn.Module):
    """GPT-2 as everybody writes it, its weights named as in the checkpoint."""

    def __init__(self, vocab: int, places: int, width: int, depth: int, heads: int):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(places, width)
        self.h, self.ln_f = nn.Sequential(*(Layer(width, heads) for _ in range(depth))), nn.LayerNorm(width)

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        hidden = self.ln_f(self.h(self.wte(ids) + self.wpe.weight[: ids.shape[1]]))
        return F.cross_entropy(F.linear(hidden, self.wte.weight).flatten(0, 1), targets.flatten())


def plain_gpt(job: Job, turn: Turn) -> None:
    """A GPT-2 of PyTorch's own parts, fused q, k and v, cross-entropy over all logits, as nanoGPT has it."""
    from safetensors.torch import load_file

    stored = {n.removeprefix("transformer."): t for n, t in load_file(job.folder + "/model.safetensors").items()}
    with torch.device("meta"):
        model = PlainGPT(*stored["wte.weight"].shape[:1], *stored["wpe.weight"].shape, job.depth, job.heads)
    flipped = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    ours = {n: (t.T.contiguous() if n.endswith(flipped) else t) for n, t in stored.items()}
    model.load_state_dict(ours, assign=True)
    plainly(job, turn, model.requires_grad_(), model.loss)


CONTESTANTS: dict[str, Run] = {
    "cutaway": ours,
    "transformers, plain loop": transformers_loop,
    "transformers, Trainer": transformers_trainer,
    "plain PyTorch GPT": plain_gpt,
}
