"""The Transformer (Vaswani et al., 2017): post-norm encoder-decoder, ReLU, sinusoids, one embedding for all.

Sines stand before cosines here, as in the paper's own code; by turns, as in its formula, is another order of channels.
Marian's translators are this model. FSMT (Ng et al., 2019) has a vocabulary for each language; M2M-100 (Fan et al.,
2020) and NLLB are pre-norm."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.init import xavier_uniform_

from ..names import Row
from ..parts import MLP, Attention, Context, EncoderDecoder, LayerNorm, PostNorm, PreNorm, Stack, Unembed, initialise
from ..parts.positions import Learned, Sinusoidal
from ..scores import CAUSAL
from .fairseq import Spare, layer_rows, logit_rows, published, wave_table
from .halves import Halves, block, fixed_bias
from .keys import always, pick
from .translators import FSMT, FSMT_VOCABULARY, M2M, MARIAN, MARIAN_VOCABULARY, PAD, SIZES, STD


@dataclass(frozen=True)
class Config(Halves):
    depth: int = 6
    heads: int = 8
    hidden: int = 2048
    vocab: int = 37_000
    source_vocab: int | None = None  # of the encoder, if it has an embedding of its own
    width: int = 512
    length: int = 512  # of stored positions; sinusoids have no end
    act: str = "relu"
    residual: str = "post"  # "pre": also a norm at the end of each half
    ends: bool = False  # fairseq's sinusoids
    offset: int = 0  # of positions
    stored: tuple[str, ...] = ("base",)  # the heads whose checkpoints hold the sinusoids
    scaled: bool = True  # embeddings by √width
    tied: bool = True  # logits by the decoder's embedding
    bias: bool = True  # of the logits, 0 and not trained, as Marian's checkpoints have one
    std: float | None = None  # of initial weights; None: Xavier's
    head: str = "lm"


class Transformer(EncoderDecoder):
    def __init__(self, c: Config):
        super().__init__(c)
        norm = lambda: LayerNorm(c.width)
        residual = pick(c.residual, post=lambda: PostNorm, pre=lambda: PreNorm)
        step = lambda sublayer: residual(norm(), sublayer, c.dropout)
        attend = lambda n, cross=False: step(Attention(c.width, n, dropout=c.attention_dropout, cross=cross))
        feed = lambda n: step(MLP(c.width, n, c.act, dropout=c.activation_dropout))
        reads = lambda n: {"attention": attend(n), "cross": attend(n, cross=True)}
        encode = lambda: block(c.layer_drop, attention=attend(c.heads), mlp=feed(c.hidden))
        decode = lambda: block(c.decoder_layer_drop, **reads(c.decoder_heads), mlp=feed(c.decoder_hidden))
        waves = lambda: Sinusoidal(c.width, offset=c.offset, interleaved=False, ends=c.ends)
        table = lambda: Learned(c.length, c.width, offset=c.offset).requires_grad_(False)
        both = lambda make: nn.ModuleDict({"encoder": make(), "decoder": make()})
        last = norm if c.residual == "pre" else lambda: None
        self.scale, self.source_vocab = c.width**0.5 if c.scaled else 1.0, c.source_vocab
        self.embed, self.places = nn.Embedding(c.vocab, c.width), both(table if c.head in c.stored else waves)
        self.source = None if c.source_vocab is None else nn.Embedding(c.source_vocab, c.width)
        self.dropout = nn.Dropout(c.dropout)
        self.encoder = Stack([encode() for _ in range(c.depth)], last())
        self.decoder = Stack([decode() for _ in range(c.decoder_depth)], last(), CAUSAL)
        unembed = lambda: Unembed(c.width, c.vocab, tied=self.embed if c.tied else None, bias=c.bias)
        self.head = fixed_bias(unembed()) if c.head == "lm" else None

    def enter(self, x: Float[Tensor, "B N D"], ctx: Context, half: str) -> Float[Tensor, "B N D"]:
        """Embeddings and where they stand."""
        return self.dropout(x * self.scale + self.places[half](ctx.places(x)).to(x.dtype))

    def encode(self, ids: Int[Tensor, "B M"], ctx: Context) -> Float[Tensor, "B M D"]:
        return self.encoder(self.enter((self.source or self.embed)(ids), ctx, "encoder"), ctx)

    def decode(self, ids: Int[Tensor, "B N"], ctx: Context) -> Float[Tensor, "B N D"]:
        return self.decoder(self.enter(self.embed(ids), ctx, "decoder"), ctx)

    def initialise(self) -> None:
        c = self.config
        initialise(self, c.std or c.width**-0.5)
        for part in self.modules() if c.std is None else ():
            if isinstance(part, nn.Linear):
                xavier_uniform_(part.weight)
        for place in self.places.values() if c.head in c.stored else ():
            place.load_state_dict({"weight": wave_table(c.length, c.width, offset=c.offset, ends=c.ends)})


def rows(c: Config, shared: str = "shared.weight") -> list[Row]:
    names = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    all_of_one = [Row(shared, "embed.weight", also=tuple(n for n in names if n != shared))]
    one_each = [Row(names[0], "source.weight"), Row(names[1], "embed.weight")]
    table = lambda: wave_table(c.length, c.width, offset=c.offset, ends=c.ends)
    places = [Spare(f"{s}.embed_positions.weight", f"places.{s}.weight", made=table) for s in ("encoder", "decoder")]
    embeds = all_of_one if c.source_vocab is None else one_each
    return [*embeds, *(places if c.head in c.stored else ()), *layer_rows()]


def fsmt_rows(c: Config) -> list[Row]:
    return rows(c, "decoder.embed_tokens.weight")


LM, BOTH = {"ForConditionalGeneration": "lm"}, {"ForConditionalGeneration": "lm", "Model": "base"}
FSMT_HEAD, M2M_HEAD = Row("model.decoder.output_projection.weight", "head.weight"), Row("lm_head.weight", "head.weight")
MARIAN_IS = always(residual="post", ends=False, offset=0, stored=("base",), bias=True)
FSMT_IS = always(residual="post", ends=True, stored=("lm",), bias=False)
M2M_IS = always(residual="pre", ends=True, stored=(), bias=False, source_vocab=None, tied=True)
FORMATS = {
    "marian": published("Marian", {"MTModel": "lm", "Model": "base"}, (rows, logit_rows),
        (STD, MARIAN_VOCABULARY, MARIAN_IS), defaults=MARIAN, sizes=SIZES),
    "fsmt": published("FSMT", LM, (fsmt_rows, lambda c: [FSMT_HEAD]),
        (STD, PAD, FSMT_VOCABULARY, FSMT_IS), defaults=FSMT, fixed={"langs": ..., "decoder": ...}),
    "m2m_100": published("M2M100", BOTH, (rows, lambda c: [M2M_HEAD]), (STD, PAD, M2M_IS), (True, False, True),
        {"vocab_size": "vocab"}, {"tie_word_embeddings": True}, defaults=M2M),
}  # fmt: skip
NETWORK = Transformer
