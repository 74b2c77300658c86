"""Training speed against transformers and a plain PyTorch GPT: ``python benchmarks/train.py``.

GPT-2 124M at 4 x 256 tokens, in float32 and under bfloat16 autocast. Each contestant (contestants.py) has a process of
its own; they take steps in turns. The losses of the first step must agree, or nothing is reported. Something small:
--vocab 512 --width 64 --depth 2 --heads 2 --length 32. Needs transformers and accelerate."""

import statistics
import tempfile
from dataclasses import replace

import torch
from contest import Job, Step, agreed, machine, options, prepared, race
from contestants import CONTESTANTS

from cutaway.train.planning.devices import fastest
from cutaway.train.precision import DTYPES


def peak(job: Job, precision: str) -> float:
    """Operations a second of the fastest of a few matrix products, some of them the model's own."""
    tokens, width = job.rows * job.length, job.width
    shapes = [(tokens, width, 4 * width), (tokens, 4 * width, width), (512, 1024, 1024), (2048, 2048, 2048)]
    found = []
    for m, k, n in shapes:
        a, b = torch.randn(m, k).to(DTYPES[precision]), torch.randn(k, n).to(DTYPES[precision])
        found.append(2 * m * k * n / fastest(lambda a=a, b=b: a @ b))  # type: ignore[misc]
    return max(found)


def operations(job: Job) -> int:
    """Of a token: ``6 N + 12 depth width length`` (Chowdhery et al., 2022), N without the table of positions."""
    parameters = job.vocab * job.width + job.depth * (12 * job.width**2 + 13 * job.width) + 2 * job.width
    return 6 * parameters + 12 * job.depth * job.width * job.length


def table(found: dict[str, list[Step]], job: Job, warmup: int, limit: float) -> list[str]:
    tokens = job.rows * job.length
    first = next(iter(found))
    seconds = {name: [step.seconds for step in steps[warmup:]] for name, steps in found.items()}
    lines = [f"{job.precision:<26}{'tokens/s':>9}{'slowest':>9}{'fastest':>9}{first + ' is':>13}{'MFU':>7}{'loss':>9}"]
    for name, times in seconds.items():
        ratio = statistics.median(theirs / mine for mine, theirs in zip(seconds[first], times, strict=True))
        rate = tokens / statistics.median(times)
        lines.append(
            f"{name:<26}{rate:>9.1f}{tokens / max(times):>9.1f}{tokens / min(times):>9.1f}{ratio:>12.2f}x"
            f"{rate * operations(job) / limit:>7.1%}{found[name][-1].loss:>9.4f}"
        )
    most = limit / operations(job)
    return [*lines, f"matrix products reach {limit / 1e9:.1f} GFLOP/s, which would allow {most:,.0f} tokens/s"]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=8, help="that count, of each contestant")
    parser.add_argument("--warmup", type=int, default=2, help="steps before those")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(machine(args.threads))
    with tempfile.TemporaryDirectory() as folder:
        job = prepared(args, folder, args.warmup + args.steps)
        print(
            f"GPT-2, width {job.width}, depth {job.depth}, vocabulary {job.vocab:,}; {job.rows} x {job.length} tokens "
            f"a step\nmedians of {args.steps} steps in turns after {args.warmup}; ratios: medians of those within a "
            f"round; loss: of the last step\nMFU at 6 N + 12 depth width length = {operations(job) / 1e6:,.1f} MFLOP "
            "a token"
        )
        for precision in args.precision:
            limits: list[float] = []
            mine = replace(job, precision=precision)
            found = race({n: CONTESTANTS[n] for n in args.only}, mine, lambda: limits.append(peak(mine, precision)))  # noqa: B023
            agreed(found)
            print("\n".join(["", *table(found, mine, args.warmup, max(limits))]), flush=True)


if __name__ == "__main__":
    main()
