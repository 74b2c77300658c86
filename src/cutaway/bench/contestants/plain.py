"""A GPT-2 of PyTorch's own parts as everybody writes it (nanoGPT's ways: fused q, k and v, all logits at once)."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import weights
from . import Act, Job, Make
from .torches import stepping

FLIPPED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")


class Attend(nn.Module):
    """Causal attention whose queries, keys and values are one product."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.c_attn, self.c_proj, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.c_attn(x).chunk(3, -1))
        mixed: Tensor = self.c_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return mixed


class Layer(nn.Module):
    """Attention, then two products with a tanh GELU between them, each after a norm."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.ln_1, self.attn, self.ln_2 = nn.LayerNorm(width), Attend(width, heads), nn.LayerNorm(width)
        up, down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.mlp = nn.Sequential(OrderedDict(c_fc=up, act=nn.GELU("tanh"), c_proj=down))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        mixed: Tensor = x + self.mlp(self.ln_2(x))
        return mixed


class PlainGPT(nn.Module):
    """The whole model, its weights named as in published checkpoints."""

    def __init__(self, vocab: int, places: int, width: int, depth: int, heads: int, hidden: int):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(places, width)
        self.h = nn.Sequential(*(Layer(width, heads, hidden) for _ in range(depth)))
        self.ln_f = nn.LayerNorm(width)

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        hidden = self.ln_f(self.h(self.wte(ids) + self.wpe.weight[: ids.shape[1]]))
        return F.cross_entropy(F.linear(hidden, self.wte.weight).flatten(0, 1), targets.flatten())


def train(job: Job) -> Act:
    stored = {n.removeprefix("transformer."): t for n, t in weights.read_tensors(job.folder).items()}
    config = job.work.model.config
    depth = sum(name.endswith("ln_1.weight") for name in stored)
    heads = config["heads"]
    hidden = stored["h.0.mlp.c_fc.bias"].shape[0]
    with torch.device("meta"):
        vocab, (places, width) = stored["wte.weight"].shape[0], stored["wpe.weight"].shape
        model = PlainGPT(vocab, places, width, depth, heads, hidden)
    ours = {
        n: (t.T if n.endswith(FLIPPED) else t).contiguous().clone() for n, t in stored.items() if n != "lm_head.weight"
    }
    model.load_state_dict(ours, assign=True)
    model.requires_grad_().to(job.device)
    return stepping(job, model, model.loss, model.wpe.weight)


WORKS: dict[str, Make] = dict(train=train)
