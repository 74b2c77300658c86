"""LLaMA (Touvron et al., 2023) and its kin: decoder, RMSNorm, rotary positions, gated SiLU, shared key heads.

Mistral (Jiang et al., 2023) adds windows, Mixtral (2024) experts, Qwen (Yang et al., 2024, 2025) biases or norms on
q and k, Phi-3 (Abdin et al., 2024) partly turned heads; OLMo 2 (2025) norms what sublayers return."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Row
from ..parts import Attention, Block, Context, GatedMLP, MixtureOfExperts, Network, RMSNorm, Stack, Unembed
from ..parts.blocks import OutputNorm, PreNorm
from ..parts.rotary import Rotary, Scaling
from . import windows
from .decoders import ACTS, BIASED, UNBIASED, experts, frame, fused, projections, published
from .keys import always
from .rope import ORIGINAL, PARTIAL_ROPE, ROPE

RESIDUAL = {"pre": PreNorm, "output": OutputNorm}
QK_NORM = (None, "head", "whole")


@dataclass(frozen=True)
class Config:
    vocab: int = 32_000
    width: int = 4096
    depth: int = 32
    heads: int = 32
    hidden: int = 11_008
    kv_heads: int | None = None
    head_dim: int | None = None
    bias: str = ""  # the projections of attention that have one
    qk_norm: str | None = None  # on q and k: on each "head", or on the "whole" projection
    windows: tuple[int | None, ...] = (None,)  # repeated over the layers
    theta: float = 10_000.0
    scaling: Scaling | None = None
    fraction: float = 1.0  # of each head that is turned
    length: int = 2048
    residual: str = "pre"
    eps: float = 1e-6
    act: str = "silu"
    mlp_bias: bool = False
    experts: int = 0
    top: int = 2
    tied: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    std: float = 0.02
    head: str = "lm"

    def __post_init__(self) -> None:
        for name, known in (("residual", RESIDUAL), ("qk_norm", QK_NORM)):
            if (value := vars(self)[name]) not in known:
                raise ValueError(f"{name} is one of {', '.join(map(repr, known))}, got {value!r}")


class LLaMA(Network):
    kind = "decoder"

    def __init__(self, c: Config):
        super().__init__(c)
        step = lambda sublayer: RESIDUAL[c.residual](RMSNorm(c.width, c.eps), sublayer, c.dropout)
        feed = lambda: GatedMLP(c.width, c.hidden, c.act, c.mlp_bias)
        mix = lambda: MixtureOfExperts(c.width, [feed() for _ in range(c.experts)], c.top)
        self.embed = nn.Embedding(c.vocab, c.width)
        blocks = [Block(attention=step(attention(c)), mlp=step(mix() if c.experts else feed())) for _ in range(c.depth)]
        self.stack = Stack(blocks, RMSNorm(c.width, c.eps), windows.causal(c.windows, c.depth))
        self.head = Unembed(c.width, c.vocab, tied=self.embed if c.tied else None) if c.head == "lm" else None

    def forward(self, ids: Int[Tensor, "B N"], ctx: Context | None = None) -> Float[Tensor, "B N D"]:
        return self.stack(self.embed(ids), ctx)


def attention(c: Config) -> Attention:
    dim, norm = c.head_dim or c.width // c.heads, lambda width: RMSNorm(width, c.eps)
    attend = Attention(
        c.width, c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, bias=c.bias, dropout=c.attention_dropout,
        norm=norm if c.qk_norm == "head" else None, rotary=Rotary(int(dim * c.fraction), c.theta, c.scaling),
    )  # fmt: skip
    if c.qk_norm == "whole":
        for name, linear in (("q", attend.q), ("k", attend.k)):
            attend.add_module(name, nn.Sequential(linear, norm(linear.out_features)))
    return attend


def rows(c: Config) -> list[Row]:
    norms = ("input", "post_attention") if c.residual == "pre" else ("post_attention", "post_feedforward")
    return [*frame(*norms), *projections(c.qk_norm == "whole"), *experts()]


MISTRAL = dict(intermediate_size=14_336, num_key_value_heads=8, max_position_embeddings=131_072)
QWEN = dict(
    vocab_size=151_936, num_hidden_layers=32, intermediate_size=22_016, num_key_value_heads=32,
    max_position_embeddings=32_768, use_sliding_window=False, sliding_window=4096, max_window_layers=28,
)  # fmt: skip
QWEN_OLD = dict(max_window_layers=..., use_mrope=(False,))
FORMATS = {
    "llama": published("Llama", rows, (ROPE,), ACTS | BIASED | {"mlp_bias": "mlp_bias"},
        dict(pretraining_tp=..., max_sequence_length=...), max_position_embeddings=2048),
    "mistral": published("Mistral", rows, (ROPE, windows.SAME), ACTS, UNBIASED, sliding_window=4096, **MISTRAL),
    "mixtral": published("Mixtral", rows, (ROPE, windows.SAME),
        ACTS | dict(num_local_experts="experts", num_experts_per_tok="top"),
        UNBIASED | dict(output_router_logits=False, router_jitter_noise=0.0, router_aux_loss_coef=...),
        rope_theta=1e6, rms_norm_eps=1e-5, num_local_experts=8, **MISTRAL),
    "qwen2": published("Qwen2", rows, (ROPE, windows.SWITCHED, always(bias="qkv")), ACTS, QWEN_OLD, **QWEN),
    "qwen3": published("Qwen3", rows, (ROPE, windows.SWITCHED, always(qk_norm="head")), ACTS | BIASED, QWEN_OLD,
        head_dim=128, **QWEN),
    "phi3": published("Phi3", lambda c: [*frame("input", "post_attention"), *fused(c)], (PARTIAL_ROPE, windows.SAME),
        ACTS | {"resid_pdrop": "dropout"},
        UNBIASED | {"embd_pdrop": 0.0, "full_attn_mod": (1,), "interpolate_factor": (1,), ORIGINAL: ...},
        vocab_size=32_064, hidden_size=3072, intermediate_size=8192, max_position_embeddings=4096,
        original_max_position_embeddings=4096, rms_norm_eps=1e-5),
    "olmo2": published("Olmo2", rows, (ROPE, always(residual="output", qk_norm="whole")), ACTS | BIASED, {},
        vocab_size=50_304, max_position_embeddings=2048, rms_norm_eps=1e-5),
}  # fmt: skip
NETWORK = LLaMA
