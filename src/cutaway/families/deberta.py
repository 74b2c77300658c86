"""DeBERTa (He et al., 2021), v2 and v3 (He, Gao and Chen, 2023): BERT whose scores tell what a token is from where.

v2 adds growing places that share the projections of the tokens, and in its largest sizes a convolution."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Field, Format, Group, Row, by_head
from ..parts import MLP, Attention, Block, Context, Disentangled, Learned, Network, PostNorm, Stack, activation
from ..parts.heads import Classifier, MaskedLM, Pooler, Unembed
from .encoders import BUFFERS, CLS, FIELDS, FIXED, SEGMENTS, body_rows, classes, cls_rows, layer_rows, masked_lm_rows, pick
from .keys import ACTIVATIONS, always, words


@dataclass(frozen=True)
class Config:
    vocab: int = 128_100
    embedding: int | None = None  # width of a token's vector, which is then projected; None: no projection
    width: int = 1536
    depth: int = 24
    heads: int = 24
    hidden: int = 6144
    length: int = 512
    positions: bool = True  # also added to the tokens
    segments: int = 0
    relative: bool = False
    terms: tuple[str, ...] = ()  # "c2p": content looks at places; "p2c": places look at content
    span: int = -1  # the farthest place of its own; -1: length
    buckets: int = -1  # places on either side, which grow up to the span; -1: one for each distance
    shared: bool = False  # tokens' projections are the places' too
    key_bias: bool = True
    place_norm: str = "none"
    kernel: int = 0  # of the convolution beside the first layer; 0: none
    kernel_groups: int = 1
    kernel_act: str = "tanh"
    act: str = "gelu"
    eps: float = 1e-7
    dropout: float = 0.1
    attention_dropout: float = 0.1
    pooler_act: str = "gelu"
    pooler_dropout: float = 0.0
    classifier_dropout: float | None = None  # of sequences; None: as the others
    legacy: bool = True  # the masked LM head is named as BERT's
    std: float = 0.02
    labels: int = 2
    head: str = "base"


class ConvolutionBlock(Block):
    """``norm(steps(x) + act(conv(x)))``: beside attention and MLP, a convolution over what each token may see"""

    def __init__(self, conv: nn.Conv1d, norm: nn.Module, act: str, dropout: float, **steps: nn.Module):
        super().__init__(**steps)
        self.steps, self.act = tuple(steps), activation(act)
        self.conv, self.norm, self.dropout = conv, norm, nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B N D"], ctx: Context) -> Float[Tensor, "B N D"]:
        (batch, length, _), size = x.shape, self.conv.kernel_size[0]
        rows, slots = torch.arange(batch, device=x.device)[:, None, None], torch.arange(length, device=x.device)
        near = slots[:, None] + torch.arange(size, device=x.device) - (size - 1) // 2
        inside, near = (near >= 0) & (near < length), near.clamp(0, length - 1)
        seen = inside & ctx.rule.mask(rows, torch.zeros_like(rows), slots[:, None], near)
        windows = x[rows, near] * seen[..., None]  # [B, N, kernel, D]
        beside = self.conv(windows.flatten(0, 1).mT).view_as(x)
        for name in self.steps:
            x = self.get_submodule(name)(x, ctx)
        return self.norm(x + self.act(self.dropout(beside)))
