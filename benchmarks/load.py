"""Loading a checkpoint of GPT-2's size: time and peak memory of Cutaway, of transformers, and of reading the file.

    python benchmarks/load.py [--runs 5] [--dtype float32]

Every measurement is a process of its own, taken in turns; figures are medians. Memory is the peak over what the
same process held just before, so imports do not count. Both load into CPU memory and run one forward pass of eight
tokens, so that mapped weights are really read."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch


def high_water() -> int:
    """The most bytes that this process has held since ``forget_high_water``."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def forget_high_water() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def measure(who: str, folder: str) -> dict[str, float]:
    """Load (and run) once, in this process."""
    ids = torch.arange(8)[None]
    if who == "cutaway":
        import cutaway

        cutaway.build("gpt2", vocab=8, width=8, depth=1, heads=1, length=8)(ids[:, :2])  # imports, first kernels
        load = cutaway.load
    elif who == "transformers":
        from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1, n_positions=8))(ids[:, :2])
        load = AutoModelForCausalLM.from_pretrained
    else:
        load = None
    forget_high_water()
    before, start = high_water(), time.perf_counter()
    with torch.no_grad():
        if load is None:
            kept = (Path(folder) / "model.safetensors").read_bytes()
            loaded = time.perf_counter()
            del kept
        else:
            model = load(folder)
            loaded = time.perf_counter()
            model(ids)
    return {"load": loaded - start, "ready": time.perf_counter() - start, "peak": high_water() - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return
    import cutaway

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model"
        cutaway.save(cutaway.build("gpt2").to(getattr(torch, options.dtype)), target)
        size = (target / "model.safetensors").stat().st_size
        found: dict[str, list[dict[str, float]]] = {"read": [], "cutaway": [], "transformers": []}
        for _ in range(options.runs):
            for who in found:
                words = [sys.executable, __file__, "--measure", who, str(target)]
                found[who].append(json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout))
    print(f"{size / 2**20:.0f} MiB of {options.dtype}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'':<14}{'load, s':>10}{'and run, s':>12}{'peak / file':>13}")
    for who, runs in found.items():
        middle = {k: statistics.median(r[k] for r in runs) for k in ("load", "ready", "peak")}
        print(f"{who:<14}{middle['load']:>10.3f}{middle['ready']:>12.3f}{middle['peak'] / size:>13.2f}")


if __name__ == "__main__":
    main()
