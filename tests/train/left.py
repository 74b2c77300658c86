"""What torchrun starts in the tests: ``cutaway`` with these words, after which nothing of its groups may be left."""

import sys
from pathlib import Path

TASKS = Path("/proc/self/task")


def threads() -> int:
    """How many threads of gloo there are, where the system tells."""
    return sum((task / "comm").read_text().startswith(("gloo_", "pt_gloo_")) for task in TASKS.glob("*"))


if __name__ == "__main__":
    from cutaway.cli import main

    code = main(sys.argv[1:])
    assert not threads()
    sys.exit(code)
