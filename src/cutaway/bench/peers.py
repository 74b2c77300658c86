"""Who is measured: Cutaway and its peers, what each can do, and which are installed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from .works import DTYPES, FLOATS, Work, known_one

LM = ("llama", "gpt2")
PLAIN = ("",)


@dataclass(frozen=True)
class Entry:
    """A contestant: a peer's way (``variant``) of doing things in one precision."""

    peer: str
    dtype: str
    variant: str = ""

    @property
    def name(self) -> str:
        return " ".join(filter(None, [self.peer, self.variant, self.dtype]))


@dataclass(frozen=True)
class Peer:
    """A peer: the module of ``contestants`` that runs it, the package it needs, and which kinds of work it does,
    for which model types (() where a work has no model), in which ways and precisions."""

    module: str
    package: str
    does: Mapping[str, Sequence[str]]
    dtypes: Sequence[str]
    variants: Mapping[str, Sequence[str]]
    usual: Sequence[str] = PLAIN
    converts: bool = False  # has a "prepare", which writes files of its own

    @property
    def installed(self) -> bool:
        return find_spec(self.package) is not None

    def entries(self, name: str, work: Work) -> list[Entry]:
        """What this peer takes part with."""
        families = self.does.get(work.kind)
        if families is None or (work.shape is not None and work.shape.family not in families):
            return []
        ways = self.variants.get(work.kind, self.usual)
        return [Entry(name, dtype, way) for dtype in work.dtypes if dtype in self.dtypes for way in ways]


OURS = "cutaway"


def ours(dtype: str) -> Entry:
    """Cutaway as the others are compared with it."""
    return Entry(OURS, dtype)


FAMILIES = dict(
    encode=("bert",), prefill=("llama",), decode=LM, translate=("marian",), train=("gpt2",), load=("llama",)
)
PEERS = {
    OURS: Peer(
        "ours", "cutaway", {**FAMILIES, "record": ("llama",), "import": ()}, DTYPES, {"record": ("", "recorded")}
    ),
    "transformers": Peer(
        "hf", "transformers", {**FAMILIES, "record": ("llama",), "import": ()}, FLOATS,
        {"record": ("eager", "recorded"), "load": ("sdpa",), "import": PLAIN}, ("sdpa", "eager"),
    ),
    "torch.nn": Peer("torchnn", "torch", {"encode": ("bert",), "import": ()}, FLOATS, {}),
    "plain": Peer("plain", "torch", {"train": ("gpt2",)}, FLOATS, {}),
    "x-transformers": Peer("xtransformers", "x_transformers", {"prefill": ("llama",), "import": ()}, FLOATS, {}),
    "ctranslate2": Peer(
        "ctranslate", "ctranslate2",
        {kind: FAMILIES[kind] for kind in ("encode", "prefill", "decode", "translate", "load")} | {"import": ()},
        ("fp32", "int8"), {}, converts=True,
    ),
    "llama.cpp": Peer(
        "llamacpp", "llama_cpp", {"prefill": ("llama",), "decode": ("llama",), "load": ("llama",), "import": ()},
        DTYPES, {}, converts=True,
    ),
}  # fmt: skip


def invited(names: Sequence[str]) -> tuple[dict[str, Peer], list[str]]:
    """The installed ones of the peers named, of all if there are none; and the names of those that are not installed.

    Cutaway is always there: the others are compared with it. Raises ValueError for a peer that is not known."""
    for name in names:
        known_one(name, PEERS, "peer")
    wanted = {name: peer for name, peer in PEERS.items() if not names or name in names or name == OURS}
    here = {name: peer for name, peer in wanted.items() if peer.installed}
    return here, [name for name in wanted if name not in here]
