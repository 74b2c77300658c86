"""What LLaMA, Gemma and their kin write alike: class names, config keys, tensor names."""

from collections.abc import Callable
from typing import Any

from ..names import Field, Format, Group, Row, chunks, thirds

FIELDS = dict(
    vocab_size="vocab", hidden_size="width", num_hidden_layers="depth", num_attention_heads="heads",
    intermediate_size="hidden", num_key_value_heads="kv_heads", max_position_embeddings="length", rms_norm_eps="eps",
    tie_word_embeddings="tied", attention_dropout="attention_dropout", initializer_range="std",
)  # fmt: skip
BIAS = {"attention_bias": Field("bias", lambda on: "qkvo" if on else "", lambda bias: bias == "qkvo")}
HEAD_DIM = Group(("head_dim",), lambda t: t, lambda c: {"head_dim": c.head_dim} if c.head_dim else {})


def published(
    name: str,
    rows: Callable[[Any], list[Row]],
    *groups: Group,
    fields: dict[str, str | Field],
    fixed: dict[str, Any],
    **defaults: Any,
) -> Format:
    """The format of the model type whose classes are called ``name``; ``defaults`` are its keys."""
    return Format(
        rows,
        {f"{name}ForCausalLM": "lm", f"{name}Model": "base"},
        FIELDS | fields,
        lambda c: [Row("lm_head.weight", "head.weight")],
        "model.",
        fixed,
        defaults,
        (HEAD_DIM, *groups),
        ignore=(r".*rotary_emb\.inv_freq",),
    )


THEIRS, ATTENTION, MLP = "layers.{i}", "stack.blocks.{i}.attention", "stack.blocks.{i}.mlp"


def frame(attention: str, mlp: str) -> list[Row]:
    """Everything but what reads the residual stream; ``attention`` and ``mlp`` are their names of the norms there."""
    return [
        Row("embed_tokens.weight", "embed.weight"),
        Row(f"{THEIRS}.{attention}_layernorm.weight", f"{ATTENTION}.norm.weight"),
        Row(f"{THEIRS}.self_attn.o_proj.{{p}}", f"{ATTENTION}.sublayer.o.{{p}}"),
        Row(f"{THEIRS}.{mlp}_layernorm.weight", f"{MLP}.norm.weight"),
        Row(f"{THEIRS}.mlp.down_proj.{{p}}", f"{MLP}.sublayer.down.{{p}}"),
        Row("norm.weight", "stack.norm.weight"),
    ]


def projections(normed: bool = False) -> list[Row]:
    """What reads the residual stream, one tensor each; ``normed`` if q and k go through a norm as a whole."""
    linear = ".0" if normed else ""
    return [
        Row(f"{THEIRS}.self_attn.{{x:q|k}}_proj.{{p}}", f"{ATTENTION}.sublayer.{{x}}{linear}.{{p}}"),
        Row(f"{THEIRS}.self_attn.v_proj.{{p}}", f"{ATTENTION}.sublayer.v.{{p}}"),
        Row(f"{THEIRS}.mlp.{{x:gate|up}}_proj.{{p}}", f"{MLP}.sublayer.{{x}}.{{p}}"),
    ]


def fused(heads: int, kv_heads: int, head_dim: int) -> list[Row]:
    """The same, two tensors for all (Phi-3)."""
    qkv = chunks(heads * head_dim, kv_heads * head_dim, kv_heads * head_dim)
    return [
        Row(f"{THEIRS}.self_attn.qkv_proj.{{p}}", f"{ATTENTION}.sublayer.{{q,k,v}}.{{p}}", qkv),
        Row(f"{THEIRS}.mlp.gate_up_proj.{{p}}", f"{MLP}.sublayer.{{gate,up}}.{{p}}", thirds(2)),
    ]
