"""The switches of a Falcon's config: how its key heads are shared, how its sublayers are joined."""

from typing import Any

from ..names import Group

NORMS = "num_ln_in_parallel_attn"
DEFAULTS = dict(new_decoder_architecture=False, multi_query=True, parallel_attn=True, num_attention_heads=71)
# (new_decoder_architecture, parallel_attn, norms) -> the form of the blocks
FORMS = {
    (True, True, 2): "parallel",
    (True, True, 1): "shared",
    (False, True, 1): "shared",
    (False, False, 1): "sequential",
}


def read(theirs: dict[str, Any]) -> dict[str, Any]:
    heads, new = theirs["num_attention_heads"], theirs["new_decoder_architecture"]
    shared = theirs["multi_query"] and not new  # the new architecture does not ask multi_query
    kv_heads = 1 if shared else theirs.get("num_kv_heads", heads)
    form = FORMS.get((new, theirs["parallel_attn"], theirs.get(NORMS, 2 if new else 1)))
    if form is None or not (new or shared or kv_heads == heads):
        raise ValueError(f"config.json asks for a Falcon that there is not: {theirs}")
    return {"kv_heads": kv_heads, "residual": form}


def write(c: Any) -> dict[str, Any]:
    new = c.residual == "parallel" or 1 < c.kv_heads < c.heads
    norms = {"parallel": 2, "shared": 1}.get(c.residual)
    if new and norms is None:
        raise ValueError(f"a sequential Falcon has 1 or {c.heads} key heads, not {c.kv_heads}")
    return {
        "new_decoder_architecture": new,
        "multi_query": new or c.kv_heads == 1,
        "parallel_attn": norms is not None,
        "num_kv_heads": c.kv_heads if new else c.heads,
        NORMS: norms if new else None,
    }


SWITCHES = Group((*DEFAULTS, "num_kv_heads", NORMS), read, write)
