"""A run that never was, shown on this process's output: ``python showing.py STEPS``."""

import math
import sys

from cutaway.train.report.display import display

SAMPLE = "def read(self):\r\n\treturn \x1b[31m1\x1b[0m [bold]not markup[/bold] \x07 \u202e \ud800" + " long" * 40


def main(steps: int) -> None:
    shown = display(title="a run \x1b[2J", yardsticks={"xz -9": 1.84}, every=0.0)
    shown.start(steps)
    shown.note("precision: float32 \x1b[1m")
    for step in range(1, steps + 1):
        loss = 2 + math.exp(-step / 10)
        shown.train(
            {"kind": "train", "step": step, "loss": loss, "rate": 1e-3, "norm": 0.5, "tokens_per_second": 12345.6}
        )
        if step % 10 == 0:
            shown.validation({"kind": "validation", "step": step, "loss": loss + 0.1, "bits_per_byte": loss * 0.9})
            shown.sample(SAMPLE)
    shown.stop()
    shown.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]))
