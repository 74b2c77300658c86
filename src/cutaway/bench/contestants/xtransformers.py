"""x-transformers: a LLaMA as one of its decoders."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ... import weights
from ..gguf import interleaved
from . import Act, Array, Job, Make, Mark, importing
from .torches import DTYPES, numbers, tensor


def opened(job: Job) -> Any:
    library, c = import_module("x_transformers"), job.work.model.config
    dim = c["width"] // c["heads"]
    decoder = library.Decoder(
        dim=c["width"], depth=c["depth"], heads=c["heads"], attn_dim_head=dim, attn_kv_heads=c.get("kv_heads"),
        use_rmsnorm=True, rotary_pos_emb=True, rotary_emb_dim=dim, ff_glu=True, ff_swish=True, ff_no_bias=True,
        ff_mult=c["hidden"] / c["width"], attn_flash=True,
    )  # fmt: skip
    model = library.TransformerWrapper(
        num_tokens=c["vocab"], max_seq_len=c["length"], use_abs_pos_emb=False, tie_embedding=True,
        tie_embedding_scale=1.0, attn_layers=decoder,
    )  # fmt: skip
    theirs = weights.read_tensors(job.folder)
    own = {"token_emb.emb.weight": theirs["model.embed_tokens.weight"]}
    own["attn_layers.final_norm.g"] = theirs["model.norm.weight"] - 1  # norms keep what they differ from 1 by
    for i in range(c["depth"]):
        own |= layer(theirs, i, c["heads"], c.get("kv_heads") or c["heads"])
    left = model.load_state_dict(own, strict=False).missing_keys
    if set(left) - {"attn_layers.rotary_pos_emb.inv_freq"}:
        raise ValueError(f"x-transformers wants {', '.join(left)}")
    return model.to(job.device, DTYPES[job.entry.dtype]).eval()


def layer(theirs: Mapping[str, Tensor], i: int, heads: int, kv_heads: int) -> dict[str, Tensor]:
    """One layer: an attention and a gated feed-forward, which count as two there; the gate stands after its half."""
    get = lambda name: theirs[f"model.layers.{i}.{name}.weight"]
    # of the heads that share a key head, ours stand side by side, theirs as far apart as there are key heads
    spread = lambda w: w.unflatten(0, (kv_heads, heads // kv_heads, -1)).transpose(0, 1).flatten(0, 2)
    attend, feed = f"attn_layers.layers.{2 * i}", f"attn_layers.layers.{2 * i + 1}"
    both = torch.cat([get("mlp.up_proj"), get("mlp.gate_proj")])
    return {
        f"{attend}.0.0.g": get("input_layernorm") - 1,
        f"{attend}.1.to_q.weight": spread(interleaved(get("self_attn.q_proj"), heads)),
        f"{attend}.1.to_k.weight": interleaved(get("self_attn.k_proj"), kv_heads),
        f"{attend}.1.to_v.weight": get("self_attn.v_proj"),
        f"{attend}.1.to_out.weight": spread(get("self_attn.o_proj").T).T,
        f"{feed}.0.0.g": get("post_attention_layernorm") - 1,
        f"{feed}.1.ff.0.proj.weight": both,
        f"{feed}.1.ff.0.proj.bias": torch.zeros(len(both)),
        f"{feed}.1.ff.2.weight": get("mlp.down_proj"),
    }


def prefill(job: Job) -> Act:
    model, ids = opened(job), tensor(job)

    @torch.inference_mode()
    def run(mark: Mark = lambda: None) -> Array:
        return numbers(model.to_logits(model(ids, return_embeddings=True)[:, -1]))

    return Act(run, run)


WORKS: dict[str, Make] = {"prefill": prefill, "import": importing("import x_transformers")}
