"""BLOOM (Le Scao et al., 2022): a decoder with normed embeddings, whose only positions are ALiBi's penalties."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Format, Row, by_head
from ..parts import MLP, ALiBi, Attention, Block, Context, Network, PreNorm, Stack, Unembed
from ..scores import CAUSAL
from .keys import lm_head, spelled


@dataclass(frozen=True)
class Config:
    vocab: int = 250_880
    width: int = 64
    depth: int = 2
    heads: int = 8
    normed_residual: bool = False
    eps: float = 1e-5
    tied: bool = True
    dropout: float = 0.0
    attention_dropout: float = 0.0
    std: float = 0.02
    head: str = "lm"


class NormedResidual(PreNorm):
    """``y + f(y)`` for ``y = norm(x)``"""

    def forward(self, x: Float[Tensor, "B N D"], ctx: Context) -> Float[Tensor, "B N D"]:
        y = self.norm(x)
        return y + self.dropout(self.sublayer(y, ctx))


class BLOOM(Network):
    kind = "decoder"

    def __init__(self, c: Config):
        super().__init__(c)
        residual = NormedResidual if c.normed_residual else PreNorm
        norm = lambda: nn.LayerNorm(c.width, c.eps)
        step = lambda sublayer: residual(norm(), sublayer, c.dropout)
        attend = lambda: Attention(c.width, c.heads, dropout=c.attention_dropout)
        feed = lambda: MLP(c.width, 4 * c.width, "gelu_tanh")
        blocks = [Block(attention=step(attend()), mlp=step(feed())) for _ in range(c.depth)]
        self.embed, self.norm = nn.Embedding(c.vocab, c.width), norm()
        self.stack = Stack(blocks, norm(), CAUSAL, ALiBi(c.heads))
        self.head = Unembed(c.width, c.vocab, tied=self.embed if c.tied else None) if c.head == "lm" else None

    def forward(self, ids: Int[Tensor, "B N"], ctx: Context | None = None) -> Float[Tensor, "B N D"]:
        return self.stack(self.norm(self.embed(ids)), ctx)


FIELDS = dict(
    vocab_size="vocab", apply_residual_connection_post_layernorm="normed_residual", layer_norm_epsilon="eps",
    hidden_dropout="dropout", attention_dropout="attention_dropout", initializer_range="std",
    tie_word_embeddings="tied",
)  # fmt: skip
SIZE = (
    spelled("width", "hidden_size", "n_embed"),
    spelled("depth", "n_layer", "num_hidden_layers"),
    spelled("heads", "n_head", "num_attention_heads"),
)
# How sums were split over the machines of training (``slow_but_exact`` would repeat that), and how kernels were fused.
FIXED = dict(
    slow_but_exact=False, pretraining_tp=..., n_inner=(None,), seq_length=..., offset_alibi=...,
    attention_softmax_in_fp32=..., bias_dropout_fusion=..., masked_softmax_fusion=..., skip_bias_add=...,
    skip_bias_add_qkv=...,
)  # fmt: skip


def rows(c: Config) -> list[Row]:
    h, ours, fused = "h.{i}", "stack.blocks.{i}", by_head(c.heads)
    return [
        Row("word_embeddings.weight", "embed.weight"),
        Row("word_embeddings_layernorm.{p}", "norm.{p}"),
        Row(f"{h}.input_layernorm.{{p}}", f"{ours}.attention.norm.{{p}}"),
        Row(f"{h}.self_attention.query_key_value.{{p}}", f"{ours}.attention.sublayer.{{q,k,v}}.{{p}}", fused),
        Row(f"{h}.self_attention.dense.{{p}}", f"{ours}.attention.sublayer.o.{{p}}"),
        Row(f"{h}.post_attention_layernorm.{{p}}", f"{ours}.mlp.norm.{{p}}"),
        Row(f"{h}.mlp.dense_h_to_4h.{{p}}", f"{ours}.mlp.sublayer.up.{{p}}"),
        Row(f"{h}.mlp.dense_4h_to_h.{{p}}", f"{ours}.mlp.sublayer.down.{{p}}"),
        Row("ln_f.{p}", "stack.norm.{p}"),
    ]


HEADS = {"BloomForCausalLM": "lm", "BloomModel": "base"}
FORMATS = {"bloom": Format(rows, HEADS, FIELDS, lm_head, "transformer.", FIXED, groups=SIZE)}
NETWORK = BLOOM
