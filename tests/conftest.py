"""One footing for every test: shapes checked, one thread, fixed seeds."""

import signal
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import HealthCheck, settings

# torch.compile cannot trace the shape checks: the tests that compile run in their own process, without them.
COMPILING = jaxtyping.config.jaxtyping_disable

SOURCE = Path(__file__).parents[1] / "src"
NUMBA = "cutaway.compiled"  # compiles functions as they are written


def checked() -> list[str]:
    """The modules whose shapes are checked; the name of a package stands for all that is in it."""
    paths = [path.relative_to(SOURCE) for path in SOURCE.rglob("*.py")]
    names = {".".join(path.parent.parts if path.stem == "__init__" else path.with_suffix("").parts) for path in paths}
    return sorted(name for name in names - {"cutaway"} if not name.startswith(NUMBA))


def forget_stale_code() -> None:
    """Numba keeps a function's code until its own file changes, whatever it calls: forget what is older than any."""
    compiled = SOURCE / "cutaway" / "compiled"
    newest = max(path.stat().st_mtime for path in compiled.glob("*.py"))
    for kept in compiled.glob("__pycache__/*.nb?"):
        if kept.stat().st_mtime < newest:
            kept.unlink(missing_ok=True)


forget_stale_code()
if not COMPILING:
    jaxtyping.install_import_hook(checked(), "typecheck.check")

# how fast examples come depends on who else uses the machine
settings.register_profile("cutaway", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cutaway")
torch.set_num_threads(1)
# what a shell runs in the background ignores Ctrl-C, and so would every process that a test starts and interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    other = [item for item in items if (item.get_closest_marker("compile") is not None) != COMPILING]
    config.hook.pytest_deselected(items=other)
    items[:] = [item for item in items if item not in other]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
