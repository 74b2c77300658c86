"""GPT-J (Wang and Komatsuzaki, 2021): attention and MLP side by side behind one norm, rotary positions.

Its checkpoints turn neighbouring channels: rows of q and k are put in the order in which halves are turned."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Field, Format, Layout, Row
from ..parts import MLP, Attention, Context, Network, ParallelBlock, PreNorm, Rotary, Stack, Unembed
from ..scores import CAUSAL
from .keys import ACT


@dataclass(frozen=True)
class Config:
    vocab: int = 50_400
    length: int = 2048
    width: int = 4096
    depth: int = 28
    heads: int = 16
    hidden: int | None = None  # None: 4 width
    turned: int = 64  # channels of each head
    act: str = "gelu_tanh"
    eps: float = 1e-5
    tied: bool = False
    dropout: float = 0.0
    embed_dropout: float = 0.0
    attention_dropout: float = 0.0
    std: float = 0.02
    head: str = "lm"


class GPTJ(Network):
    kind = "decoder"

    def __init__(self, c: Config):
        super().__init__(c)
        norm = lambda: nn.LayerNorm(c.width, c.eps)
        attend = lambda: Attention(c.width, c.heads, bias="", rotary=Rotary(c.turned), dropout=c.attention_dropout)
        feed = lambda: MLP(c.width, c.hidden or 4 * c.width, c.act)
        step = lambda sublayer: PreNorm(nn.Identity(), sublayer, c.dropout)
        blocks = [ParallelBlock(norm(), attention=step(attend()), mlp=step(feed())) for _ in range(c.depth)]
        self.embed, self.dropout = nn.Embedding(c.vocab, c.width), nn.Dropout(c.embed_dropout)
        self.stack = Stack(blocks, norm(), CAUSAL)
        tied = self.embed if c.tied else None
        self.head = Unembed(c.width, c.vocab, tied=tied, bias=True) if c.head == "lm" else None

    def forward(self, ids: Int[Tensor, "B N"], ctx: Context | None = None) -> Float[Tensor, "B N D"]:
        return self.stack(self.dropout(self.embed(ids)), ctx)


FIELDS: dict[str, str | Field] = dict(
    vocab_size="vocab", n_positions="length", n_embd="width", n_layer="depth", n_head="heads", n_inner="hidden",
    rotary_dim="turned", activation_function=ACT, layer_norm_epsilon="eps", initializer_range="std",
    resid_pdrop="dropout", embd_pdrop="embed_dropout", attn_pdrop="attention_dropout", tie_word_embeddings="tied",
)  # fmt: skip
# Keys of a head that is not built and of old, which are read by nobody or can only have one value.
FIXED = dict(
    n_ctx=..., rotary=(True,), scale_attn_weights=(True,), summary_activation=..., summary_first_dropout=...,
    summary_proj_to_labels=..., summary_type=..., summary_use_proj=...,
)  # fmt: skip


def halves(heads: int, turned: int) -> Layout:
    """Rows of each head that turn as pairs (0, 1), (2, 3), ... -> as pairs (0, turned/2), (1, turned/2 + 1), ..."""

    def load(t: Tensor) -> list[Tensor]:
        pairs, rest = t.unflatten(0, (heads, -1)).tensor_split([turned], 1)
        return [torch.cat([pairs[:, 0::2], pairs[:, 1::2], rest], 1).flatten(0, 1)]

    def save(ts: list[Tensor]) -> Tensor:
        a, b, rest = ts[0].unflatten(0, (heads, -1)).tensor_split([turned // 2, turned], 1)
        return torch.cat([torch.stack([a, b], 2).flatten(1, 2), rest], 1).flatten(0, 1)

    return Layout(load, save)


def rows(c: Config) -> list[Row]:
    h, ours = "h.{i}", "stack.blocks.{i}"
    attention = f"{ours}.attention.sublayer"
    return [
        Row("wte.weight", "embed.weight"),
        Row(f"{h}.ln_1.{{p}}", f"{ours}.norm.{{p}}"),
        Row(f"{h}.attn.{{x:q|k}}_proj.weight", f"{attention}.{{x}}.weight", halves(c.heads, c.turned)),
        Row(f"{h}.attn.v_proj.weight", f"{attention}.v.weight"),
        Row(f"{h}.attn.out_proj.weight", f"{attention}.o.weight"),
        Row(f"{h}.mlp.fc_in.{{p}}", f"{ours}.mlp.sublayer.up.{{p}}"),
        Row(f"{h}.mlp.fc_out.{{p}}", f"{ours}.mlp.sublayer.down.{{p}}"),
        Row("ln_f.{p}", "stack.norm.{p}"),
    ]


def head_rows(c: Config) -> list[Row]:
    return [Row("lm_head.{p}", "head.{p}")]


HEADS = {"GPTJForCausalLM": "lm", "GPTJModel": "base"}
FORMATS = {
    "gptj": Format(rows, HEADS, FIELDS, head_rows, "transformer.", FIXED, ignore=(r".*\.attn\.(masked_)?bias",)),
}  # fmt: skip
NETWORK = GPTJ
