"""BERT (Devlin et al., 2018) and RoBERTa (Liu et al., 2019): post-norm encoder, learned positions, segments."""

from dataclasses import dataclass, replace

from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Format, Group, Row
from ..parts import MLP, Attention, Block, Context, Learned, Network, PostNorm, Stack
from ..parts.heads import Classifier, MaskedLM, Pooler, Unembed
from .encoders import BUFFERS, CLS, FIELDS, FIXED, POOLER, SEGMENTS, body_rows, classes, cls_rows, masked_lm_rows
from .keys import always, pick


@dataclass(frozen=True)
class Config:
    vocab: int = 30_522
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    length: int = 512
    offset: int = 0  # rows of the position table before position 0
    segments: int = 2
    act: str = "gelu"
    head_act: str | None = None  # of the masked LM head; None: as the others
    eps: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    classifier_dropout: float | None = None  # None: as the others
    own_pooler: bool = False  # RoBERTa: the classifier does not use the base's, and has dropout before its own
    std: float = 0.02
    labels: int = 2
    head: str = "masked_lm"


class BERT(Network):
    kind = "encoder"
    extras = SEGMENTS

    def __init__(self, c: Config):
        super().__init__(c)
        drop = c.dropout if c.classifier_dropout is None else c.classifier_dropout
        norm = lambda: nn.LayerNorm(c.width, c.eps)
        attend = lambda: PostNorm(norm(), Attention(c.width, c.heads, dropout=c.attention_dropout), c.dropout)
        feed = lambda: PostNorm(norm(), MLP(c.width, c.hidden, c.act), c.dropout)
        self.embed, self.segment = nn.Embedding(c.vocab, c.width), nn.Embedding(c.segments, c.width)
        self.position = Learned(c.length, c.width, offset=c.offset)
        self.norm, self.dropout = norm(), nn.Dropout(c.dropout)
        self.stack = Stack([Block(attention=attend(), mlp=feed()) for _ in range(c.depth)])
        unembed = lambda: Unembed(c.width, c.vocab, tied=self.embed, bias=True)
        self.head = pick(
            c.head,
            base=lambda: Pooler(c.width),
            masked_lm=lambda: MaskedLM(c.width, lambda _: norm(), unembed(), c.head_act or c.act),
            sequence=lambda: Classifier(c.width, c.labels, Pooler(c.width, dropout=drop * c.own_pooler), drop),
            token=lambda: Classifier(c.width, c.labels, dropout=drop),
            question=lambda: Classifier(c.width, 2),
        )

    def forward(
        self, ids: Int[Tensor, "B N"], ctx: Context | None = None, segments: Int[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B N D"]:
        ctx = ctx or Context.of()
        segment = self.segment.weight[0] if segments is None else self.segment(segments)
        x = self.embed(ids) + self.position(ctx.places(ids)) + segment
        return self.stack(self.dropout(self.norm(x)), ctx)


def rows(c: Config) -> list[Row]:
    pooler = {"base": "head"} if c.own_pooler else {"base": "head", "sequence": "head.pooler"}
    rest = [Row("pooler.dense.{p}", f"{pooler[c.head]}.dense.{{p}}")] if c.head in pooler else []
    return [*body_rows(), *rest]


def roberta_rows(c: Config) -> list[Row]:
    if c.head == "masked_lm":
        return masked_lm_rows("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias")
    if c.head == "sequence":
        return [
            Row("classifier.dense.{p}", "head.pooler.dense.{p}"),
            Row("classifier.out_proj.{p}", "head.linear.{p}"),
        ]
    return cls_rows(c)


TABLE = Group(  # positions count from the padding id on: the rows up to it stand for none
    ("max_position_embeddings", "pad_token_id"),
    lambda t: {
        "length": t["max_position_embeddings"] - t["pad_token_id"] - 1,
        "offset": t["pad_token_id"] + 1,
    },
    lambda c: {"max_position_embeddings": c.length + c.offset, "pad_token_id": c.offset - 1},
)
BERT_FIELDS = FIELDS | {"classifier_dropout": "classifier_dropout"}
ROBERTA_SIZES = {"vocab_size": 50_265, "max_position_embeddings": 512, "pad_token_id": 1}
ROBERTA = Format(
    rows, classes("Roberta"), {k: v for k, v in BERT_FIELDS.items() if k not in TABLE.keys}, roberta_rows, "roberta.",
    FIXED, ROBERTA_SIZES,
    (TABLE, always(own_pooler=True, head_act="gelu")),
    (BUFFERS, POOLER, r"lm_head\.((dense|layer_norm|decoder)\.)?(weight|bias)"),
)  # fmt: skip
UNREAD = dict.fromkeys(("num_attention_heads", "num_fc_layers", "size_per_head", "type", "fc_size"), ...)
FORMATS = {
    "bert": Format(
        rows, classes("Bert", PreTraining="masked_lm"), BERT_FIELDS, cls_rows, "bert.",
        FIXED | {f"pooler_{k}": v for k, v in UNREAD.items()} | {"directionality": ("bidi",)},
        groups=(always(offset=0, own_pooler=False, head_act=None),), ignore=(BUFFERS, POOLER, CLS),
    ),
    "roberta": ROBERTA,
    "xlm-roberta": replace(ROBERTA, heads=classes("XLMRoberta"), defaults=ROBERTA_SIZES | {"vocab_size": 30_522}),
}  # fmt: skip
NETWORK = BERT
