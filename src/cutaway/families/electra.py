"""ELECTRA (Clark et al., 2020): BERT with narrow token vectors, trained to tell which tokens were replaced."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Format, Group, Row
from ..parts import MLP, Attention, Block, Context, Learned, Network, PostNorm, Stack
from ..parts.heads import Classifier, MaskedLM, Pooler, Unembed
from .encoders import ABSOLUTE, BUFFERS, FIELDS, SEGMENTS, body_rows, classes, cls_rows, masked_lm_rows
from .keys import pick


@dataclass(frozen=True)
class Config:
    vocab: int = 30_522
    embedding: int | None = 128  # width of a token's vector, which is then projected; None: no projection
    width: int = 256
    depth: int = 12
    heads: int = 4
    hidden: int = 1024
    length: int = 512
    segments: int = 2
    act: str = "gelu"
    eps: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    classifier_dropout: float | None = None  # None: as the others
    tied: bool = True
    std: float = 0.02
    labels: int = 2
    head: str = "replaced"


class ELECTRA(Network):
    kind = "encoder"
    extras = SEGMENTS

    def __init__(self, c: Config):
        super().__init__(c)
        narrow = c.embedding or c.width
        drop = c.dropout if c.classifier_dropout is None else c.classifier_dropout
        norm = lambda width=c.width: nn.LayerNorm(width, c.eps)
        attend = lambda: PostNorm(norm(), Attention(c.width, c.heads, dropout=c.attention_dropout), c.dropout)
        feed = lambda: PostNorm(norm(), MLP(c.width, c.hidden, c.act), c.dropout)
        self.embed, self.segment = nn.Embedding(c.vocab, narrow), nn.Embedding(c.segments, narrow)
        self.position = Learned(c.length, narrow)
        self.norm, self.dropout = norm(narrow), nn.Dropout(c.dropout)
        self.project = nn.Linear(narrow, c.width) if c.embedding else nn.Identity()
        self.stack = Stack([Block(attention=attend(), mlp=feed()) for _ in range(c.depth)])
        unembed = lambda: Unembed(narrow, c.vocab, tied=self.embed if c.tied else None, bias=True)
        self.head = pick(
            c.head,
            base=lambda: None,
            replaced=lambda: Classifier(c.width, 1, Pooler(c.width, c.act)),
            masked_lm=lambda: MaskedLM(c.width, norm, unembed(), "gelu", narrow),
            sequence=lambda: Classifier(c.width, c.labels, Pooler(c.width, "gelu", drop), drop),
            token=lambda: Classifier(c.width, c.labels, dropout=drop),
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
    return [*body_rows(), Row("embeddings_project.{p}", "project.{p}")]


def head_rows(c: Config) -> list[Row]:
    if c.head == "masked_lm":
        generator = "generator_predictions"
        return masked_lm_rows(f"{generator}.dense", f"{generator}.LayerNorm", "generator_lm_head")
    if c.head == "replaced":
        dense, out = "discriminator_predictions.dense", "discriminator_predictions.dense_prediction"
    else:
        dense, out = "classifier.dense", "classifier.out_proj"
    if c.head in ("replaced", "sequence"):
        return [Row(f"{dense}.{{p}}", "head.pooler.dense.{p}"), Row(f"{out}.{{p}}", "head.linear.{p}")]
    return cls_rows(c)


EMBEDDING = Group(
    ("embedding_size", "hidden_size"),
    lambda t: {
        "width": t["hidden_size"],
        "embedding": t["embedding_size"] if len({*t.values()}) == 2 else None,
    },
    lambda c: {"hidden_size": c.width, "embedding_size": c.embedding or c.width},
)
# Of multiple choice, which is not built.
SUMMARY = {f"summary_{k}": ... for k in ("type", "use_proj", "activation", "last_dropout", "first_dropout")}
FORMATS = {
    "electra": Format(
        rows, {"ElectraForPreTraining": "replaced"} | classes("Electra"),
        FIELDS | dict(classifier_dropout="classifier_dropout", tie_word_embeddings="tied"), head_rows, "electra.",
        ABSOLUTE | SUMMARY, dict(embedding_size=128, hidden_size=256), (EMBEDDING,),
        (BUFFERS, r"(generator|discriminator)_(predictions|lm_head)\..*"),
    )
}  # fmt: skip
NETWORK = ELECTRA
