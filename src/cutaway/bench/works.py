"""What is measured: shapes of models, and works done with them. Values only; nothing here runs."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

NOTHING: Mapping[str, Any] = MappingProxyType({})
DTYPES = ("fp32", "bf16", "int8", "int4")
FLOATS = ("fp32", "bf16")
BYTES = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0, "int4": 0.5}


@dataclass(frozen=True)
class Shape:
    """A model of random weights: a model type, the fields of its config, the dtype its checkpoint is written in."""

    name: str
    family: str
    config: Mapping[str, Any]
    stored: str = "fp32"


@dataclass(frozen=True)
class Work:
    """One thing to do, again and again: ``batch`` rows of ``length`` tokens in, ``new`` tokens out of each."""

    name: str
    kind: str
    shape: Shape | None = None
    batch: int = 1
    length: int = 0
    new: int = 0
    beams: int = 1
    dtypes: Sequence[str] = DTYPES

    @property
    def model(self) -> Shape:
        """The shape of a work that has one."""
        assert self.shape is not None
        return self.shape

    @property
    def unit(self) -> str:
        return "times/s" if self.kind in ("load", "import") else "tokens/s"

    @property
    def units(self) -> int:
        """What one repetition counts as. Of a continuation the tokens after the first, which prefill makes."""
        if self.kind in ("load", "import"):
            return 1
        return self.batch * (self.new - 1 if self.kind == "decode" else self.new or self.length)

    def __str__(self) -> str:
        if self.shape is None:
            return self.name
        told = f"{self.name}: {self.shape.name}, batch {self.batch}, {self.length} tokens in"
        return told + (f", {self.new} new" if self.new else "") + (f", beam {self.beams}" if self.beams > 1 else "")


def language_model(name: str, stored: str = "fp32", **config: Any) -> Shape:
    return Shape(name, "llama", dict(tied=True, length=2048, **config), stored)


STILL: dict[str, Any] = dict(dropout=0.0, attention_dropout=0.0)
BASE: dict[str, Any] = dict(width=768, depth=12, heads=12)
BERT = Shape("bert-base", "bert", dict(vocab=30_522, head="base", **BASE, **STILL))
GPT2 = Shape("gpt2-small", "gpt2", dict(vocab=50_257, embed_dropout=0.0, **BASE, **STILL))
LLAMA = language_model("llama-124m", vocab=50_257, hidden=2048, **BASE)
LLAMA_1B = language_model(
    "llama-1b", "bf16", vocab=128_256, width=2048, depth=16, heads=32, kv_heads=8, hidden=8192
)  # fmt: skip
MARIAN = Shape(
    "marian-base", "marian", dict(vocab=32_001, width=512, depth=6, heads=8, hidden=2048, length=512, dropout=0.0)
)


def decodes(shape: Shape, tag: str, short: int, long: int, new: int) -> list[Work]:
    sizes = [("", 1, short), ("-batch8", 8, short), ("-long", 1, long), ("-long-batch8", 8, long)]
    return [Work(f"decode-{tag}{end}", "decode", shape, batch, length, new) for end, batch, length in sizes]


def encodes(shape: Shape, lengths: Iterable[int]) -> list[Work]:
    sizes = [(n, batch, end) for n in lengths for batch, end in ((1, ""), (8, "-batch8"))]
    return [Work(f"encode-{n}{end}", "encode", shape, batch, n) for n, batch, end in sizes]


def others(lm: Shape, gpt: Shape, length: int) -> list[Work]:
    return [
        Work("train", "train", gpt, 4, length // 2, dtypes=FLOATS),
        Work("record", "record", lm, 1, length, dtypes=FLOATS),
        Work("load", "load", lm, 1, 8, dtypes=("fp32",)),
        Work("import", "import", dtypes=("fp32",)),
    ]


WORKS = {
    work.name: work
    for work in [
        *encodes(BERT, (32, 128, 512)),
        Work("prefill-124m", "prefill", LLAMA, 1, 512),
        Work("prefill-1b", "prefill", LLAMA_1B, 1, 512),
        *decodes(LLAMA, "124m", 32, 960, 64),
        *decodes(GPT2, "gpt2", 32, 960, 64),
        *decodes(LLAMA_1B, "1b", 32, 960, 64),
        Work("translate", "translate", MARIAN, 1, 32, 64, beams=4),
        Work("translate-batch8", "translate", MARIAN, 8, 32, 64, beams=4),
        *others(LLAMA, GPT2, 512),
    ]
}

SMALL: dict[str, Any] = dict(width=64, depth=2, heads=4, hidden=128)
SMALL_LM = language_model("llama-small", vocab=512, kv_heads=2, **SMALL)
SMALL_GPT = Shape("gpt2-tiny", "gpt2", dict(vocab=512, length=128, embed_dropout=0.0, **SMALL, **STILL))
SMALL_BERT = Shape("bert-tiny", "bert", dict(vocab=512, head="base", **SMALL, **STILL))
SMALL_MARIAN = Shape("marian-tiny", "marian", dict(vocab=513, length=64, dropout=0.0, **SMALL))
QUICK = {
    work.name: work
    for work in [
        Work("encode", "encode", SMALL_BERT, 1, 32, dtypes=("fp32",)),
        Work("prefill", "prefill", SMALL_LM, 1, 32, dtypes=("fp32",)),
        Work("decode", "decode", SMALL_LM, 1, 8, 8, dtypes=("fp32", "int8")),
        Work("translate", "translate", SMALL_MARIAN, 1, 8, 8, beams=4, dtypes=("fp32",)),
        *(replace(work, dtypes=("fp32",)) for work in others(SMALL_LM, SMALL_GPT, 32)),
    ]
}


def chosen(names: Sequence[str], quick: bool = False) -> list[Work]:
    """The works of these names or kinds; all if there are none. Raises ValueError for a name that is neither."""
    table = QUICK if quick else WORKS
    known = [*table, *dict.fromkeys(work.kind for work in table.values())]
    for name in names:
        known_one(name, known, "work")
    return [work for work in table.values() if not names or work.name in names or work.kind in names]


def known_one(name: str, known: Iterable[str], what: str) -> str:
    """``name`` if it is known. Raises ValueError, with the nearest that is, if not."""
    known = list(dict.fromkeys(known))
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, 1)
    raise ValueError(f"no {what} {name!r}" + (f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"))
