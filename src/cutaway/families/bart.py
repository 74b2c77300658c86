"""BART (Lewis et al., 2019): encoder-decoder with learned positions, GELU, a norm right after the embedding.

mBART (Liu et al., 2020) is pre-norm and begins with a language; PEGASUS (Zhang et al., 2019) has sinusoids instead."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Row
from ..parts import MLP, Attention, Classifier, Context, EncoderDecoder, LayerNorm, Learned, Pooler
from ..parts import PostNorm, PreNorm, Stack, Unembed, initialise
from ..scores import CAUSAL
from .encoders import pick
from .fairseq import FIELDS, HALVES, IDLE, Fairseq, Halves, LayerDrop, Spare, bias_row, layer_rows, waves
from .keys import always

RESIDUAL = {"post": PostNorm, "pre": PreNorm}


@dataclass(frozen=True)
class Config(Halves):
    vocab: int = 50_265
    width: int = 1024
    length: int = 1024
    act: str = "gelu"
    residual: str = "post"  # "pre": also a norm at the end of each half
    sinusoidal: bool = False  # a fixed table of positions instead of a learned one
    embed_norm: bool = True
    scaled: bool = False  # embeddings by √width
    wraps: bool = False  # decoder input begins with the last token of what is to be said: its language
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    classifier_dropout: float = 0.0
    std: float = 0.02
    labels: int = 2
    head: str = "lm"


class BART(EncoderDecoder):
    summary = "eos"

    def __init__(self, c: Config):
        super().__init__(c)
        norm = lambda: LayerNorm(c.width)
        step = lambda sublayer: RESIDUAL[c.residual](norm(), sublayer, c.dropout)
        attend = lambda heads, cross=False: step(Attention(c.width, heads, dropout=c.attention_dropout, cross=cross))
        feed = lambda hidden: step(MLP(c.width, hidden, c.act, dropout=c.activation_dropout))
        encode = lambda: LayerDrop(c.layer_drop, attention=attend(c.heads), mlp=feed(c.hidden))
        heads, hidden = c.decoder_heads, c.decoder_hidden
        reads = lambda: {"attention": attend(heads), "cross": attend(heads, cross=True), "mlp": feed(hidden)}
        decode = lambda: LayerDrop(c.decoder_layer_drop, **reads())
        places = lambda: Learned(c.length, c.width, offset=0 if c.sinusoidal else 2).requires_grad_(not c.sinusoidal)
        both = lambda make: nn.ModuleDict({"encoder": make(), "decoder": make()})
        self.wraps = c.wraps
        self.embed, self.scale = nn.Embedding(c.vocab, c.width), c.width**0.5 if c.scaled else 1.0
        self.places, self.norms = both(places), both(norm if c.embed_norm else nn.Identity)
        self.dropout = nn.Dropout(c.dropout)
        last = norm if c.residual == "pre" else lambda: None
        self.encoder = Stack([encode() for _ in range(c.depth)], last())
        self.decoder = Stack([decode() for _ in range(c.decoder_depth)], last(), CAUSAL)
        self.head = pick(
            c.head,
            base=lambda: None,
            lm=lambda: Unembed(c.width, c.vocab, tied=self.embed, bias=True).requires_grad_(False),
            sequence=lambda: Classifier(
                c.width, c.labels, Pooler(c.width, dropout=c.classifier_dropout), c.classifier_dropout
            ),
            question=lambda: Classifier(c.width, 2),
        )

    def enter(self, ids: Int[Tensor, "B N"], ctx: Context, half: str) -> Float[Tensor, "B N D"]:
        """What a half begins with."""
        x = self.embed(ids) * self.scale + self.places[half](ctx.places(ids))
        return self.dropout(self.norms[half](x))

    def encode(self, ids: Int[Tensor, "B M"], ctx: Context) -> Float[Tensor, "B M D"]:
        return self.encoder(self.enter(ids, ctx, "encoder"), ctx)

    def decode(self, ids: Int[Tensor, "B N"], ctx: Context) -> Float[Tensor, "B N D"]:
        return self.decoder(self.enter(ids, ctx, "decoder"), ctx)

    def initialise(self) -> None:
        initialise(self, self.config.std)
        if self.config.sinusoidal:
            for table in self.places.values():
                table.weight.data.copy_(waves(self.config.length, self.config.width))


def rows(c: Config) -> list[Row]:
    halves, table = ("encoder", "decoder"), lambda: waves(c.length, c.width)
    places = [(f"{s}.embed_positions.weight", f"places.{s}.weight") for s in halves]
    return [
        Row("shared.weight", "embed.weight", also=tuple(f"{s}.embed_tokens.weight" for s in halves)),
        *(Spare(t, o, made=table) if c.sinusoidal else Row(t, o) for t, o in places),
        Row("{s:encoder|decoder}.layernorm_embedding.{p}", "norms.{s}.{p}"),
        *layer_rows(),
    ]


def head_rows(c: Config) -> list[Row]:
    pooler = [Row("classification_head.dense.{p}", "head.pooler.dense.{p}")]
    return {
        "base": [],
        "lm": LOGITS
        "sequence": [*pooler, Row("classification_head.out_proj.{p}", "head.linear.{p}")],
        "question": [Row("qa_outputs.{p}", "head.linear.{p}")],
    }[c.head]
