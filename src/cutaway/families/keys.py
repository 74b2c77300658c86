"""Config keys that several published model types share."""

from typing import Any

from ..names import Group
from ..parts import Scaling

# theirs -> Scaling's
SCALING = dict(
    factor="factor", original_max_position_embeddings="original", attention_factor="attention", beta_fast="fast",
    beta_slow="slow", truncate="truncate", mscale="mscale", mscale_all_dim="mscale_all", low_freq_factor="low",
    high_freq_factor="high", short_factor="short", long_factor="long",
)  # fmt: skip
ROPE_KEYS = (
    "rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor", "max_position_embeddings",
    "original_max_position_embeddings",
)  # fmt: skip


def read_rope(theirs: dict[str, Any]) -> dict[str, Any]:
    """Base, scaling and turned fraction, from the keys of today (rope_parameters) or of old (rope_scaling)."""
    told = {**(theirs.get("rope_scaling") or {}), **(theirs.get("rope_parameters") or {})}
    kind = told.pop("rope_type", told.pop("type", "default"))
    told.pop("type", None)
    ours = {}
    for key, name in (("rope_theta", "theta"), ("partial_rotary_factor", "fraction")):
        value = told.pop(key, theirs.get(key))
        ours |= {} if value is None else {name: value}
    if kind == "default":
        if told:
            raise ValueError(f"rotary parameters without a rope_type that would use them: {told}")
        return ours | {"scaling": None}
    if odd := {k: v for k, v in told.items() if k not in SCALING and v is not None}:
        raise ValueError(f"rotary scaling {kind!r} has unknown parameters {odd}")
    values = {SCALING[k]: tuple(v) if isinstance(v, list) else v for k, v in told.items() if v is not None}
    length = theirs.get("max_position_embeddings", 0)
    values.setdefault("original", theirs.get("original_max_position_embeddings") or length)
    if kind in ("yarn", "longrope"):  # theirs: how much longer the model is than it was
        values.setdefault("factor", length / values["original"] if values["original"] else 1.0)
    return ours | {"scaling": Scaling(kind, **values)}


def write_rope(c: Any) -> dict[str, Any]:
    """The same keys in the old spelling, which every version of transformers reads."""
    if c.scaling is None:
        return {"rope_theta": c.theta, "rope_scaling": None}
    plain = Scaling(c.scaling.kind, original=1)
    told = {k: getattr(c.scaling, name) for k, name in SCALING.items()}
    told = {
        k: list(v) if isinstance(v, tuple) else v for k, v in told.items() if v != getattr(plain, SCALING[k])
    }
    return {"rope_theta": c.theta, "rope_scaling": {"rope_type": c.scaling.kind, **told}}


ROPE = Group(ROPE_KEYS, read_rope, write_rope)
