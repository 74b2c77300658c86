"""What BART, Marian, M2M-100 and their kin are built with: halves of any size, LayerDrop, a fixed bias of logits."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..names import Group
from ..parts import Block, Context, Unembed


@dataclass(frozen=True)
class Halves:
    """The sizes of an encoder and a decoder (0: as the encoder), and the dropouts of both."""

    depth: int = 12
    heads: int = 16
    hidden: int = 4096
    decoder_depth: int = 0
    decoder_heads: int = 0
    decoder_hidden: int = 0
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    layer_drop: float = 0.0
    decoder_layer_drop: float = 0.0

    def __post_init__(self) -> None:
        for name in ("depth", "heads", "hidden"):
            if vars(self)[f"decoder_{name}"] == 0:
                object.__setattr__(self, f"decoder_{name}", vars(self)[name])


class LayerDrop(Block):
    """A block that training leaves out with probability ``drop`` (Fan et al., 2019)."""

    def __init__(self, drop: float, **steps: nn.Module):
        super().__init__(**steps)
        self.drop = drop

    def forward(self, x: Float[Tensor, "B N D"], ctx: Context) -> Float[Tensor, "B N D"]:
        return x if self.training and torch.rand(()) < self.drop else super().forward(x, ctx)

    def extra_repr(self) -> str:
        return f"drop={self.drop}"


def block(drop: float, **steps: nn.Module) -> Block:
    """A block, with LayerDrop if there is any."""
    return LayerDrop(drop, **steps) if drop else Block(**steps)


def fixed_bias(head: Unembed) -> Unembed:
    """The head with its bias, if any, as it is: no training moves it."""
    if head.bias is not None:
        head.bias.requires_grad_(False)
    return head


SIZES = {"layers": ("depth", 12), "attention_heads": ("heads", 16), "ffn_dim": ("hidden", 4096)}


def read_halves(theirs: dict[str, Any]) -> dict[str, Any]:
    """Sizes, of both halves if any is given."""
    ours = {name: theirs.get(f"encoder_{key}", n) for key, (name, n) in SIZES.items()}
    if theirs:
        ours |= {f"decoder_{name}": theirs.get(f"decoder_{key}", n) for key, (name, n) in SIZES.items()}
    return ours


def write_halves(c: Any) -> dict[str, Any]:
    """The sizes of both halves."""
    halves = {"encoder_": "", "decoder_": "decoder_"}
    return {a + key: vars(c)[b + name] for a, b in halves.items() for key, (name, _) in SIZES.items()}


HALVES = Group(tuple(f"{s}_{key}" for s in ("encoder", "decoder") for key in SIZES), read_halves, write_halves)
