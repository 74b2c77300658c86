"""MPT (MosaicML, 2023): a decoder without biases, whose only positions are ALiBi's penalties.

Some bound q, k and v to ±``clip``; some are trained for longer inputs with flatter slopes (``steepest`` 16)."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import KEPT, Format, Group, Row, fits, only, thirds
from ..parts import MLP, ALiBi, Attention, Block, Context, Network, PreNorm, Stack, Unembed
from ..scores import CAUSAL
from .keys import lm_head


@dataclass(frozen=True)
class Config:
    vocab: int = 50_368
    width: int = 2048
    depth: int = 24
    heads: int = 16
    steepest: int = 8  # slopes go from 2^(-steepest / heads) to 2^-steepest
    scale: float | None = None  # None: 1/√head_dim
    clip: float | None = None
    eps: float = 1e-5
    tied: bool = True
    dropout: float = 0.0
    embed_dropout: float = 0.0
    attention_dropout: float = 0.0
    std: float = 0.02
    head: str = "lm"


class MPT(Network):
    kind = "decoder"

    def __init__(self, c: Config):
        super().__init__(c)
        norm = lambda: nn.LayerNorm(c.width, c.eps, bias=False)
        step = lambda sublayer: PreNorm(norm(), sublayer, c.dropout)
        feed = lambda: MLP(c.width, 4 * c.width, bias=False)
        blocks = [Block(attention=step(attention(c)), mlp=step(feed())) for _ in range(c.depth)]
        self.embed, self.dropout = nn.Embedding(c.vocab, c.width), nn.Dropout(c.embed_dropout)
        self.stack = Stack(blocks, norm(), CAUSAL, ALiBi(c.heads, c.steepest))
        self.head = Unembed(c.width, c.vocab, tied=self.embed if c.tied else None) if c.head == "lm" else None

    def forward(self, ids: Int[Tensor, "B N"], ctx: Context | None = None) -> Float[Tensor, "B N D"]:
        return self.stack(self.dropout(self.embed(ids)), ctx)


def attention(c: Config) -> Attention:
    attend = Attention(c.width, c.heads, bias="", scale=c.scale, dropout=c.attention_dropout)
    if c.clip is not None:
        for name in "qkv":
            bounded = nn.Sequential(attend.get_submodule(name), nn.Hardtanh(-c.clip, c.clip))
            setattr(attend, name, bounded)
    return attend


ATTENTION = dict(clip_qkv="clip", softmax_scale="scale", alibi_bias_max="steepest", attn_pdrop="attention_dropout")
ATTENTION_FIXED = dict(
    alibi=True, attn_type="multihead_attention", attn_uses_sequence_id=False, prefix_lm=False, qk_ln=False,
    attn_impl=...,
)  # fmt: skip


def read_attention(theirs: dict[str, Any]) -> dict[str, Any]:
    told = {k: v for k, v in theirs.get("attn_config", {}).items() if v is not None and k not in KEPT}
    if unknown := told.keys() - ATTENTION.keys() - ATTENTION_FIXED.keys():
        raise ValueError(f"attn_config has unknown keys: {', '.join(sorted(unknown))}")
    for key, value in ATTENTION_FIXED.items():
        if not fits(told.get(key, value), value):
            raise ValueError(f"attn_config asks for {key} = {told[key]!r} (only {only(value)} is built)")
    return {ours: told[key] for key, ours in ATTENTION.items() if key in told}


def write_attention(c: Config) -> dict[str, Any]:
    told = {key: vars(c)[ours] for key, ours in ATTENTION.items()}
    return {"attn_config": {**told, "attn_pdrop": c.attention_dropout or 0}}  # which transformers takes for an int


FIELDS = dict(
    vocab_size="vocab", d_model="width", n_layers="depth", n_heads="heads", layer_norm_epsilon="eps",
    resid_pdrop="dropout", emb_pdrop="embed_dropout", initializer_range="std", tie_word_embeddings="tied",
)  # fmt: skip
# With ALiBi there are no learned positions and no longest input; the rest says how MosaicML started a training.
FIXED = dict(
    no_bias=True, expansion_ratio=4, logit_scale=None, embedding_fraction=1.0, learned_pos_emb=..., max_seq_len=...,
    norm_type=("low_precision_layernorm", "layernorm"), init_config=..., init_device=..., tokenizer_name=...,
    verbose=...,
)  # fmt: skip


def rows(c: Config) -> list[Row]:
    b, ours, linear = "blocks.{i}", "stack.blocks.{i}", "weight" if c.clip is None else "0.weight"
    return [
        Row("wte.weight", "embed.weight"),
        Row(f"{b}.norm_1.weight", f"{ours}.attention.norm.weight"),
        Row(f"{b}.attn.Wqkv.weight", f"{ours}.attention.sublayer.{{q,k,v}}.{linear}", thirds()),
        Row(f"{b}.attn.out_proj.weight", f"{ours}.attention.sublayer.o.weight"),
        Row(f"{b}.norm_2.weight", f"{ours}.mlp.norm.weight"),
        Row(f"{b}.ffn.{{x:up|down}}_proj.weight", f"{ours}.mlp.sublayer.{{x}}.weight"),
        Row("norm_f.weight", "stack.norm.weight"),
    ]


HEADS = {"MptForCausalLM": "lm", "MPTForCausalLM": "lm", "MptModel": "base"}
FORMATS = {
    "mpt": Format(rows, HEADS, FIELDS, lm_head, "transformer.", FIXED,
        groups=(Group(("attn_config",), read_attention, write_attention),)),
}  # fmt: skip
NETWORK = MPT
