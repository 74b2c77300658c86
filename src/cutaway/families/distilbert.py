"""DistilBERT (Sanh et al., 2019): BERT with half the layers, no segments and no pooler, taught by BERT."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Field, Format, Row
from ..parts import MLP, Attention, Block, Context, Learned, Network, PostNorm, Stack
from ..parts.heads import Classifier, MaskedLM, Pooler, Unembed
from ..parts.positions import Sinusoidal
from .encoders import ABSOLUTE, BUFFERS, classes, linear_row, masked_lm_rows, norm_rows
from .keys import ACTIVATIONS, pick, words


@dataclass(frozen=True)
class Config:
    vocab: int = 30_522
    width: int = 768
    depth: int = 6
    heads: int = 12
    hidden: int = 3072
    length: int = 512
    sinusoidal: bool = False  # positions begin as waves and are not trained
    act: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    sequence_dropout: float = 0.2
    question_dropout: float = 0.1
    tied: bool = True
    std: float = 0.02
    labels: int = 2
    head: str = "masked_lm"


class DistilBERT(Network):
    kind = "encoder"

    def __init__(self, c: Config):
        super().__init__(c)
        norm = lambda: nn.LayerNorm(c.width, 1e-12)
        attend = lambda: PostNorm(norm(), Attention(c.width, c.heads, dropout=c.attention_dropout))
        feed = lambda: PostNorm(norm(), MLP(c.width, c.hidden, c.act), c.dropout)
        self.embed, self.position = nn.Embedding(c.vocab, c.width), Learned(c.length, c.width)
        self.position.requires_grad_(not c.sinusoidal)
        self.norm, self.dropout = norm(), nn.Dropout(c.dropout)
        self.stack = Stack([Block(attention=attend(), mlp=feed()) for _ in range(c.depth)])
        unembed = lambda: Unembed(c.width, c.vocab, tied=self.embed if c.tied else None, bias=True)
        self.head = pick(
            c.head,
            base=lambda: None,
            masked_lm=lambda: MaskedLM(c.width, lambda _: norm(), unembed(), c.act),
            sequence=lambda: Classifier(c.width, c.labels, Pooler(c.width, "relu"), c.sequence_dropout),
            token=lambda: Classifier(c.width, c.labels, dropout=c.dropout),
            question=lambda: Classifier(c.width, 2, dropout=c.question_dropout),
        )

    def initialise(self) -> None:
        super().initialise()
        if self.config.sinusoidal:
            waves = Sinusoidal(self.config.width)
            self.position.weight.data.copy_(waves(torch.arange(self.config.length)))

    def forward(self, ids: Int[Tensor, "B N"], ctx: Context | None = None) -> Float[Tensor, "B N D"]:
        ctx = ctx or Context.of()
        x = self.embed(ids) + self.position(ctx.places(ids))
        return self.stack(self.dropout(self.norm(x)), ctx)


def rows(c: Config) -> list[Row]:
    theirs, ours = "transformer.layer.{i}", "stack.blocks.{i}"
    return [
        Row("embeddings.word_embeddings.weight", "embed.weight"),
        Row("embeddings.position_embeddings.weight", "position.weight"),
        *norm_rows("embeddings.LayerNorm", "norm"),
        Row(f"{theirs}.attention.{{x:q|k|v}}_lin.{{p}}", f"{ours}.attention.sublayer.{{x}}.{{p}}"),
        Row(f"{theirs}.attention.out_lin.{{p}}", f"{ours}.attention.sublayer.o.{{p}}"),
        *norm_rows(f"{theirs}.sa_layer_norm", f"{ours}.attention.norm"),
        Row(f"{theirs}.ffn.lin1.{{p}}", f"{ours}.mlp.sublayer.up.{{p}}"),
        Row(f"{theirs}.ffn.lin2.{{p}}", f"{ours}.mlp.sublayer.down.{{p}}"),
        *norm_rows(f"{theirs}.output_layer_norm", f"{ours}.mlp.norm"),
    ]


def head_rows(c: Config) -> list[Row]:
    if c.head == "masked_lm":
        return masked_lm_rows("vocab_transform", "vocab_layer_norm", "vocab_projector")
    pooler = Row("pre_classifier.{p}", "head.pooler.dense.{p}")
    return [pooler, linear_row(c)] if c.head == "sequence" else [linear_row(c)]


FIELDS: dict[str, str | Field] = dict(
    vocab_size="vocab", dim="width", n_layers="depth", n_heads="heads", hidden_dim="hidden",
    max_position_embeddings="length", sinusoidal_pos_embds="sinusoidal", activation=words("act", ACTIVATIONS),
    dropout="dropout", attention_dropout="attention_dropout", seq_classif_dropout="sequence_dropout",
    qa_dropout="question_dropout", tie_word_embeddings="tied", initializer_range="std",
)  # fmt: skip
FORMATS = {
    "distilbert": Format(
        rows, classes("DistilBert"), FIELDS, head_rows, "distilbert.", ABSOLUTE | dict(tie_weights_=(True,)),
        ignore=(BUFFERS, r"vocab_(transform|layer_norm|projector)\.(weight|bias)"),
    )
}  # fmt: skip
NETWORK = DistilBERT
