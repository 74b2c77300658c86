"""How DeBERTa is written: config keys and tensor names of v1, and of v2 and v3."""

from typing import Any

from ..names import Field, Format, Group, Row, by_head
from . import encoders as e
from .keys import ACTIVATIONS, always, words

ATTENTION, OURS = "encoder.layer.{i}.attention.self", "stack.blocks.{i}.attention.sublayer"


def common_rows(c: Any, body: list[Row]) -> list[Row]:
    """What both write alike; an unused position table, which lies in many checkpoints, is not ours."""
    return [
        *(row for row in body if c.positions or row.ours != "position.weight"),
        Row("embeddings.embed_proj.weight", "project.weight"),
        Row("encoder.rel_embeddings.weight", "places.weight"),
    ]


def v1_rows(c: Any) -> list[Row]:
    return [
        *common_rows(c, [*e.embedding_rows(), *e.layer_rows()]),
        Row(f"{ATTENTION}.in_proj.weight", f"{OURS}.{{q,k,v}}.weight", by_head(c.heads)),
        Row(f"{ATTENTION}.{{x:q|v}}_bias", f"{OURS}.{{x}}.bias"),
        Row(f"{ATTENTION}.pos_proj.weight", f"{OURS}.relative.keys.weight"),
        Row(f"{ATTENTION}.pos_q_proj.{{p}}", f"{OURS}.relative.queries.{{p}}"),
    ]


def v2_rows(c: Any) -> list[Row]:
    return [
        *common_rows(c, e.body_rows("_proj")),
        Row(f"{ATTENTION}.pos_key_proj.{{p}}", f"{OURS}.relative.keys.{{p}}"),
        Row(f"{ATTENTION}.pos_query_proj.{{p}}", f"{OURS}.relative.queries.{{p}}"),
        *e.norm_rows("encoder.LayerNorm", "place_norm"),
        Row("encoder.conv.conv.{p}", "stack.blocks.0.conv.{p}"),
        *e.norm_rows("encoder.conv.LayerNorm", "stack.blocks.0.norm"),
    ]


def head_rows(c: Any) -> list[Row]:
    if c.head == "masked_lm" and not c.legacy:
        lm = "lm_predictions.lm_head"
        return e.masked_lm_rows(f"{lm}.dense", f"{lm}.LayerNorm", f"{lm}.decoder", f"{lm}.bias")
    pooler = [Row("pooler.dense.{p}", "head.pooler.dense.{p}")] if c.head == "sequence" else []
    return [*pooler, *e.cls_rows(c)]


def read_sizes(theirs: dict[str, Any]) -> dict[str, Any]:
    """Widths of parts may be told, but not differ from the model's; a token's own width may."""
    width, heads = theirs["hidden_size"], theirs["num_attention_heads"]
    same = {"pooler_hidden_size": width, "attention_head_size": width // heads}
    if odd := {k: theirs[k] for k, v in same.items() if theirs.get(k, v) != v}:
        raise ValueError(f"config.json asks for {odd}; of a width {width} with {heads} heads only {same} is built")
    narrow = theirs.get("embedding_size", width)
    return {"width": width, "heads": heads, "embedding": None if narrow == width else narrow}


def write_sizes(c: Any) -> dict[str, Any]:
    told = {"hidden_size": c.width, "num_attention_heads": c.heads, "pooler_hidden_size": c.width}
    return told | ({"embedding_size": c.embedding} if c.embedding else {})


def read_terms(theirs: str | list[str]) -> tuple[str, ...]:
    """A list, or as of old "c2p|p2c"."""
    terms = tuple(t.strip() for t in theirs.lower().split("|")) if isinstance(theirs, str) else tuple(theirs)
    if len({*terms} & {"c2p", "p2c"}) != len(terms):
        raise ValueError(f"pos_att_type {list(terms)} is not built; what is: c2p, p2c, or both")
    return terms


def unless(**told: tuple[Any, Any]) -> Group:
    """Keys that are written only for another than their usual value: theirs -> (ours, the usual value)."""
    return Group(
        tuple(told),
        lambda theirs: {told[k][0]: v for k, v in theirs.items()},
        lambda c: {k: getattr(c, name) for k, (name, usual) in told.items() if getattr(c, name) != usual},
    )


SIZES = ("hidden_size", "num_attention_heads", "pooler_hidden_size", "attention_head_size", "embedding_size")
DEBERTA = {k: v for k, v in e.FIELDS.items() if k not in SIZES} | dict(
    relative_attention="relative", pos_att_type=Field("terms", read_terms, lambda terms: list(terms) or None),
    max_relative_positions="span", position_biased_input="positions", pooler_dropout="pooler_dropout",
    pooler_hidden_act=words("pooler_act", ACTIVATIONS), legacy="legacy",
)  # fmt: skip
COMMON = (Group(SIZES, read_sizes, write_sizes), unless(cls_dropout=("classifier_dropout", None)))
IGNORE = (e.BUFFERS, e.CLS, r"(deberta\.)?embeddings\.position_embeddings\.weight", r"(lm|mask)_predictions\..*")
PLAIN = dict(buckets=-1, shared=False, place_norm="none", kernel=0, kernel_act="tanh")
V1 = Format(
    v1_rows, {"DebertaModel": "base"} | e.classes("Deberta"), DEBERTA, head_rows, "deberta.",
    e.FIXED | dict(talking_head=(False,), padding_idx=...),
    dict(vocab_size=50_265, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072),
    (*COMMON, always(key_bias=False, **PLAIN)), IGNORE,
)  # fmt: skip
V2 = Format(
    v2_rows, {"DebertaV2Model": "base"} | e.classes("DebertaV2"), DEBERTA, head_rows, "deberta.",
    e.FIXED | dict(conv_groups=(1,)), dict(hidden_size=1536, num_attention_heads=24),
    (*COMMON, always(key_bias=True), unless(
        position_buckets=("buckets", -1), share_att_key=("shared", False), norm_rel_ebd=("place_norm", "none"),
        conv_kernel_size=("kernel", 0), conv_act=("kernel_act", "tanh"),
    )), IGNORE,
)  # fmt: skip
