"""ALBERT (Lan et al., 2020): BERT with narrow token vectors, whose layers share their weights."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Format, Row
from ..parts import MLP, Attention, Block, Context, Learned, Network, PostNorm, Stack
from ..parts.heads import Classifier, MaskedLM, Pooler, Unembed
from .encoders import BUFFERS, FIELDS, FIXED, SEGMENTS, classes, embedding_rows, linear_row, masked_lm_rows, norm_rows
from .keys import pick


@dataclass(frozen=True)
class Config:
    vocab: int = 30_000
    embedding: int = 128
    width: int = 4096
    depth: int = 12
    groups: int = 1  # of layers with the same weights, one after the other
    inner: int = 1  # blocks that make up a layer
    heads: int = 64
    hidden: int = 16_384
    length: int = 512
    segments: int = 2
    act: str = "gelu_tanh"
    eps: float = 1e-12
    dropout: float = 0.0
    attention_dropout: float = 0.0
    classifier_dropout: float = 0.1
    std: float = 0.02
    labels: int = 2
    head: str = "masked_lm"


class ALBERT(Network):
    kind = "encoder"
    extras = SEGMENTS

    def __init__(self, c: Config):
        super().__init__(c)
        norm = lambda width=c.width: nn.LayerNorm(width, c.eps)
        attend = lambda: PostNorm(norm(), Attention(c.width, c.heads, dropout=c.attention_dropout), c.dropout)
        feed = lambda: PostNorm(norm(), MLP(c.width, c.hidden, c.act))
        block = lambda: Block(attention=attend(), mlp=feed())
        layer = lambda: Block(**{str(i): block() for i in range(c.inner)})
        self.embed, self.segment = nn.Embedding(c.vocab, c.embedding), nn.Embedding(c.segments, c.embedding)
        self.position = Learned(c.length, c.embedding)
        self.norm, self.dropout = norm(c.embedding), nn.Dropout(c.dropout)
        self.project = nn.Linear(c.embedding, c.width)
        order = [int(i / (c.depth / c.groups)) for i in range(c.depth)]
        self.stack = Stack([layer() for _ in range(c.groups)], order=order)
        unembed = lambda: Unembed(c.embedding, c.vocab, tied=self.embed, bias=True)
        self.head = pick(
            c.head,
            base=lambda: Pooler(c.width),
            masked_lm=lambda: MaskedLM(c.width, norm, unembed(), c.act, c.embedding),
            sequence=lambda: Classifier(c.width, c.labels, Pooler(c.width), c.classifier_dropout),
            token=lambda: Classifier(c.width, c.labels, dropout=c.classifier_dropout),
            question=lambda: Classifier(c.width, 2),
        )

    def forward(
        self, ids: Int[Tensor, "B N"], ctx: Context | None = None, segments: Int[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B N D"]:
        ctx = ctx or Context.of()
        segment = self.segment.weight[0] if segments is None else self.segment(segments)
        x = self.embed(ids) + self.position(ctx.places(ids)) + segment
        return self.stack(self.project(self.dropout(self.norm(x))), ctx)


def rows(c: Config) -> list[Row]:
    theirs, ours = "encoder.albert_layer_groups.{i}.albert_layers.{j}", "stack.blocks.{i}.{j}"
    attention, pooler = f"{ours}.attention.sublayer", {"base": "head", "sequence": "head.pooler"}
    rest = [Row("pooler.{p}", f"{pooler[c.head]}.dense.{{p}}")] if c.head in pooler else []
    return [
        *embedding_rows(),
        Row("encoder.embedding_hidden_mapping_in.{p}", "project.{p}"),
        *(Row(f"{theirs}.attention.{x}.{{p}}", f"{attention}.{x[0]}.{{p}}") for x in ("query", "key", "value")),
        Row(f"{theirs}.attention.dense.{{p}}", f"{attention}.o.{{p}}"),
        *norm_rows(f"{theirs}.attention.LayerNorm", f"{ours}.attention.norm"),
        Row(f"{theirs}.ffn.{{p}}", f"{ours}.mlp.sublayer.up.{{p}}"),
        Row(f"{theirs}.ffn_output.{{p}}", f"{ours}.mlp.sublayer.down.{{p}}"),
        *norm_rows(f"{theirs}.full_layer_layer_norm", f"{ours}.mlp.norm"),
        *rest,
    ]


def head_rows(c: Config) -> list[Row]:
    if c.head != "masked_lm":
        return [linear_row(c)]
    return masked_lm_rows("predictions.dense", "predictions.LayerNorm", "predictions.decoder", "predictions.bias")


# What the first published configs had room for.
OLD = dict(
    net_structure_type=(0,), gap_size=(0,), num_memory_blocks=(0,), down_scale_factor=(1,), layers_to_keep=([],),
)  # fmt: skip
FORMATS = {
    "albert": Format(
        rows, classes("Albert", PreTraining="masked_lm"),
        FIELDS | dict(
            embedding_size="embedding", num_hidden_groups="groups", inner_group_num="inner",
            classifier_dropout_prob="classifier_dropout",
        ),
        head_rows, "albert.",
        FIXED | OLD,
        ignore=(BUFFERS, r"(albert\.)?pooler\.(weight|bias)", r"sop_classifier\.classifier\.(weight|bias)",
            r"predictions\.((dense|LayerNorm|decoder)\.)?(weight|bias)"),
    )
}  # fmt: skip
NETWORK = ALBERT
