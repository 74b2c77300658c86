"""What LLaMA, Gemma and their kin write alike: class names, config keys, tensor names."""

from collections.abc import Callable, Mapping
from typing import Any

from ..names import Field, Format, Group, Row, chunks, thirds
from .keys import ACT

FIELDS = dict(
    vocab_size="vocab", hidden_size="width", num_hidden_layers="depth", num_attention_heads="heads",
    intermediate_size="hidden", num_key_value_heads="kv_heads", max_position_embeddings="length", rms_norm_eps="eps",
    tie_word_embeddings="tied", attention_dropout="attention_dropout", initializer_range="std",
)  # fmt: skip
ACTS = {"hidden_act": ACT}
BIASED = {"attention_bias": Field("bias", lambda on: "qkvo" if on else "", lambda bias: bias == "qkvo")}
UNBIASED = dict(attention_bias=(False,), mlp_bias=(False,), lm_head_bias=(False,))
HEAD_DIM = Group(("head_dim",), lambda t: t, lambda c: {"head_dim": c.head_dim} if c.head_dim else {})


def published(
    name: str,
    rows: Callable[[Any], list[Row]],
    groups: tuple[Group, ...],
    fields: Mapping[str, str | Field],
    fixed: Mapping[str, Any],
    /,
    **defaults: Any,
) -> Format:
    """The format of the model type whose classes are called ``name``; the keywords are its keys."""
    heads = {f"{name}ForCausalLM": "lm", f"{name}Model": "base"}
    head_rows = lambda c: [Row("lm_head.weight", "head.weight")]
    fields, old = {**FIELDS, **fields}, (r".*rotary_emb\.inv_freq",)
    return Format(rows, heads, fields, head_rows, "model.", fixed, defaults, (HEAD_DIM, *groups), old)


THEIRS, ATTENTION, MLP = "layers.{i}", "stack.blocks.{i}.attention", "stack.blocks.{i}.mlp"


def frame(attention: str, mlp: str) -> list[Row]:
    """Everything but what reads the residual stream; ``attention`` and ``mlp`` name the norms there."""
    return [
        Row("embed_tokens.weight", "embed.weight"),
        Row(f"{THEIRS}.{attention}_layernorm.weight", f"{ATTENTION}.norm.weight"),
        Row(f"{THEIRS}.self_attn.o_proj.{{p}}", f"{ATTENTION}.sublayer.o.{{p}}"),
        Row(f"{THEIRS}.{mlp}_layernorm.weight", f"{MLP}.norm.weight"),
        Row(f"{THEIRS}.mlp.down_proj.{{p}}", f"{MLP}.sublayer.down.{{p}}"),
        Row("norm.weight", "stack.norm.weight"),
    ]


def projections(normed: bool = False) -> list[Row]:
    """What reads the residual stream, one tensor each; ``normed``: q and k have a norm on the whole, not by head."""
    linear, norm = (".0", ".1") if normed else ("", "_norm")
    return [
        Row(f"{THEIRS}.self_attn.{{x:q|k}}_proj.{{p}}", f"{ATTENTION}.sublayer.{{x}}{linear}.{{p}}"),
        Row(f"{THEIRS}.self_attn.{{x:q|k}}_norm.weight", f"{ATTENTION}.sublayer.{{x}}{norm}.weight"),
        Row(f"{THEIRS}.self_attn.v_proj.{{p}}", f"{ATTENTION}.sublayer.v.{{p}}"),
        Row(f"{THEIRS}.mlp.{{x:gate|up}}_proj.{{p}}", f"{MLP}.sublayer.{{x}}.{{p}}"),
    ]


def fused(c: Any) -> list[Row]:
    """The same, two tensors for all (Phi-3)."""
    dim, kv_heads = c.head_dim or c.width // c.heads, c.kv_heads or c.heads
    qkv = chunks(c.heads * dim, kv_heads * dim, kv_heads * dim)
    return [
        Row(f"{THEIRS}.self_attn.qkv_proj.{{p}}", f"{ATTENTION}.sublayer.{{q,k,v}}.{{p}}", qkv),
        Row(f"{THEIRS}.mlp.gate_up_proj.{{p}}", f"{MLP}.sublayer.{{gate,up}}.{{p}}", thirds(2)),
    ]


def experts() -> list[Row]:
    """Mixtral's experts, and what chooses among them."""
    theirs, ours = f"{THEIRS}.block_sparse_moe", f"{MLP}.sublayer"
    names = dict(w1="gate", w2="down", w3="up")
    each = [Row(f"{theirs}.experts.{{j}}.{a}.weight", f"{ours}.experts.{{j}}.{b}.weight") for a, b in names.items()]
    return [Row(f"{theirs}.gate.weight", f"{ours}.router.weight"), *each]
