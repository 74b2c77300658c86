"""A network as the step function of decoding: new tokens in, next logits out, keys and values kept."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..kernels.product import decoding
from ..parts import Cache, Context, EncoderDecoder, Network
from ..scores import OPEN, Padding, Rule
from ..swift import Swift
from .processors import NOTHING, Ids, Logits


class NetworkStep:
    """``step(ids, rows)`` for a decoder, alone or reading what its encoder makes of ``source`` [B, M].

    The first call reads the prompts [B·copies, N]: each stands there ``copies`` times, is read once and then
    copied. Ids are NOTHING where there is no token; ``room`` more of them are expected, and up to ``back`` taken
    back at a time."""

    def __init__(
        self, network: Network, room: int, copies: int = 1, source: Int[Tensor, "B M"] | None = None, back: int = 0
    ):
        assert network.head is not None  # generate lets only language models through
        self.network, self.head, self.source = network, network.head, source
        self.room, self.copies = room, copies
        self.run = network.decode if isinstance(network, EncoderDecoder) else network
        self.cache, self.rule, self.memory_rule = Cache(back=back, run=Swift()), OPEN, OPEN
        self.places: Tensor | None = None
        self.memory: Tensor | None = None

    @torch.no_grad()
    def __call__(self, ids: Ids, rows: Int[Tensor, " R"] | None = None) -> Logits:
        if self.cache.length == 0:
            return self.begin(ids[:: self.copies])
        if rows is not None:
            self.cache.reorder(rows, memory=False)  # beams trade places over one source
        return self.read(ids)[:, 0]

    @torch.no_grad()
    def again(self, ids: Ids, at: int) -> Float[Tensor, "R n V"]:
        """The logits after each of the new tokens, which stand from slot ``at`` on; what stood there is forgotten."""
        self.cache.cut(at)
        return self.read(ids, ids.shape[1])

    def begin(self, ids: Int[Tensor, "B N"]) -> Logits:
        """Reads the sources and the prompts, then makes the copies. Raises ValueError for NaN."""
        real = F.pad((ids != NOTHING).byte(), (0, self.room), value=1).bool()
        if isinstance(self.network, EncoderDecoder) and self.source is not None:
            self.memory_rule, places = padding(self.source != NOTHING)
            ctx = Context(self.memory_rule, places, places)
            self.memory = self.network.encode(self.source.clamp(min=0), ctx)
        self.rule, self.places = padding(real)
        self.cache.capacity = real.shape[1]
        logits = self.read(ids)[:, 0]
        if logits.isnan().any():
            raise ValueError("the model's logits are NaN: its weights are damaged, or too large for their dtype")
        if self.copies == 1:
            return logits
        rows = torch.arange(len(ids), device=ids.device).repeat_interleave(self.copies)
        self.cache.reorder(rows)
        self.rule, self.places = padding(real[rows])
        if self.source is not None and self.memory is not None:
            self.memory, (self.memory_rule, _) = self.memory[rows], padding(self.source[rows] != NOTHING)
        return logits[rows]

    def read(self, ids: Ids, wanted: int = 1) -> Float[Tensor, "R n V"]:
        """The logits after the last ``wanted`` of the new tokens."""
        at, new = self.cache.length, None
        if self.places is not None:  # a row that has ended has no place of its own any more
            new = self.places[:, at : at + ids.shape[1]].masked_fill(ids == NOTHING, 0)
        ctx = Context(self.rule, new, self.places, at, self.memory, self.memory_rule, self.cache)
        with decoding():
            return self.head(self.run(ids.clamp(min=0), ctx)[:, -wanted:]).float()


def padding(real: Bool[Tensor, "B K"]) -> tuple[Rule, Int[Tensor, "B K"] | None]:
    """The rule that hides padding, and the position of every slot; None where that is the slot itself."""
    if real.all():
        return OPEN, None
    return OPEN & Padding(real), (real.long().cumsum(-1) - 1).clamp(min=0)
