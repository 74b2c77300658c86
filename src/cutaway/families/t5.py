"""T5 (Raffel et al., 2020): pre-norm encoder-decoder, RMSNorm, relative bias by distance, unscaled scores."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.init import constant_, normal_

from ..names import Row
from ..parts import MLP, Attention, Block, Context, EncoderDecoder, GatedMLP, PreNorm, RelativeBias, RMSNorm, Stack
from ..parts.heads import Unembed
from ..scores import CAUSAL, FULL
from .mesh import MT5, MT5_LOGITS, ORIGINAL, T5_LOGITS, UMT5_LOGITS, published


@dataclass(frozen=True)
class Config:
    vocab: int = 32_128
    width: int = 512
    depth: int = 6
    decoder_depth: int | None = None  # None: as deep as the encoder
    heads: int = 8
    head_dim: int = 64
    hidden: int = 2048
    act: str = "relu"
    gated: bool = False
    buckets: int = 32
    max_distance: int = 128
    shared_bias: bool = True  # one relative bias for all layers of a stack; in UMT5 one for each
    eps: float = 1e-6
    tied: bool = True
    scaled: bool = True  # hidden states by 1/√width before the logits
    dropout: float = 0.1
    factor: float = 1.0  # of all initial weights
    head: str = "lm"


def half(c: Config, depth: int, decoder: bool) -> Stack:
    """The encoder, or the decoder."""
    norm = lambda: RMSNorm(c.width, c.eps)
    near = lambda: RelativeBias(c.heads, c.buckets, c.max_distance, bidirectional=not decoder)
    attend = lambda **more: Attention(
        c.width, c.heads, head_dim=c.head_dim, bias="", scale=1.0, dropout=c.dropout, **more
    )
    feed = lambda: (GatedMLP if c.gated else MLP)(c.width, c.hidden, c.act, bias=False, dropout=c.dropout)
    step = lambda sublayer: PreNorm(norm(), sublayer, c.dropout)
    cross = lambda: {"cross": step(attend(cross=True))} if decoder else {}
    own = lambda: attend(relative=None if c.shared_bias else near())
    blocks = [Block(attention=step(own()), **cross(), mlp=step(feed())) for _ in range(depth)]
    return Stack(blocks, norm(), CAUSAL if decoder else FULL, near() if c.shared_bias else None)


class T5(EncoderDecoder):
    def __init__(self, c: Config):
        super().__init__(c)
        self.embed, self.dropout = nn.Embedding(c.vocab, c.width), nn.Dropout(c.dropout)
        self.encoder = half(c, c.depth, decoder=False)
        self.decoder = half(c, c.decoder_depth or c.depth, decoder=True)
        tied, scale = self.embed if c.tied else None, c.width**-0.5 if c.scaled else 1.0
        self.head = Unembed(c.width, c.vocab, tied=tied, scale=scale) if c.head == "lm" else None

    def encode(self, ids: Int[Tensor, "B M"], ctx: Context) -> Float[Tensor, "B M D"]:
        return self.dropout(self.encoder(self.dropout(self.embed(ids)), ctx))

    def decode(self, ids: Int[Tensor, "B N"], ctx: Context) -> Float[Tensor, "B N D"]:
        return self.dropout(self.decoder(self.dropout(self.embed(ids)), ctx))

    def initialise(self) -> None:
        """Mesh TensorFlow's: 1/√fan-in, q by another 1/√head_dim as scores are not scaled, embeddings 1."""
        c, fans = self.config, {"embed.weight": 1, "head.weight": 1}
        for name, weight in self.named_parameters():
            fan = c.width if name.endswith("table.weight") else fans.get(name, weight.shape[-1])
            std = c.factor * (fan * c.head_dim if name.endswith(".q.weight") else fan) ** -0.5
            constant_(weight, c.factor) if weight.ndim == 1 else normal_(weight, std=std)


class T5Encoder(T5):
    """The encoder alone."""

    kind = "encoder"

    def __init__(self, c: Config):
        super().__init__(c)
        del self.decoder

    def forward(self, ids: Int[Tensor, "B N"], ctx: Context | None = None) -> Tensor:  # type: ignore[override]
        return self.encode(ids, ctx or Context.of())


def rows(c: Config) -> list[Row]:
    their, our, cross = "{s:encoder|decoder}.block.{i}.layer", "{s}.blocks.{i}", "decoder.blocks.{i}.cross"
    table, last = "SelfAttention.relative_attention_bias.weight", {"encoder": 1, "decoder": 2}
    shared = Row(f"{{s:encoder|decoder}}.block.0.layer.0.{table}", "{s}.bias.table.weight")
    each = Row(f"{their}.0.{table}", f"{our}.attention.sublayer.relative.table.weight")
    feed = [("wi_0", "gate"), ("wi_1", "up"), ("wo", "down")] if c.gated else [("wi", "up"), ("wo", "down")]
    ends = [(f"{s}.block.{{i}}.layer.{n}", f"{s}.blocks.{{i}}.mlp") for s, n in last.items()]
    return [
        Row("shared.weight", "embed.weight", also=tuple(f"{s}.embed_tokens.weight" for s in last)),
        shared if c.shared_bias else each,
        Row(f"{their}.0.SelfAttention.{{x:q|k|v|o}}.weight", f"{our}.attention.sublayer.{{x}}.weight"),
        Row(f"{their}.0.layer_norm.weight", f"{our}.attention.norm.weight"),
        Row("decoder.block.{i}.layer.1.EncDecAttention.{x:q|k|v|o}.weight", f"{cross}.sublayer.{{x}}.weight"),
        Row("decoder.block.{i}.layer.1.layer_norm.weight", f"{cross}.norm.weight"),
        *(Row(f"{t}.DenseReluDense.{a}.weight", f"{o}.sublayer.{b}.weight") for t, o in ends for a, b in feed),
        *(Row(f"{t}.layer_norm.weight", f"{o}.norm.weight") for t, o in ends),
        Row("{s:encoder|decoder}.final_layer_norm.weight", "{s}.norm.weight"),
    ]


FORMATS = {
    "t5": published("T5", rows, T5_LOGITS, ORIGINAL, shared_bias=True),
    "mt5": published("MT5", rows, MT5_LOGITS, MT5, shared_bias=True),
    "umt5": published("UMT5", rows, UMT5_LOGITS, MT5, shared_bias=False),
}
NETWORK = lambda c: T5Encoder(c) if c.head == "encoder" else T5(c)
