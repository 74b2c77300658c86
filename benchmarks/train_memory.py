"""Peak memory of training, against transformers and all logits at once: ``python benchmarks/train_memory.py``.

GPT-2 124M at 4 x 256 tokens: a few steps of AdamW in one fresh process per contestant, nothing else beside it; the
peak is that of the whole process, libraries included (``ru_maxrss``). Needs transformers and accelerate."""

import tempfile
from dataclasses import replace

import torch
import torch.nn.functional as F
from contest import Job, Run, Step, Turn, agreed, machine, options, prepared, race
from contestants import CONTESTANTS, run_loop
from torch import Tensor

import cutaway
from cutaway.train.learner import Learner


class AllLogits(Learner):
    """The same model with PyTorch's cross-entropy over all logits."""

    def forward(self, inputs: dict[str, Tensor], targets: Tensor) -> Tensor:
        logits = self.model(**inputs).logits
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")


def all_logits(job: Job, turn: Turn) -> None:
    """Cutaway's loop with that loss."""
    run_loop(job, turn, AllLogits(cutaway.load(job.folder, dtype=torch.float32)))


def nothing(job: Job, turn: Turn) -> None:
    """Only what is imported: what part of the peaks no training can save."""
    turn(None)
    for _ in range(job.steps):
        turn(0.0)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(machine(args.threads))
    chosen: dict[str, Run] = {**CONTESTANTS, "cutaway, all logits": all_logits}
    with tempfile.TemporaryDirectory() as folder:
        job = prepared(args, folder, args.steps)
        shape = f"width {job.width}, depth {job.depth}, vocabulary {job.vocab:,}"
        print(f"GPT-2, {shape}; {job.rows} x {job.length} tokens a step")
        print(f"{race({'imports': nothing}, job)['imports'][-1].peak / 2**20:,.0f} MiB are imports alone")
        for precision in args.precision:
            found: dict[str, list[Step]] = {}
            for name, run in chosen.items():
                found |= race({name: run}, replace(job, precision=precision))
            agreed(found)
            mine = found["cutaway"][-1].peak
            print(f"\n{precision:<26}{'peak, MiB':>10}{'cutaway is':>12}{'loss':>9}")
            for name, steps in found.items():
                peak = steps[-1].peak
                print(f"{name:<26}{peak / 2**20:>10,.0f}{mine / peak:>11.2f}x{steps[-1].loss:>9.4f}", flush=True)


if __name__ == "__main__":
    main()
