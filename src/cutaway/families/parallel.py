"""Decoder blocks whose sublayers run one after the other or side by side (Wang and Komatsuzaki, 2021)."""

from collections.abc import Callable

from torch import nn

from ..parts import Block, ParallelBlock, PreNorm


def block(form: str, norm: Callable[[], nn.Module], dropout: float, **sublayers: nn.Module) -> Block:
    """A block of ``form`` "sequential", "parallel", or "shared": parallel, all reading one norm.

    Raises ValueError for another form."""
    each = nn.Identity if form == "shared" else norm
    steps = {name: PreNorm(each(), sublayer, dropout) for name, sublayer in sublayers.items()}
    match form:
        case "sequential":
            return Block(**steps)
        case "parallel":
            return ParallelBlock(**steps)
        case "shared":
            return ParallelBlock(norm(), **steps)
    raise ValueError(f"a block's form is sequential, parallel or shared, not {form!r}")
