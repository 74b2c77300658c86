"""What BERT and its descendants write alike: config keys, class names, tensor names."""

from typing import Any

from ..names import Field, Row
from .keys import ACT

FIELDS: dict[str, str | Field] = dict(
    vocab_size="vocab", hidden_size="width", num_hidden_layers="depth", num_attention_heads="heads",
    intermediate_size="hidden", hidden_act=ACT, max_position_embeddings="length", type_vocab_size="segments",
    layer_norm_eps="eps", hidden_dropout_prob="dropout", attention_probs_dropout_prob="attention_dropout",
    initializer_range="std",
)  # fmt: skip
SEGMENTS = {"token_type_ids": "segments"}  # the door's word for what forward calls segments
ABSOLUTE: dict[str, Any] = {"position_embedding_type": ("absolute",)}
FIXED = ABSOLUTE | {"tie_word_embeddings": True}
# Tensors that may lie beside what was asked for: buffers, poolers, heads of pretraining.
BUFFERS = r"(\w+\.)?embeddings\.(position_ids|token_type_ids)"
POOLER = r"(\w+\.)?pooler\.dense\.(weight|bias)"
CLS = (
    r"cls\.(predictions|seq_relationship)\.((transform\.dense|transform\.LayerNorm|decoder)\.)?(weight|bias|gamma|beta)"
)


def classes(name: str, **more: str) -> dict[str, str]:
    """The class names of a model type -> our heads."""
    heads = dict(MaskedLM="masked_lm", SequenceClassification="sequence", TokenClassification="token")
    heads |= dict(QuestionAnswering="question") | more
    return {f"{name}For{theirs}": ours for theirs, ours in heads.items()} | {f"{name}Model": "base"}


def norm_rows(theirs: str, ours: str) -> list[Row]:
    """A LayerNorm, whose weights TensorFlow calls gamma and beta."""
    pairs = (("weight", "gamma"), ("bias", "beta"))
    return [Row(f"{theirs}.{p}", f"{ours}.{p}", also=(f"{theirs}.{old}",)) for p, old in pairs]


def embedding_rows() -> list[Row]:
    """The three tables whose sum is a token, and the norm of that sum."""
    tables = (("word", "embed"), ("position", "position"), ("token_type", "segment"))
    rows = [Row(f"embeddings.{theirs}_embeddings.weight", f"{ours}.weight") for theirs, ours in tables]
    return [*rows, *norm_rows("embeddings.LayerNorm", "norm")]


def layer_rows() -> list[Row]:
    """A layer, but for what makes queries, keys and values."""
    theirs, ours = "encoder.layer.{i}", "stack.blocks.{i}"
    return [
        Row(f"{theirs}.attention.output.dense.{{p}}", f"{ours}.attention.sublayer.o.{{p}}"),
        *norm_rows(f"{theirs}.attention.output.LayerNorm", f"{ours}.attention.norm"),
        Row(f"{theirs}.intermediate.dense.{{p}}", f"{ours}.mlp.sublayer.up.{{p}}"),
        Row(f"{theirs}.output.dense.{{p}}", f"{ours}.mlp.sublayer.down.{{p}}"),
        *norm_rows(f"{theirs}.output.LayerNorm", f"{ours}.mlp.norm"),
    ]


def body_rows(suffix: str = "") -> list[Row]:
    """Embeddings and layers, whose projections are named query, key and value with a ``suffix``."""
    theirs, ours = "encoder.layer.{i}.attention.self", "stack.blocks.{i}.attention.sublayer"
    projections = [Row(f"{theirs}.{x}{suffix}.{{p}}", f"{ours}.{x[0]}.{{p}}") for x in ("query", "key", "value")]
    return [*embedding_rows(), *projections, *layer_rows()]


def masked_lm_rows(dense: str, layer_norm: str, decoder: str, bias: str | None = None) -> list[Row]:
    """A masked LM head; ``bias`` is where the decoder's bias stands, if not beside its weight."""
    beside = f"{decoder}.bias"
    return [
        Row(f"{dense}.{{p}}", "head.dense.{p}"),
        *norm_rows(layer_norm, "head.norm"),
        Row(f"{decoder}.weight", "head.unembed.weight"),
        Row(bias or beside, "head.unembed.bias", also=(beside,) if bias else ()),
    ]


def linear_row(c: Any) -> Row:
    """The layer that gives scores to labels, or to where an answer starts and ends."""
    return Row("qa_outputs.{p}" if c.head == "question" else "classifier.{p}", "head.linear.{p}")


def cls_rows(c: Any) -> list[Row]:
    """BERT's heads: the masked LM's stands under ``cls``, the others are one linear layer."""
    if c.head == "masked_lm":
        cls = "cls.predictions"
        return masked_lm_rows(f"{cls}.transform.dense", f"{cls}.transform.LayerNorm", f"{cls}.decoder", f"{cls}.bias")
    return [linear_row(c)]
