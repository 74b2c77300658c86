"""DeBERTa (He et al., 2021), v2 and v3 (He, Gao and Chen, 2023): BERT whose scores tell what a token is from where."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..parts import MLP, Attention, Block, Context, Disentangled, Learned, Network, PostNorm, Stack, activation
from ..parts.heads import Classifier, MaskedLM, Pooler, Unembed
from .deberta_names import V1, V2
from .encoders import SEGMENTS
from .keys import pick


@dataclass(frozen=True)
class Config:
    vocab: int = 128_100
    embedding: int | None = None  # width of a token's vector, which is then projected; None: no projection
    width: int = 1536
    depth: int = 24
    heads: int = 24
    hidden: int = 6144
    length: int = 512
    positions: bool = True  # added to the tokens
    segments: int = 0
    relative: bool = False  # places in the scores
    terms: tuple[str, ...] = ()  # "c2p": content looks at places; "p2c": places look at content
    span: int = -1  # the last place on either side; -1: length
    buckets: int = -1  # so many places share that span, the far ones wide; -1: one for each distance
    shared: bool = False  # places are projected as tokens are
    place_norm: str = "none"
    key_bias: bool = True
    kernel: int = 0  # width of the convolution beside the first layer; 0: none
    kernel_act: str = "tanh"
    act: str = "gelu"
    eps: float = 1e-7
    dropout: float = 0.1
    attention_dropout: float = 0.1
    pooler_act: str = "gelu"
    pooler_dropout: float = 0.0
    classifier_dropout: float | None = None  # of sequences; None: as the others
    legacy: bool = True  # the masked LM head is named as BERT's
    std: float = 0.02
    labels: int = 2
    head: str = "base"


class ConvolutionBlock(nn.Module):
    """``norm(mlp(attention(x)) + act(conv(x)))``: beside the steps, a convolution over what each token may see"""

    def __init__(self, block: Block, conv: nn.Conv1d, norm: nn.Module, act: str, dropout: float):
        super().__init__()
        (self.attention, self.mlp), self.conv, self.norm = block.children(), conv, norm
        self.act, self.dropout = activation(act), nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B N D"], ctx: Context) -> Float[Tensor, "B N D"]:
        (batch, length, _), size = x.shape, self.conv.kernel_size[0]
        row, slot = torch.arange(batch, device=x.device)[:, None, None], torch.arange(length, device=x.device)[:, None]
        near = (slot + torch.arange(size, device=x.device) - (size - 1) // 2).clamp(0, length - 1)
        seen = ctx.rule.mask(row, torch.zeros_like(row), slot, near)
        windows = nn.functional.pad(x, (0, 0, (size - 1) // 2, size // 2)).unfold(1, size, 1)  # [B, N, D, kernel]
        beside = self.conv((windows * seen[..., None, :]).flatten(0, 1)).view_as(x)
        return self.norm(self.mlp(self.attention(x, ctx), ctx) + self.act(self.dropout(beside)))


class DeBERTa(Network):
    kind = "encoder"

    def __init__(self, c: Config):
        super().__init__(c)
        narrow, far = c.embedding or c.width, c.span if c.span > 0 else c.length
        drop = c.dropout if c.classifier_dropout is None else c.classifier_dropout
        norm = lambda width=c.width: nn.LayerNorm(width, c.eps)
        span, last = (c.buckets, far) if c.buckets > 0 else (far, None)
        place = lambda term, bias: None if c.shared or term not in c.terms else nn.Linear(c.width, c.width, bias)
        relative = lambda: Disentangled(span, c.terms, last, place("c2p", c.key_bias), place("p2c", True), c.dropout)
        attend = lambda: PostNorm(norm(), Attention(
            c.width, c.heads, bias="qkvo" if c.key_bias else "qvo", relative=relative() if c.relative else None,
            scale=((1 + len(c.terms)) * (c.width // c.heads)) ** -0.5, dropout=c.attention_dropout,
        ), c.dropout)  # fmt: skip
        feed = lambda: PostNorm(norm(), MLP(c.width, c.hidden, c.act), c.dropout)
        block = lambda: Block(attention=attend(), mlp=feed())
        conv = lambda: nn.Conv1d(c.width, c.width, c.kernel)
        first = ConvolutionBlock(block(), conv(), norm(), c.kernel_act, c.dropout) if c.kernel else block()
        self.embed = nn.Embedding(c.vocab, narrow)
        self.position = Learned(c.length, narrow) if c.positions else None
        self.segment = nn.Embedding(c.segments, narrow) if c.segments else None
        self.extras = SEGMENTS if c.segments else {}
        self.project = nn.Linear(narrow, c.width, bias=False) if c.embedding else nn.Identity()
        self.norm, self.dropout = norm(), nn.Dropout(c.dropout)
        self.places = nn.Embedding(2 * span, c.width) if c.relative else None
        self.place_norm = pick(c.place_norm, none=nn.Identity, layer_norm=norm)
        self.stack = Stack([first, *(block() for _ in range(c.depth - 1))])
        unembed = lambda: Unembed(narrow, c.vocab, tied=self.embed, bias=True)
        self.head = pick(
            c.head,
            base=lambda: None,
            masked_lm=lambda: MaskedLM(c.width, norm, unembed(), c.act, narrow),
            sequence=lambda: Classifier(c.width, c.labels, Pooler(c.width, c.pooler_act, c.pooler_dropout), drop),
            token=lambda: Classifier(c.width, c.labels, dropout=c.dropout),
            question=lambda: Classifier(c.width, 2),
        )

    def forward(
        self, ids: Int[Tensor, "B N"], ctx: Context | None = None, segments: Int[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B N D"]:
        ctx, x = ctx or Context.of(), self.embed(ids)
        if self.position is not None:
            x = x + self.position(ctx.places(ids))
        if self.segment is not None:
            x = x + (self.segment.weight[0] if segments is None else self.segment(segments))
        if self.places is not None:
            ctx = replace(ctx, side={"relative": self.place_norm(self.places.weight)})
        return self.stack(self.dropout(self.norm(self.project(x))), ctx)


FORMATS = {"deberta": V1, "deberta-v2": V2}
NETWORK = DeBERTa
