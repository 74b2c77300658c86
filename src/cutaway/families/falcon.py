"""Falcon (Almazrouei et al., 2023): attention and MLP side by side, rotary positions, key heads shared by many.

7B reads one norm and has one key head, 40B has two norms and a key head per group of heads; RW is sequential, with
biases and ALiBi, whose penalties are rounded to bfloat16 as they were in training."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Field, Format, Layout, Row
from ..parts import MLP, ALiBi, Attention, Context, Network, Rotary, Scaling, Stack, Unembed
from ..scores import CAUSAL, Given
from .keys import ACT, lm_head, spelled
from .parallel import block
from .rope import ROPE
from .switches import DEFAULTS, SWITCHES


@dataclass(frozen=True)
class Config:
    vocab: int = 65_024
    length: int = 2048
    width: int = 4544
    depth: int = 32
    heads: int = 71
    kv_heads: int = 1
    hidden: int = 0  # 0: 4 width
    residual: str = "shared"  # or "parallel", "sequential"
    alibi: bool = False
    theta: float = 10_000.0
    scaling: Scaling | None = None
    bias: bool = False
    act: str = "gelu"
    eps: float = 1e-5
    tied: bool = True
    dropout: float = 0.0
    attention_dropout: float = 0.0
    std: float = 0.02
    head: str = "lm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", self.hidden or 4 * self.width)


class Falcon(Network):
    kind = "decoder"

    def __init__(self, c: Config):
        super().__init__(c)
        norm = lambda: nn.LayerNorm(c.width, c.eps)
        more: dict[str, Any] = dict(kv_heads=c.kv_heads, bias="qkvo" if c.bias else "", dropout=c.attention_dropout)
        rotary = lambda: None if c.alibi else Rotary(c.width // c.heads, c.theta, c.scaling)
        attend = lambda: Attention(c.width, c.heads, rotary=rotary(), **more)
        feed = lambda: MLP(c.width, c.hidden, c.act, c.bias)
        blocks = [block(c.residual, norm, c.dropout, attention=attend(), mlp=feed()) for _ in range(c.depth)]
        self.embed, self.alibi = nn.Embedding(c.vocab, c.width), ALiBi(c.heads) if c.alibi else None
        self.stack = Stack(blocks, norm(), CAUSAL)
        self.head = Unembed(c.width, c.vocab, tied=self.embed if c.tied else None) if c.head == "lm" else None

    def forward(self, ids: Int[Tensor, "B N"], ctx: Context | None = None) -> Float[Tensor, "B N D"]:
        ctx, x = ctx or Context.of(), self.embed(ids)
        if self.alibi is not None:
            ctx = replace(ctx, rule=ctx.rule + self.rounded(self.alibi, ctx, x))
        return self.stack(x, ctx)

    def rounded(self, alibi: ALiBi, ctx: Context, x: Float[Tensor, "B N D"]) -> Given:
        """``slope k / √head_dim``, rounded before it is divided: it depends on where a key stands, not how far away."""
        slots = ctx.at + x.shape[1]
        places = torch.arange(slots, device=x.device).expand(len(x), -1) if ctx.placing is None else ctx.placing
        slopes = torch.tensor(alibi.slopes(), device=x.device).bfloat16()
        scores = (slopes[:, None] * places[:, None]).to(x.dtype) / (self.config.width // self.config.heads) ** 0.5
        return Given(scores[:, :, None].expand(-1, -1, slots, -1))


FIELDS: dict[str, str | Field] = dict(
    vocab_size="vocab", num_hidden_layers="depth", num_attention_heads="heads", ffn_hidden_size="hidden",
    max_position_embeddings="length", alibi="alibi", bias="bias", activation=ACT, layer_norm_epsilon="eps",
    hidden_dropout="dropout", attention_dropout="attention_dropout", initializer_range="std",
    tie_word_embeddings="tied",
)  # fmt: skip
FIXED = dict(apply_residual_connection_post_layernorm=(False,), ff_factor=...)


def by_group(groups: int, dim: int) -> Layout:
    """Rows ordered key head, then its queries, its key, its value."""
    load = lambda t: [x.flatten(0, 2) for x in t.unflatten(0, (groups, -1, dim)).tensor_split([-2, -1], 1)]
    return Layout(load, lambda ts: torch.cat([t.unflatten(0, (groups, -1, dim)) for t in ts], 1).flatten(0, 2))


def rows(c: Config) -> list[Row]:
    h, ours, fused = "h.{i}", "stack.blocks.{i}", by_group(c.kv_heads, c.width // c.heads)
    norms = {
        "shared": {"input_layernorm": "norm"},
        "parallel": {"ln_attn": "attention.norm", "ln_mlp": "mlp.norm"},
        "sequential": {"input_layernorm": "attention.norm", "post_attention_layernorm": "mlp.norm"},
    }[c.residual]
    return [
        Row("word_embeddings.weight", "embed.weight"),
        *(Row(f"{h}.{theirs}.{{p}}", f"{ours}.{name}.{{p}}") for theirs, name in norms.items()),
        Row(f"{h}.self_attention.query_key_value.{{p}}", f"{ours}.attention.sublayer.{{q,k,v}}.{{p}}", fused),
        Row(f"{h}.self_attention.dense.{{p}}", f"{ours}.attention.sublayer.o.{{p}}"),
        Row(f"{h}.mlp.dense_h_to_4h.{{p}}", f"{ours}.mlp.sublayer.up.{{p}}"),
        Row(f"{h}.mlp.dense_4h_to_h.{{p}}", f"{ours}.mlp.sublayer.down.{{p}}"),
        Row("ln_f.{p}", "stack.norm.{p}"),
    ]


FORMATS = {
    "falcon": Format(rows, {"FalconForCausalLM": "lm", "FalconModel": "base"}, FIELDS, lm_head, "transformer.", FIXED,
        DEFAULTS, (SWITCHES, ROPE, spelled("width", "hidden_size", "n_embed")), (r".*\.rotary_emb\.inv_freq",)),
}  # fmt: skip
NETWORK = Falcon
