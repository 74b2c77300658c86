"""A tiny model of any published type: its own defaults, in small sizes."""

from dataclasses import fields
from typing import Any

import cutaway
from cutaway import families
from cutaway.model import Model

# For the fields that a Config has; large enough that no two sizes are alike where they could be mixed up.
SIZES: dict[str, Any] = dict(
    vocab=61, source_vocab=61, target_vocab=61, width=32, depth=2, decoder_depth=3, encoder_depth=2, heads=4,
    decoder_heads=4, kv_heads=2, head_dim=8, hidden=48, decoder_hidden=40, length=48, embedding=24, experts=4,
    buckets=8, max_distance=20, turned=4, std=0.2,
)  # fmt: skip


def tiny(model_type: str, **more: Any) -> Model:
    """A fresh tiny model; what its defaults leave at None or off stays so."""
    config = families.module(model_type).Config
    usual = vars(config(**families.form(model_type).read({})[0]))
    known = {f.name for f in fields(config)} & SIZES.keys()
    return cutaway.build(model_type, **{n: SIZES[n] for n in known if usual[n] and usual[n] != -1} | more)
