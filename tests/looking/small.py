"""Small models that can be looked at by their texts, and what a page reads."""

import json
from typing import Any

import torch
from safetensors.torch import load

import cutaway
from cutaway.looking.desk import Desk
from cutaway.model import Model
from cutaway.text import Tokenizer

SMALL: dict[str, dict[str, Any]] = {
    "gpt2": dict(width=32, depth=2, heads=4, length=64),
    "bert": dict(width=32, depth=2, heads=4, hidden=64, length=64, head="masked_lm"),
    "t5": dict(width=32, depth=2, heads=4, hidden=48),
    "recurrent": dict(embedding=16, width=16),
}
TEXT, TARGET = "it was so tired", "er war"


def small(name: str) -> Model:
    """A model with fresh weights that reads bytes."""
    torch.manual_seed(0)
    model = cutaway.build(name, vocab=259, **SMALL[name])
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)  # nothing is 0 or uniform any more
    model.tokenizer = Tokenizer.bytes()
    return model


def opened(name: str) -> tuple[Desk, str]:
    """A desk, and the id of a look."""
    desk = Desk(small(name), name)
    return desk, desk.look(TEXT, TARGET if desk.bench.model.kind == "encoder-decoder" else None)


def read(file: bytes) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The arrays and the metadata of a safetensors file, by the reader of others."""
    size = int.from_bytes(file[:8], "little")
    return load(file), json.loads(file[8 : 8 + size]).get("__metadata__", {})
