"""PyTorch's own modules: BERT as an ``nn.TransformerEncoder``, with the fast path that it takes in evaluation."""

import torch
from torch import Tensor, nn

from ... import weights
from . import Act, Array, Job, Make, Mark, importing
from .torches import DTYPES, numbers, tensor

PARTS = {
    "self_attn.out_proj": "attention.output.dense",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm1": "attention.output.LayerNorm",
    "norm2": "output.LayerNorm",
}


class Bert(nn.Module):
    """Embeddings of words, places and the first segment, a norm, the encoder."""

    def __init__(self, stored: dict[str, Tensor], heads: int, eps: float = 1e-12):
        super().__init__()
        table = lambda name: stored[f"embeddings.{name}_embeddings.weight"]
        self.words, self.places = nn.Embedding.from_pretrained(table("word")), table("position")
        self.places = nn.Parameter(self.places + table("token_type")[0])
        width, hidden = self.words.embedding_dim, stored["encoder.layer.0.intermediate.dense.bias"].shape[0]
        layer = nn.TransformerEncoderLayer(width, heads, hidden, 0.0, "gelu", eps, batch_first=True)
        depth = sum(name.endswith("intermediate.dense.bias") for name in stored)
        self.norm, self.encoder = nn.LayerNorm(width, eps), nn.TransformerEncoder(layer, depth)
        for name, own in (("weight", self.norm.weight), ("bias", self.norm.bias)):
            own.data.copy_(stored[f"embeddings.LayerNorm.{name}"])
        self.encoder.load_state_dict({k: v for i in range(depth) for k, v in renamed(stored, i).items()})

    def forward(self, ids: Tensor) -> Tensor:
        found: Tensor = self.encoder(self.norm(self.words(ids) + self.places[: ids.shape[1]]))
        return found


def renamed(stored: dict[str, Tensor], layer: int) -> dict[str, Tensor]:
    """A layer's tensors under the names of ``nn.TransformerEncoder``."""
    old, new = f"encoder.layer.{layer}", f"layers.{layer}"
    found = {f"{new}.{a}.{p}": stored[f"{old}.{b}.{p}"] for a, b in PARTS.items() for p in ("weight", "bias")}
    for p in ("weight", "bias"):
        three = [stored[f"{old}.attention.self.{x}.{p}"] for x in ("query", "key", "value")]
        found[f"{new}.self_attn.in_proj_{p}"] = torch.cat(three)
    return found


def encode(job: Job) -> Act:
    stored = {name.removeprefix("bert."): t for name, t in weights.read_tensors(job.folder).items()}
    model = Bert(stored, job.work.model.config["heads"]).to(job.device, DTYPES[job.entry.dtype]).eval()
    ids = tensor(job)

    @torch.inference_mode()
    def run(mark: Mark = lambda: None) -> Array:
        return numbers(model(ids))

    return Act(run, run)


WORKS: dict[str, Make] = {"encode": encode, "import": importing("import torch")}
