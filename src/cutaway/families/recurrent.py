"""Recurrent translators: RNN, LSTM or GRU, aligned as by Bahdanau et al. (2015) or by Luong et al. (2015).

No format of these was ever published: config.json and the tensors have our own names. The decoder begins with
Bahdanau's ``tanh(W h)`` of the source's annotation that has read all of it; Luong copies the encoder's states."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.init import normal_, orthogonal_, xavier_uniform_, zeros_

from ..names import Format, Row
from ..parts import Context, EncoderDecoder, Unembed
from ..scores import OPEN, Rule
from .alignment import Alignment, Bahdanau, Luong
from .keys import pick
from .recurrence import Flow, Recurrent, State


@dataclass(frozen=True)
class Config:
    vocab: int = 30_000
    source_vocab: int | None = None  # of the encoder, if it has an embedding of its own
    embedding: int = 620
    width: int = 1000  # of each direction and of the decoder
    depth: int = 1
    cell: str = "gru"  # or rnn, lstm
    bidirectional: bool = True
    attention: str = "bahdanau"  # before the cell, from its last state; "luong": after it
    score: str = "concat"  # or general, dot
    feeding: bool = False  # Luong's cell also reads what the step before it made
    dropout: float = 0.0
    head: str = "lm"

    def __post_init__(self) -> None:
        if self.attention == "bahdanau" and (self.feeding or self.width % 2):
            raise ValueError(f"Bahdanau's cell reads its context anyway, and halves an even width, got {self}")
        if self.score == "dot" and self.bidirectional:
            raise ValueError("score='dot' needs annotations of the decoder's width: bidirectional=False, or 'general'")

    @property
    def memory(self) -> int:
        """The width of an annotation."""
        return self.width * (2 if self.bidirectional else 1)


class Translator(EncoderDecoder):
    def __init__(self, c: Config):
        super().__init__(c)
        self.embed, self.source_vocab = nn.Embedding(c.vocab, c.embedding), c.source_vocab
        self.source = None if c.source_vocab is None else nn.Embedding(c.source_vocab, c.embedding)
        self.dropout = nn.Dropout(c.dropout)
        self.encoder = Recurrent(c.cell, c.embedding, c.width, c.depth, c.dropout, back=c.bidirectional)
        self.states = 2 if c.cell == "lstm" else 1
        self.bridge, self.align = nn.Linear(c.width, self.states * c.depth * c.width), Alignment(c)
        self.decoder = pick(c.attention, bahdanau=lambda: Bahdanau(c), luong=lambda: Luong(c))
        hidden = c.width // 2 if c.attention == "bahdanau" else c.width
        self.head = Unembed(hidden, c.vocab, bias=True) if c.head == "lm" else None

    def encode(self, ids: Int[Tensor, "B M"], ctx: Context) -> Float[Tensor, "B M D"]:
        flow = Flow.of(ctx.rule, ids, back=self.config.bidirectional)
        return self.encoder(self.dropout((self.source or self.embed)(ids)), flow)

    def begin(self, memory: Tensor, rule: Rule, rows: Int[Tensor, " R"], slots: Int[Tensor, " R"]) -> State:
        """First states: from the annotation that was read last, the first one of the way back, of what is seen."""
        c, places = self.config, torch.arange(memory.shape[1], device=memory.device)
        seen = rule.mask(rows[:, None], rows.new_zeros(()), slots[:, None], places).expand(len(rows), -1).long()
        last = seen.argmax(-1) if c.bidirectional else places[-1] - seen.flip(-1).argmax(-1)
        made = torch.tanh(self.bridge(memory[rows, last, -c.width :])).unflatten(-1, (self.states, c.depth, c.width))
        return made.unbind(1)

    def decode(self, ids: Int[Tensor, "B N"], ctx: Context) -> Float[Tensor, "B N _"]:
        memory, rule, cache = ctx.memory, ctx.memory_rule or OPEN, ctx.cache
        if memory is None:
            raise ValueError("a translator's decoder needs a memory to read: a context that has one")
        make = lambda: self.align.keys(memory)
        k, v = make() if cache is None else cache.once(self.align, make)
        last, *state = (None,) if cache is None or ctx.at == 0 else cache.states[self]
        flow, y = Flow.of(ctx.rule, ids, ctx.at, last), self.dropout(self.embed(ids))
        read = lambda s, slot: self.align(s, k, v, rule, slot)
        begin = lambda rows, slots: self.begin(memory, rule, rows, slots)
        hidden, after = self.decoder(y, read, flow, begin, tuple(state) or None, cache is not None)
        if cache is not None:
            cache.keep(self, (flow.last, *after), ctx.at + ids.shape[1])
        return self.dropout(hidden)

    def initialise(self) -> None:
        """Recurrent matrices orthogonal (Bahdanau), the others Xavier's, biases 0 but 1 for an LSTM to remember."""
        for name, weight in self.named_parameters():
            if weight.ndim == 1:
                zeros_(weight)
            elif name.startswith(("embed.", "source.")):
                normal_(weight, std=weight.shape[1] ** -0.5)
            elif ".weight_hh" in name:
                for gate in weight.data.split(weight.shape[1]):
                    orthogonal_(gate)
            else:
                xavier_uniform_(weight)
            if ".bias_ih" in name and self.states == 2:
                weight.data[len(weight) // 4 : len(weight) // 2] = 1.0


FIELDS = {f.name: f.name for f in fields(Config) if f.name != "head"}
HEADS = {"RecurrentForConditionalGeneration": "lm", "RecurrentModel": "base"}
SIZES = {
    "rnnsearch": {},
    "luong": dict(vocab=50_000, embedding=1000, depth=4, cell="lstm", bidirectional=False, attention="luong",
        score="general", feeding=True, dropout=0.2),
}  # fmt: skip
IDS = {"pad_token_id": 0, "decoder_start_token_id": 1, "eos_token_id": 2}
FORMATS = {"recurrent": Format(lambda c: [Row("{name:.+}", "{name}")], HEADS, FIELDS, defaults=IDS, sizes=SIZES)}
NETWORK = Translator
