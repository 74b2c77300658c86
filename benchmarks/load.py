"""Time and peak memory of loading a checkpoint of GPT-2's size: ``python benchmarks/load.py``.

Each way runs in processes of its own, after its imports, in turns with the others: reading the file from the page cache
through a small buffer (the measure) and into memory, cutaway.load and a pass over every weight, and the same with
transformers where it is installed."""

import argparse
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import cutaway

WAYS = {
    "read the file": "stream(folder + '/model.safetensors')",
    "read into memory": "open(folder + '/model.safetensors', 'rb').read()",
    "cutaway.load": "touch(cutaway.load(folder).network)",
    "transformers": "touch(transformers.AutoModelForCausalLM.from_pretrained(folder))",
}
MEASURE = """
import sys, time
import torch, {module}

def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

def touch(model):
    return sum(weight.sum() for weight in model.parameters())

def stream(path):
    buffer = bytearray(2**20)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass

torch.set_num_threads({threads})
folder = sys.argv[1]
before, began = status("VmRSS"), time.perf_counter()
{way}
print(time.perf_counter() - began, status("VmHWM") - before)
"""


def once(way: str, module: str, folder: Path, threads: int) -> tuple[float, float]:
    """Seconds and peak bytes of one way, in a process of its own."""
    code = [sys.executable, "-c", MEASURE.format(module=module, way=way, threads=threads), str(folder)]
    ran = subprocess.run(code, capture_output=True, text=True, check=True)
    seconds, peak = map(float, ran.stdout.split())
    return seconds, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    modules = {name: "transformers" if name == "transformers" else "cutaway.hub" for name in WAYS}
    found: dict[str, list[tuple[float, float]]] = {n: [] for n, m in modules.items() if find_spec(m) is not None}
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, "gpt2")
        cutaway.save(cutaway.build("gpt2"), folder)
        size = (folder / "model.safetensors").stat().st_size
        for _ in range(args.runs):
            for name in found:
                found[name].append(once(WAYS[name], modules[name], folder, args.threads))
    middle = {name: median(seconds for seconds, _ in runs) for name, runs in found.items()}
    print(f"{size / 2**20:.0f} MB, {args.threads} threads, medians of {args.runs}:")
    print(f"{'':18}{'seconds':>8}{'of the measure':>16}{'peak':>8}")
    for name, seconds in middle.items():
        peak = median(peak for _, peak in found[name])
        print(f"{name:18}{seconds:8.3f}{middle['read the file'] / seconds:16.0%}{peak / size:8.2f} x the weights")


if __name__ == "__main__":
    main()
