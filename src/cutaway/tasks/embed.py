"""Sentence embeddings: the hidden states of a text as one vector (Reimers and Gurevych, 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from .. import storage
from ..model import Model
from ..storage.settings import parse

PREFIX = "pooling_mode_"
MODES = {
    "cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "mean_sqrt_len_tokens": "mean_sqrt_len",
    "lasttoken": "last",
}  # fmt: skip


@dataclass(frozen=True)
class Pooling:
    """How a text's hidden states become a vector: ``modes`` are made one by one and stand side by side.

    ``length`` is the most tokens that a text may have, longer ones are cut; None: as the model allows."""

    modes: tuple[str, ...] = ("mean",)
    normalize: bool = True
    length: int | None = None

    @classmethod
    def read(cls, folder: Path) -> "Pooling":
        """From the files that sentence-transformers writes beside a model; mean and normalised without them.

        Raises ValueError for modules or modes that are not built."""
        if not (folder / "modules.json").exists():
            return cls()
        listed = folder / "modules.json"  # a list, which strict reading wants inside an object
        modules = parse(b'{"modules": ' + listed.read_bytes() + b"}", str(listed))["modules"]
        kinds = {module["type"].rsplit(".", 1)[-1]: module["path"] for module in modules}
        if odd := sorted(kinds.keys() - {"Transformer", "Pooling", "Normalize"}):
            raise ValueError(f"{listed} asks for {', '.join(odd)}; Pooling and Normalize are built")
        told = storage.read_json(folder / kinds["Pooling"] / "config.json") if "Pooling" in kinds else {}
        asked = [k.removeprefix(PREFIX) for k, on in told.items() if k.startswith(PREFIX) and on is True]
        if odd := [mode for mode in asked if mode not in MODES]:
            raise ValueError(f"pooling by {', '.join(odd)} is not built; these are: {', '.join(MODES)}")
        limits = folder / "sentence_bert_config.json"
        length = storage.read_json(limits).get("max_seq_length") if limits.exists() else None
        return cls(tuple(MODES[m] for m in asked) or ("mean",), "Normalize" in kinds, length)

    def __call__(self, hidden: Float[Tensor, "B N D"], keep: Bool[Tensor, "B N"]) -> Float[Tensor, "B E"]:
        """Hidden states of the tokens to ``keep`` -> one vector per row."""
        weight = keep[..., None].to(hidden.dtype)
        total, length = (hidden * weight).sum(1), weight.sum(1).clamp(min=1)
        row, slots = torch.arange(len(hidden), device=hidden.device), torch.arange(keep.shape[1], device=hidden.device)
        made = {
            "mean": lambda: total / length,
            "mean_sqrt_len": lambda: total / length.sqrt(),
            "max": lambda: hidden.masked_fill(~keep[..., None], -torch.inf).amax(1),
            "cls": lambda: hidden[row, keep.long().argmax(1)],
            "last": lambda: hidden[row, (slots * keep).argmax(1)],
        }
        out = torch.cat([made[mode]() for mode in self.modes], -1)
        return F.normalize(out, dim=-1) if self.normalize else out


@torch.no_grad()
def embed(
    model: Model, texts: Sequence[str], pooling: Pooling | None = None, *, batch: int = 32
) -> Float[Tensor, "B E"]:
    """One vector per text, float32 on the CPU; of unit length if the pooling normalises, so that a product is a cosine.

    Raises ValueError for a model without a tokenizer, TypeError for a single string."""
    if isinstance(texts, str):
        raise TypeError("embed takes a list of texts, not one: embed(model, [text])")
    if model.tokenizer is None:
        raise ValueError("the model has no tokenizer, so it cannot read texts")
    pooling = pooling or Pooling()
    limits = [n for n in (pooling.length, model.limit) if n is not None]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # texts of about one length share a batch
    rows: list[Tensor] = [torch.empty(0)] * len(texts)
    for at in range(0, len(order), batch):
        some = order[at : at + batch]
        padded = model.tokenizer.batch([texts[i] for i in some], max_length=min(limits, default=None))
        ids, mask = (torch.tensor(t, device=model.device) for t in (padded.input_ids, padded.attention_mask))
        vectors = pooling(model(ids, mask).hidden.float(), mask.bool()).cpu()
        for i, vector in zip(some, vectors, strict=True):
            rows[i] = vector
    return torch.stack(rows) if rows else torch.empty(0, model.config.width * len(pooling.modes))
