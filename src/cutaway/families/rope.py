"""How published configs write rotary positions: keys of today and of old, and what each scaling is told."""

from typing import Any

from ..names import Group
from ..parts import Scaling

ORIGINAL = "original_max_position_embeddings"
ROPE_KEYS = (
    "rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor", "max_position_embeddings", ORIGINAL,
)  # fmt: skip
# theirs -> Scaling's
SCALING = dict(
    factor="factor", original_max_position_embeddings="original", attention_factor="attention", beta_fast="fast",
    beta_slow="slow", truncate="truncate", mscale="mscale", mscale_all_dim="mscale_all", low_freq_factor="low",
    high_freq_factor="high", short_factor="short", long_factor="long",
)  # fmt: skip
# What each kind must be told, and what it may be told.
NEEDS = dict(
    default=(), linear=("factor",), dynamic=("factor",), yarn=("factor", ORIGINAL),
    llama3=("factor", ORIGINAL, "low_freq_factor", "high_freq_factor"),
    longrope=(ORIGINAL, "short_factor", "long_factor"),
)  # fmt: skip
TAKES = dict(
    yarn=("attention_factor", "beta_fast", "beta_slow", "truncate", "mscale", "mscale_all_dim"),
    longrope=("factor", "attention_factor"),
)


def read_rope(theirs: dict[str, Any]) -> dict[str, Any]:
    """Base, scaling and turned fraction, from the keys of today (rope_parameters) or of old."""
    told = dict(theirs.get("rope_scaling") or theirs.get("rope_parameters") or {})
    old = told.pop("type", "default")
    kind = told.pop("rope_type", old)
    ours: dict[str, Any] = {}
    for key, name in (("rope_theta", "theta"), ("partial_rotary_factor", "fraction")):
        value = told.pop(key, theirs.get(key))
        ours |= {} if value is None else {name: value}
    if kind in ("su", "yarn") and "long_factor" in told:  # what Phi-3 called it first
        kind = "longrope"
    length, original = theirs.get("max_position_embeddings"), theirs.get(ORIGINAL)
    return ours | {"scaling": read_scaling(kind, told, length, original)}


def read_scaling(kind: str, told: dict[str, Any], length: int | None, original: int | None) -> Scaling | None:
    """A scaling from its own keys, and the two lengths that may stand beside them."""
    if kind not in NEEDS:
        raise ValueError(f"rotary scaling {kind!r} is not built; known: {', '.join(NEEDS)}")
    told = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items() if v is not None}
    if ORIGINAL in NEEDS[kind]:
        told[ORIGINAL] = original or told.get(ORIGINAL, length)
    needs, takes = set(NEEDS[kind]), set(TAKES.get(kind, ()))
    if not needs <= told.keys() <= needs | takes:
        expected = f"needs {sorted(needs) or 'nothing'}" + (f" and takes {sorted(takes)}" if takes else "")
        raise ValueError(f"rotary scaling {kind!r} {expected}, but the config gives {sorted(told)}")
    values = {SCALING[k]: v for k, v in told.items()}
    if kind == "dynamic":
        values["original"] = length
    if kind == "longrope":
        values.setdefault("factor", length / values["original"])
    return None if kind == "default" else Scaling(kind, **values)


def write_rope(c: Any) -> dict[str, Any]:
    """The same keys in the old spelling, which every version of transformers reads."""
    s = c.scaling
    if s is None:
        return {"rope_theta": c.theta, "rope_scaling": None}
    if s.kind not in NEEDS:
        raise ValueError(f"config.json has no rotary scaling {s.kind!r}; it has: {', '.join(NEEDS)}")
    plain = Scaling(s.kind, original=1, factor=c.length / s.original if s.kind == "longrope" else 1.0)
    told = {k: getattr(s, SCALING[k]) for k in (*NEEDS[s.kind], *TAKES.get(s.kind, ()))}
    told = {k: v for k, v in told.items() if k in NEEDS[s.kind] or v != getattr(plain, SCALING[k])}
    told = {k: list(v) if isinstance(v, tuple) else v for k, v in told.items()}
    return {"rope_theta": c.theta, "rope_scaling": {"rope_type": s.kind, **told}}


def write_partial(c: Any) -> dict[str, Any]:
    """The same where part of a head is turned, and the original length stands on its own (Phi-3)."""
    part = {} if c.fraction == 1.0 else {"partial_rotary_factor": c.fraction}
    return write_rope(c) | part | ({ORIGINAL: c.scaling.original} if c.scaling else {})


def read_whole(theirs: dict[str, Any]) -> dict[str, Any]:
    """Rotary positions that turn whole heads."""
    ours = read_rope(theirs)
    if (fraction := ours.pop("fraction", 1.0)) != 1.0:
        raise ValueError(f"config.json asks for partial_rotary_factor = {fraction} (only 1.0 is built)")
    return ours


ROPE = Group(ROPE_KEYS, read_whole, write_rope)
PARTIAL_ROPE = Group(ROPE_KEYS, read_rope, write_partial)
