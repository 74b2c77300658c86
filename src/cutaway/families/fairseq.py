"""What BART, Marian, M2M-100 and their kin have alike: two halves of any size, names, what checkpoints leave out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..names import Format, Group, Layout, Row
from ..parts import Block, Context, Sinusoidal
from .keys import ACT


@dataclass(frozen=True)
class Halves:
    """The sizes of an encoder and a decoder; 0 means: as the encoder."""

    depth: int = 12
    heads: int = 16
    hidden: int = 4096
    decoder_depth: int = 0
    decoder_heads: int = 0
    decoder_hidden: int = 0
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


def waves(length: int, width: int, *, offset: int = 0, ends: bool = False) -> Float[Tensor, "N D"]:
    """The table of sinusoids that a checkpoint may hold; the row before position 0 is padding's."""
    table = Sinusoidal(width, interleaved=False, ends=ends)(torch.arange(length + offset))
    if offset:
        table[offset - 1] = 0
    return table


# ---- configurations --------------------------------------------------------------------------------------------

SIZES = {"layers": ("depth", 12), "attention_heads": ("heads", 16), "ffn_dim": ("hidden", 4096)}
FIELDS = {
    "d_model": "width", "max_position_embeddings": "length", "activation_function": ACT, "scale_embedding": "scaled",
    "dropout": "dropout", "attention_dropout": "attention_dropout", "activation_dropout": "activation_dropout",
    "encoder_layerdrop": "layer_drop", "decoder_layerdrop": "decoder_layer_drop",
}  # fmt: skip
# Keys that mean nothing any more, and the one reading of tied embeddings on which all versions of transformers agree.
IDLE = dict.fromkeys(
    ["add_bias_logits", "classif_dropout", "extra_pos_embeddings", "force_bos_token_to_be_generated",
     "num_hidden_layers", "save_step"], ...)  # fmt: skip


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


# ---- tensors ---------------------------------------------------------------------------------------------------

bias_row = Layout(lambda t: [t[0]], lambda ts: ts[0][None])


@dataclass(frozen=True)
class Spare(Row):
    """A tensor that a checkpoint may leave out: then it is ``made``."""

    made: Callable[[], Tensor] = lambda: torch.zeros(0)


@dataclass(frozen=True)
class Fairseq(Format):
    """A format with spare tensors."""

    def load(self, c: Any, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        ours = super().load(c, theirs)
        spare = [r for r in self.table(c) if isinstance(r, Spare) and r.ours not in ours]
        return ours | {r.ours: r.made().to(next(iter(ours.values()))) for r in spare}


def layer_rows() -> list[Row]:
    """The layers and norms of both halves."""
    their, our = "{s:encoder|decoder}.layers.{i}", "{s}.blocks.{i}"
    attentions = [(f"{their}.self_attn", f"{our}.attention"), ("decoder.layers.{i}.encoder_attn", "decoder.blocks.{i}.cross")]
    return [
        *(Row(f"{t}.{{x:q|k|v}}_proj.{{p}}", f"{o}.sublayer.{{x}}.{{p}}") for t, o in attentions),
        *(Row(f"{t}.out_proj.{{p}}", f"{o}.sublayer.o.{{p}}") for t, o in attentions),
        *(Row(f"{t}_layer_norm.{{p}}", f"{o}.norm.{{p}}") for t, o in attentions),
        Row(f"{their}.fc1.{{p}}", f"{our}.mlp.sublayer.up.{{p}}"),
        Row(f"{their}.fc2.{{p}}", f"{our}.mlp.sublayer.down.{{p}}"),
        Row(f"{their}.final_layer_norm.{{p}}", f"{our}.mlp.norm.{{p}}"),
        Row("{s:encoder|decoder}.layer_norm.{p}", "{s}.norm.{p}"),
    ]
