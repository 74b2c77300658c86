"""BART (Lewis et al., 2019): encoder-decoder with learned positions, GELU, a norm right after the embedding.

mBART (Liu et al., 2020) is pre-norm and begins with a language; PEGASUS (Zhang et al., 2019) has sinusoids instead."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Format, Row
from ..parts import MLP, Attention, Context, EncoderDecoder, LayerNorm, Learned, PostNorm, PreNorm, Stack, initialise
from ..parts.heads import Classifier, Pooler, Unembed
from ..scores import CAUSAL
from .fairseq import IDS, Spare, layer_rows, logit_rows, published, wave_table
from .halves import Halves, block, fixed_bias
from .keys import always, pick


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
    classifier_dropout: float = 0.0
    std: float = 0.02
    labels: int = 2
    head: str = "lm"


class BART(EncoderDecoder):
    summary = "eos"

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
        table = lambda: Learned(c.length, c.width, offset=0 if c.sinusoidal else 2).requires_grad_(not c.sinusoidal)
        both = lambda make: nn.ModuleDict({"encoder": make(), "decoder": make()})
        last = norm if c.residual == "pre" else lambda: None
        pooler = lambda: Pooler(c.width, dropout=c.classifier_dropout)
        self.wraps, self.scale = c.wraps, c.width**0.5 if c.scaled else 1.0
        self.embed, self.places = nn.Embedding(c.vocab, c.width), both(table)
        self.norms, self.dropout = both(norm if c.embed_norm else nn.Identity), nn.Dropout(c.dropout)
        self.encoder = Stack([encode() for _ in range(c.depth)], last())
        self.decoder = Stack([decode() for _ in range(c.decoder_depth)], last(), CAUSAL)
        self.head = pick(
            c.head,
            base=lambda: None,
            lm=lambda: fixed_bias(Unembed(c.width, c.vocab, tied=self.embed, bias=True)),
            sequence=lambda: Classifier(c.width, c.labels, pooler(), c.classifier_dropout),
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
        c = self.config
        initialise(self, c.std)
        for place in self.places.values() if c.sinusoidal else ():
            place.load_state_dict({"weight": wave_table(c.length, c.width)})


def rows(c: Config) -> list[Row]:
    table = lambda: wave_table(c.length, c.width)
    place = (lambda t, o: Spare(t, o, made=table)) if c.sinusoidal else Row
    return [
        Row("shared.weight", "embed.weight", also=("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")),
        *(place(f"{s}.embed_positions.weight", f"places.{s}.weight") for s in ("encoder", "decoder")),
        Row("{s:encoder|decoder}.layernorm_embedding.{p}", "norms.{s}.{p}"),
        *layer_rows(),
    ]


def head_rows(c: Config) -> list[Row]:
    inner, outer = "classification_head.dense.{p}", "classification_head.out_proj.{p}"
    classifier = [Row(inner, "head.pooler.dense.{p}"), Row(outer, "head.linear.{p}")]
    question = [Row("qa_outputs.{p}", "head.linear.{p}")]
    return {"base": [], "lm": logit_rows(c), "sequence": classifier, "question": question}[c.head]


def form(name: str, tasks: dict[str, str], ids: dict[str, int], **is_: str | bool) -> Format:
    """A model type by what it always is."""
    told = (is_["residual"] == "pre", is_["embed_norm"] is True, is_["sinusoidal"] is True)
    fields = {k: v for k, v in FIELDS.items() if tasks is ALL or k != "classifier_dropout"}
    return published(name, tasks, (rows, head_rows), (always(**is_),), told, fields, TIED, defaults=ids)


TIED = {"tie_word_embeddings": True}
FIELDS = {"vocab_size": "vocab", "init_std": "std", "classifier_dropout": "classifier_dropout"}
TASKS = {"ForConditionalGeneration": "lm", "Model": "base"}
ALL = {**TASKS, "ForSequenceClassification": "sequence", "ForQuestionAnswering": "question"}
GOOGLE = {"pad_token_id": 0, "eos_token_id": 1, "forced_eos_token_id": 1, "decoder_start_token_id": 0}
START = {**IDS, "decoder_start_token_id": 2}
FORMATS = {
    "bart": form("Bart", ALL, START, residual="post", embed_norm=True, sinusoidal=False, wraps=False),
    "mbart": form("MBart", ALL, IDS, residual="pre", embed_norm=True, sinusoidal=False, wraps=True),
    "pegasus": form("Pegasus", TASKS, GOOGLE, residual="pre", embed_norm=False, sinusoidal=True, wraps=False),
}
NETWORK = BART
