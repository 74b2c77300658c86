"""What BART, Marian, M2M-100 and their kin write alike: fairseq's names, and tensors that may be left out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..names import Field, Format, Group, Layout, Row
from ..parts import Sinusoidal
from .halves import HALVES
from .keys import ACT

FIELDS: dict[str, str | Field] = {
    "d_model": "width", "max_position_embeddings": "length", "activation_function": ACT, "scale_embedding": "scaled",
    "dropout": "dropout", "attention_dropout": "attention_dropout", "activation_dropout": "activation_dropout",
    "encoder_layerdrop": "layer_drop", "decoder_layerdrop": "decoder_layer_drop",
}  # fmt: skip
IDLE = dict.fromkeys(
    ["add_bias_logits", "classif_dropout", "classifier_dropout", "extra_pos_embeddings",
     "force_bos_token_to_be_generated", "num_hidden_layers", "save_step"], ...)  # fmt: skip
IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "forced_eos_token_id": 2}
Table = Callable[[Any], list[Row]]


@dataclass(frozen=True)
class Spare(Row):
    """A tensor that a checkpoint may leave out: then it is ``made``."""

    made: Callable[[], Tensor] = lambda: torch.zeros(0)


@dataclass(frozen=True)
class Fairseq(Format):
    """A format with spare tensors, and a pad token that must be one of the vocabulary's: else the last is."""

    def write(self, ours: Any, model_type: str, kept: Mapping[str, Any]) -> dict[str, Any]:
        if "pad_token_id" not in kept and self.defaults["pad_token_id"] >= ours.vocab:
            kept = {**kept, "pad_token_id": ours.vocab - 1, "decoder_start_token_id": ours.vocab - 1}
        return super().write(ours, model_type, kept)

    def load(self, c: Any, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        ours = super().load(c, theirs)
        spare = [r for r in self.table(c) if isinstance(r, Spare) and r.ours not in ours]
        return ours | {r.ours: r.made().to(next(iter(ours.values()))) for r in spare}


def published(
    name: str,
    heads: Mapping[str, str],
    tables: tuple[Table, Table],
    groups: tuple[Group, ...],
    is_: tuple[bool, bool, bool] = (False, False, True),
    fields: Mapping[str, str | Field] | None = None,
    fixed: Mapping[str, Any] | None = None,
    **more: Any,
) -> Format:
    """A model type; ``name`` begins the names of its classes, ``tables`` are the rows of the body and of the head.

    ``is_``: pre-norm, with a norm after the embedding, with sinusoids; old configs say so, and must not differ."""
    pre, embed_norm, waves = ((value,) for value in is_)
    told = {"normalize_before": pre, "add_final_layer_norm": pre, "normalize_embedding": embed_norm}
    return Fairseq(
        heads={name + task: head for task, head in heads.items()},
        rows=tables[0],
        head_rows=tables[1],
        prefix="model.",
        fields={**FIELDS, **(fields or {})},
        fixed={**IDLE, **told, "static_position_embeddings": waves, **(fixed or {})},
        groups=(HALVES, *groups),
        ignore=(r"(model\.)?(en|de)coder\.(version|embed_positions\..*)",),
        **more,
    )


def layer_rows() -> list[Row]:
    """The layers and norms of both halves."""
    their, our, cross = "{s:encoder|decoder}.layers.{i}", "{s}.blocks.{i}", "decoder.layers.{i}.encoder_attn"
    attentions = {f"{their}.self_attn": f"{our}.attention", cross: "decoder.blocks.{i}.cross"}
    return [
        *(Row(f"{t}.{{x:q|k|v}}_proj.{{p}}", f"{o}.sublayer.{{x}}.{{p}}") for t, o in attentions.items()),
        *(Row(f"{t}.out_proj.{{p}}", f"{o}.sublayer.o.{{p}}") for t, o in attentions.items()),
        *(Row(f"{t}_layer_norm.{{p}}", f"{o}.norm.{{p}}") for t, o in attentions.items()),
        Row(f"{their}.fc1.{{p}}", f"{our}.mlp.sublayer.up.{{p}}"),
        Row(f"{their}.fc2.{{p}}", f"{our}.mlp.sublayer.down.{{p}}"),
        Row(f"{their}.final_layer_norm.{{p}}", f"{our}.mlp.norm.{{p}}"),
        Row("{s:encoder|decoder}.layer_norm.{p}", "{s}.norm.{p}"),
    ]


def wave_table(length: int, width: int, *, offset: int = 0, ends: bool = False) -> Float[Tensor, "N D"]:
    """The table of sinusoids that a checkpoint may hold; the row before position 0 is padding's."""
    table = Sinusoidal(width, interleaved=False, ends=ends)(torch.arange(length + offset))
    if offset:
        table[offset - 1] = 0
    return table


def logit_rows(c: Any) -> list[Row]:
    """The head's, if it makes logits: a fixed bias, and a copy of the embedding that checkpoints may have."""
    row = Layout(lambda t: [t[0]], lambda ts: ts[0][None])
    bias = Spare("final_logits_bias", "head.bias", row, made=lambda: torch.zeros(c.vocab))
    return [bias, Row("lm_head.weight", "head.weight")] if c.head == "lm" else []
