"""Small references of BERT's kin, and ours with the same weights."""

import json
from typing import Any

import pytest
import torch
import transformers as T
from families.parity import padded
from torch import Tensor

from cutaway import families
from cutaway.hub import fill
from cutaway.model import Model, Origin

SIZES = dict(vocab_size=61, max_position_embeddings=20)
SMALL = SIZES | dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40)
V1 = dict(relative_attention=True, pos_att_type=["c2p", "p2c"], type_vocab_size=2, max_relative_positions=4)
V2 = V1 | dict(position_buckets=4, conv_kernel_size=3, norm_rel_ebd="layer_norm")
# What transformers calls the classes of a model type, its config, and a small one.
KIN: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "bert": ("Bert", T.BertConfig, SMALL),
    "roberta": ("Roberta", T.RobertaConfig, SMALL),
    "xlm-roberta": ("XLMRoberta", T.XLMRobertaConfig, SMALL),
    "electra": ("Electra", T.ElectraConfig, SMALL | dict(embedding_size=10)),
    "albert": ("Albert", T.AlbertConfig, SMALL | dict(embedding_size=10)),
    "distilbert": ("DistilBert", T.DistilBertConfig, SIZES | dict(dim=24, n_layers=2, n_heads=4, hidden_dim=40)),
    "deberta": ("Deberta", T.DebertaConfig, SMALL | V1),
    "deberta-v2": ("DebertaV2", T.DebertaV2Config, SMALL | V2),
}
each = pytest.mark.parametrize("model_type", KIN)


def pair(model_type: str, head: str, **more: object) -> tuple[torch.nn.Module, Model]:
    """A reference with random weights, and ours with the same."""
    name, config_class, small = KIN[model_type]
    torch.manual_seed(0)
    config = config_class(**small | more)
    reference = getattr(T, name + head)(config).eval()
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    form, module = families.form(model_type), families.module(model_type)
    ours, kept = form.read(json.loads(json.dumps(config.to_dict() | {"architectures": [name + head]})))
    network = module.NETWORK(module.Config(**ours))
    fill(network, form.load(network.config, reference.state_dict()))
    return reference, Model(network, Origin(model_type, kept)).eval()


def batch(model: Model) -> tuple[Tensor, Tensor]:
    """Ids and mask of three rows, padded on the right."""
    rows = [torch.randint(5, 61, (n,), generator=torch.Generator().manual_seed(n)) for n in (11, 7, 4)]
    return padded(rows, "right", model.origin.get("pad_token_id"))


def near(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() < 1e-5)
