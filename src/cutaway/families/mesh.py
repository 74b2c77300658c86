"""What the configs of T5, mT5 and UMT5 say alike: sizes, the feed-forward network, what becomes of the logits."""

from collections.abc import Callable
from typing import Any

from ..names import Format, Group, Row
from .keys import ACT, always

FIELDS = {
    "vocab_size": "vocab", "d_model": "width", "d_kv": "head_dim", "d_ff": "hidden", "num_layers": "depth",
    "num_decoder_layers": "decoder_depth", "num_heads": "heads", "relative_attention_num_buckets": "buckets",
    "relative_attention_max_distance": "max_distance", "dropout_rate": "dropout", "layer_norm_epsilon": "eps",
    "initializer_factor": "factor",
}  # fmt: skip
IDLE = {"classifier_dropout": ..., "n_positions": ..., "scalable_attention": ...}
ORIGINAL = {"feed_forward_proj": "relu", "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
MT5 = {
    **ORIGINAL, "vocab_size": 250_112, "d_ff": 1024, "num_layers": 8, "num_heads": 6, "feed_forward_proj": "gated-gelu",
}  # fmt: skip

# their word -> our activation, and whether it is gated; GELU behind a gate means its tanh approximation
FEEDS = {
    "relu": ("relu", False), "gelu": ("gelu", False), "gelu_new": ("gelu_tanh", False), "silu": ("silu", False),
    "gated-relu": ("relu", True), "gated-gelu": ("gelu_tanh", True), "gated-silu": ("silu", True),
}  # fmt: skip


def read_feed(theirs: dict[str, Any]) -> dict[str, Any]:
    """One key, and two that newer configs derive from it: they must agree."""
    word = theirs["feed_forward_proj"]
    if word not in FEEDS:
        raise ValueError(f"feed_forward_proj {word!r} is not built; known: {', '.join(FEEDS)}")
    act, gated = FEEDS[word]
    same_act = ACT.load(theirs.get("dense_act_fn", ACT.save(act))) == act
    if not same_act or theirs.get("is_gated_act", gated) != gated:
        raise ValueError(f"dense_act_fn and is_gated_act contradict feed_forward_proj: {theirs}")
    return {"act": act, "gated": gated}


def write_feed(c: Any) -> dict[str, Any]:
    """The word, if there is one."""
    words = [word for word, feed in FEEDS.items() if feed == (c.act, c.gated)]
    if not words:
        raise ValueError(f"feed_forward_proj has no word for act = {c.act!r} with gated = {c.gated}")
    return {"feed_forward_proj": words[0]}


FEED = Group(("feed_forward_proj", "is_gated_act", "dense_act_fn"), read_feed, write_feed)


def tied(theirs: dict[str, Any]) -> bool:
    """Whether the head is the embedding. Of old that also meant that hidden states are scaled before it."""
    return theirs.get("tie_word_embeddings", True)


# transformers 5 ties all three whenever it can; whether to scale is a key of its own in T5, false in mT5.
T5_LOGITS = Group(
    ("tie_word_embeddings", "scale_decoder_outputs"),
    lambda t: {"tied": tied(t), "scaled": t.get("scale_decoder_outputs", tied(t))},
    lambda c: {"tie_word_embeddings": c.tied, "scale_decoder_outputs": c.scaled},
)
MT5_LOGITS = Group(
    ("tie_word_embeddings",),
    lambda t: {"tied": tied(t), "scaled": False},
    lambda c: {"tie_word_embeddings": c.tied},
)
UMT5_LOGITS = Group(
    ("tie_word_embeddings",),
    lambda t: {"tied": tied(t), "scaled": tied(t)},
    lambda c: {"tie_word_embeddings": c.scaled},
)


def published(
    name: str, rows: Callable[[Any], list[Row]], logits: Group, defaults: dict[str, Any], shared_bias: bool
) -> Format:
    """One of the three model types; ``name`` begins the names of its classes."""
    return Format(
        rows,
        {f"{name}ForConditionalGeneration": "lm", f"{name}Model": "base", f"{name}EncoderModel": "encoder"},
        FIELDS,
        head_rows=lambda c: [Row("lm_head.weight", "head.weight")],
        fixed=IDLE,
        defaults=defaults,
        groups=(FEED, logits, always(shared_bias=shared_bias)),
        ignore=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
    )
