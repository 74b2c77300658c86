"""Transformers with the cover off: compose, train, run and look inside, from one set of readable parts."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .contracts import check
    from .costs import count
    from .hub import build, load, save
    from .kernels import attention
    from .looking import edit, record
    from .looking.roles import roles
    from .looking.widget import look
    from .quantization import quantize

__version__ = "0.1.0"
__all__ = ["attention", "build", "check", "count", "edit", "load", "look", "quantize", "record", "roles", "save"]

# Each name is imported on its first use, so that `import cutaway` and `cutaway --help` do not pay for torch.
HOME = {
    "attention": ".kernels",
    "build": ".hub",
    "check": ".contracts",
    "count": ".costs",
    "edit": ".looking",
    "load": ".hub",
    "look": ".looking.widget",
    "quantize": ".quantization",
    "record": ".looking",
    "roles": ".looking.roles",
    "save": ".hub",
}


def __getattr__(name: str) -> object:
    if name not in HOME:
        raise AttributeError(f"cutaway has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(HOME[name], __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
