"""What starting costs: `cutaway --help`, and a first use against `import torch` alone.

    python benchmarks/start.py [--runs 5]

Every measurement is a process of its own, taken in turns; figures are medians of wall seconds."""

import argparse
import statistics
import subprocess
import sys
import time

PROGRAMS = {
    "python, nothing": ["-c", "pass"],
    "cutaway --help": ["-m", "cutaway.cli", "--help"],
    "import torch": ["-c", "import torch"],
    "import cutaway, build a model": [
        "-c", "import cutaway; cutaway.build('llama', vocab=8, width=8, depth=1, heads=1, hidden=8)",
    ],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(runs):
        for name, words in PROGRAMS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    for name, value in middle.items():
        print(f"{name:<32}{value:>8.3f} s{value / middle['import torch']:>8.2f} of import torch")


if __name__ == "__main__":
    main()
