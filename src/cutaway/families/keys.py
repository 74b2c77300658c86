"""Config keys that several published model types share."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..names import Field, Group, Row

Made = TypeVar("Made")

# their names of the activations that we have; of two names for one, the first is written back
ACTIVATIONS = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "quick_gelu": "gelu_quick", "relu": "relu", "silu": "silu",
    "tanh": "tanh", "gelu_python": "gelu", "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
    "swish": "silu", "linear": "identity",
}  # fmt: skip


def words(to: str, table: Mapping[str, str]) -> Field:
    """A field whose values are words, theirs -> ours; of two for one, the first is written back."""

    def read(word: str) -> str:
        if word not in table:
            raise ValueError(f"{to} {word!r} is not built; known: {', '.join(table)}")
        return table[word]

    def write(word: str) -> str:
        if word not in table.values():
            raise ValueError(f"config.json has no word for {to} {word!r}; it has: {', '.join(table)}")
        return next(theirs for theirs, ours in table.items() if ours == word)

    return Field(to, read, write)


ACT = words("act", ACTIVATIONS)


def always(**ours: Any) -> Group:
    """Fields of ours that a model type does not write down, as they never change in it."""

    def save(c: Any) -> dict[str, Any]:
        if odd := {k: getattr(c, k) for k, v in ours.items() if getattr(c, k) != v}:
            raise ValueError(f"this model type has no place for {odd}: in it they are always {ours}")
        return {}

    return Group((), lambda _: ours, save)


def spelled(to: str, key: str, *older: str) -> Group:
    """A field with a key of today, which is written, and older ones, which go first when they are there."""

    def load(theirs: dict[str, Any]) -> dict[str, Any]:
        return {to: [*theirs.values()][-1]} if theirs else {}

    return Group((key, *older), load, lambda c: {key: getattr(c, to)})


def lm_head(c: Any) -> list[Row]:
    """The head of a language model as most name it."""
    return [Row("lm_head.weight", "head.weight")]


def pick(name: str, **made: Callable[[], Made]) -> Made:
    """What has this name. Raises ValueError with the names that there are."""
    if name not in made:
        raise ValueError(f"{name!r} is not built here; what is: {', '.join(made)}")
    return made[name]()
