"""T5 (Raffel et al., 2020): pre-norm encoder-decoder, RMSNorm, relative bias by distance bucket, unscaled scores."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.init import constant_, normal_

from .. import parts
from ..names import Format, Group, Row
from ..parts import Attention, Block, Context, EncoderDecoder, PreNorm, RelativeBias, RMSNorm, Stack, Unembed
from ..scores import CAUSAL, FULL
from .keys import ACT, always


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
    scaled: bool = True  # the hidden states by 1/√width, before the logits
    dropout: float = 0.1
    factor: float = 1.0  # of all initial weights
    head: str = "lm"


def half(c: Config, depth: int, decoder: bool) -> Stack:
    """The encoder, or the decoder."""
    near = lambda: RelativeBias(c.heads, c.buckets, c.max_distance, bidirectional=not decoder)
    attend = lambda cross, relative: Attention(
        c.width, c.heads, head_dim=c.head_dim, bias="", relative=relative, scale=1.0, dropout=c.dropout, cross=cross
    )
    feed = lambda: (parts.GatedMLP if c.gated else parts.MLP)(c.width, c.hidden, c.act, bias=False, dropout=c.dropout)
    norm = lambda: RMSNorm(c.width, c.eps)
    step = lambda sublayer: PreNorm(norm(), sublayer, c.dropout)
    own = lambda: step(attend(False, None if c.shared_bias else near()))
    cross = lambda: {"cross": step(attend(True, None))} if decoder else {}
    blocks = [Block(attention=own(), **cross(), mlp=step(feed())) for _ in range(depth)]
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
        """Mesh TensorFlow's: 1/√fan-in, for q another 1/√head_dim as scores are not scaled, for embeddings 1."""
        c = self.config
        for part in self.modules():
            if isinstance(part, nn.Linear):
                normal_(part.weight, std=c.factor * part.in_features**-0.5)
            elif isinstance(part, nn.Embedding | Unembed) and part.weight is not None:
                normal_(part.weight, std=c.factor)
            elif isinstance(part, RMSNorm):
                constant_(part.weight, c.factor)
        for part in self.modules():
            if isinstance(part, Attention):
                part.q.weight.data.mul_(c.head_dim**-0.5)
            elif isinstance(part, RelativeBias):
                part.table.weight.data.mul_(c.width**-0.5)


class T5Encoder(T5):
    """The encoder alone."""

    kind = "encoder"

    def __init__(self, c: Config):
        super().__init__(c)
        del self.decoder

    def forward(self, ids: Int[Tensor, "B N"], ctx: Context | None = None) -> Float[Tensor, "B N D"]:  # type: ignore[override]
        return self.encode(ids, ctx or Context.of())


FEEDS = {
    "relu": ("relu", False), "gelu": ("gelu", False), "gelu_new": ("gelu_tanh", False), "silu": ("silu", False),
    "gated-relu": ("relu", True), "gated-gelu": ("gelu_tanh", True), "gated-silu": ("silu", True),
}  # fmt: skip
