"""Parts and parameters of a model by the shell's name patterns, and what of them learns."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn


def choose(names: Mapping[str, Sequence[str]], patterns: Iterable[str], what: str) -> list[str]:
    """The names of which a spelling fits a pattern, in their order; ``names`` maps each to its spellings.

    ``*`` stands for anything, dots too; a pattern may leave out the beginning: ``q`` is ``*.q``. Raises ValueError
    for a pattern that fits nothing, with the nearest that would; ``what`` says in it what was looked for."""
    chosen: set[str] = set()
    for pattern in patterns:
        ends = (pattern, f"*.{pattern}")
        hits = {n for n, spellings in names.items() if any(fnmatchcase(s, end) for s in spellings for end in ends)}
        if not hits:
            raise ValueError(f"{pattern!r} fits no {what}; {near(pattern, names)}")
        chosen |= hits
    return [name for name in names if name in chosen]


def near(pattern: str, names: Mapping[str, Sequence[str]]) -> str:
    """The patterns that are most like this one and do fit."""
    every = [re.sub(r"(?<=\.)\d+(?=\.|$)", "*", spelling) for all_of in names.values() for spelling in all_of]
    pool = list(dict.fromkeys(".".join(name.split(".")[-words:]) for words in (1, 2, 3, 0) for name in every))
    found = difflib.get_close_matches(pattern, pool, 3, 0.4) or pool[:8]
    return f"near it are {', '.join(found)}"


def parameters(model: nn.Module) -> dict[str, list[str]]:
    """Every parameter's name, and with it those of the parts that it is in."""
    names = (name.split(".") for name, _ in model.named_parameters())
    return {".".join(words): [".".join(words[:i]) for i in range(len(words), 0, -1)] for words in names}


def freeze(model: nn.Module, patterns: Iterable[str]) -> list[str]:
    """Stop the parameters that fit a pattern, or lie in a part that does, from learning; returns their names."""
    return learn(model, patterns, False)


def unfreeze(model: nn.Module, patterns: Iterable[str]) -> list[str]:
    """Let the parameters that fit a pattern, or lie in a part that does, learn; returns their names."""
    return learn(model, patterns, True)


def learn(model: nn.Module, patterns: Iterable[str], whether: bool) -> list[str]:
    """Say of the parameters that fit whether they learn. Raises ValueError for a pattern that fits none."""
    chosen = choose(parameters(model), patterns, "parameter and no part that has any")
    for name in chosen:
        model.get_parameter(name).requires_grad_(whether)
    return chosen
