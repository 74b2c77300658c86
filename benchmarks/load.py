"""Time and peak memory of loading a checkpoint of GPT-2's size: ``python benchmarks/load.py``.

Each way runs in a process of its own, after its imports: reading the file into memory (the measure), cutaway.load
and a pass over every weight, and the same with transformers where it is installed."""

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import cutaway

WAYS = {
    "read the file": "open(folder + '/model.safetensors', 'rb').read()",
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

torch.set_num_threads(1)
folder = sys.argv[1]
before, began = status("VmRSS"), time.perf_counter()
{way}
print(time.perf_counter() - began, status("VmHWM") - before)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, "gpt2")
        cutaway.save(cutaway.build("gpt2"), folder)
        size = (folder / "model.safetensors").stat().st_size
        lines = [f"{size / 2**20:.0f} MB, best of three: seconds, peak of memory over the weights"]
        for name, way in WAYS.items():
            module = "transformers" if name == "transformers" else "cutaway.hub"
            if find_spec(module) is not None:
                code = [sys.executable, "-c", MEASURE.format(module=module, way=way), str(folder)]
                runs = [subprocess.run(code, capture_output=True, text=True, check=True) for _ in range(3)]
                seconds, peak = min(tuple(map(float, run.stdout.split())) for run in runs)
                lines.append(f"{name:16} {seconds:8.3f} {peak / size:8.2f}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
