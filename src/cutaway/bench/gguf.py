"""GGUF (Gerganov, 2023), version 3: what llama.cpp reads, written from a LLaMA checkpoint of our own folder format."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

ALIGN = 32
KINDS = {int: (4, "<I"), float: (6, "<f"), bool: (7, "<?")}
STRING, F32 = 8, 0
NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """Rows of a projection to q or k for rotary pairs that stand side by side, not half a head apart."""
    return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def renamed(name: str) -> str:
    """``model.layers.3.mlp.up_proj.weight`` -> ``blk.3.ffn_up.weight``. Raises KeyError for any other name."""
    if name in NAMES:
        return NAMES[name]
    _, _, layer, inner = name.split(".", 3)
    part, _, end = inner.rpartition(".")
    return f"blk.{layer}.{NAMES[part]}.{end}"


def metadata(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys llama.cpp wants, from a config.json of model type "llama"; there is no vocabulary but its size."""
    heads = config["num_attention_heads"]
    rope = config.get("rope_parameters") or {}
    numbers = {
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "block_count": config["num_hidden_layers"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": config.get("num_key_value_heads") or heads,
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "rope.dimension_count": config["hidden_size"] // heads,
        "rope.freq_base": float(config.get("rope_theta") or rope.get("rope_theta") or 10_000.0),
        "vocab_size": config["vocab_size"],
    }
    general = {"general.architecture": "llama", "general.name": "cutaway bench", "tokenizer.ggml.model": "no_vocab"}
    return general | {f"llama.{key}": value for key, value in numbers.items()}


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, value: object) -> bytes:
    if isinstance(value, str):
        return text(key) + struct.pack("<I", STRING) + text(value)
    kind, form = KINDS[type(value)]
    return text(key) + struct.pack("<I", kind) + struct.pack(form, value)


def padding(length: int) -> bytes:
    return bytes(-length % ALIGN)


def write(path: Path, keys: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """A GGUF file of fp32 tensors."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(entry(key, value) for key, value in keys.items())
    at = 0
    for name, tensor in tensors.items():
        sizes = struct.pack(f"<{tensor.ndim}Q", *reversed(tensor.shape))
        head += text(name) + struct.pack("<I", tensor.ndim) + sizes + struct.pack("<IQ", F32, at)
        at += 4 * tensor.numel() + len(padding(4 * tensor.numel()))
    with path.open("wb") as file:
        file.write(head + padding(len(head)))
        for tensor in tensors.values():
            data = tensor.float().contiguous().numpy()
            data.tofile(file)
            file.write(padding(data.nbytes))


def from_folder(config: Mapping[str, Any], theirs: Mapping[str, Tensor], path: Path) -> None:
    """The tensors of a published LLaMA checkpoint as a GGUF file."""
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config.get("num_key_value_heads")}
    heads["k_proj"] = heads["k_proj"] or heads["q_proj"]
    tensors = {}
    for name, tensor in theirs.items():
        turned = next((n for part, n in heads.items() if f".{part}." in name), None)
        tensors[renamed(name)] = interleaved(tensor, turned) if turned else tensor
    write(path, metadata(config), tensors)
