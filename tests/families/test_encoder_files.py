"""Files of BERT's kin: fresh ones, old ones, published configs, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as T
from families.encoder import KIN, batch, each, near, pair
from families.published import PUBLISHED
from safetensors.torch import load_file, save_file

import cutaway
from cutaway import families
from cutaway.hub import describe
from cutaway.parts import Sinusoidal

# ---- files ---------------------------------------------------------------------------------------------------


@each
@torch.no_grad()
def test_build(model_type: str, tmp_path: Path) -> None:
    sizes = dict(vocab=300, width=24, depth=2, heads=4, hidden=40, length=18)
    for head, name in (("masked_lm", "ForMaskedLM"), ("sequence", "ForSequenceClassification"), ("base", "Model")):
        more = {"labels": 5} if head == "sequence" else {}
        model = cutaway.build(model_type, head=head, **sizes, **more)
        assert 0.018 < model.embed.weight.std() < 0.022
        cutaway.save(model, tmp_path / name)
        reference, info = getattr(T, KIN[model_type][0] + name).from_pretrained(
            tmp_path / name, output_loading_info=True
        )
        assert not any(info.values()), info
        ids = torch.randint(5, 300, (2, 18))
        ours, theirs = model(ids), reference.eval()(ids)
        assert near(ours.hidden if head == "base" else ours.logits, theirs[0])


def test_waves_are_not_trained() -> None:
    model = cutaway.build("distilbert", vocab=30, width=24, depth=1, heads=4, hidden=40, length=18, sinusoidal=True)
    assert torch.equal(model.position.weight, Sinusoidal(24)(torch.arange(18)))
    assert [n for n, p in model.network.named_parameters() if not p.requires_grad] == ["position.weight"]


@pytest.mark.parametrize("model_type", ["bert", "albert"])
@torch.no_grad()
def test_pretraining_is_read_as_masked_lm(model_type: str) -> None:
    reference, model = pair(model_type, "ForPreTraining")
    ids, _ = batch(model)
    assert near(model(ids[:1]).logits, reference(ids[:1]).prediction_logits)


@torch.no_grad()
def test_old_spellings_and_leftovers(tmp_path: Path) -> None:
    reference, model = pair("bert", "ForMaskedLM")
    reference.save_pretrained(tmp_path)
    ids, _ = batch(model)
    file, head = tmp_path / "model.safetensors", "cls.predictions"
    words = {".LayerNorm.weight": ".LayerNorm.gamma", ".LayerNorm.bias": ".LayerNorm.beta"}
    tensors = load_file(file)
    for new, old in words.items():
        tensors = {n.replace(new, old): t for n, t in tensors.items()}
    left = {
        "bert.embeddings.position_ids": torch.arange(20)[None],
        "bert.pooler.dense.weight": torch.zeros(24, 24),
        "bert.pooler.dense.bias": torch.zeros(24),
        "cls.seq_relationship.weight": torch.zeros(2, 24),
        "cls.seq_relationship.bias": torch.zeros(2),
    }
    copies = {
        f"{head}.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"].clone(),
        f"{head}.decoder.bias": tensors[f"{head}.bias"].clone(),
    }
    save_file(tensors | left | copies, file)
    model = cutaway.load(tmp_path)
    assert near(model(ids[:1]).logits, reference(ids[:1]).logits)
    assert set(model.origin.ignored) == set(left)
    for name, tensor in copies.items():
        save_file(tensors | copies | {name: tensor + 1}, file)
        with pytest.raises(ValueError, match="two different tensors"):
            cutaway.load(tmp_path)
    save_file(tensors | {f"{head}.transform.extra": torch.zeros(1)}, file)
    with pytest.raises(KeyError, match=r"transform\.extra"):
        cutaway.load(tmp_path)


@torch.no_grad()
def test_leftovers_of_deberta(tmp_path: Path) -> None:
    reference, model = pair("deberta-v2", "Model", position_biased_input=False)
    reference.save_pretrained(tmp_path)
    ids, _ = batch(model)
    file = tmp_path / "model.safetensors"
    tensors = {f"deberta.{n}": t for n, t in load_file(file).items()}
    left = {
        "deberta.embeddings.position_embeddings.weight": torch.zeros(20, 24),
        "lm_predictions.lm_head.bias": torch.zeros(61),
        "mask_predictions.dense.weight": torch.zeros(24, 24),
    }
    save_file(tensors | left, file)
    model = cutaway.load(tmp_path)
    assert near(model(ids[:1]).hidden, reference(ids[:1]).last_hidden_state)
    assert set(model.origin.ignored) == set(left)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs(name: str) -> None:
    """Read as they are, nothing unknown, and as many parameters as the reference has; said again when written."""
    config = PUBLISHED[name]
    model_type = config["model_type"]
    form = families.form(model_type)
    config_class = families.module(model_type).Config
    ours, kept = form.read(config)
    c = config_class(**ours)
    theirs = KIN[model_type][1](**{k: v for k, v in config.items() if k != "model_type"})
    architecture = next(name for name, head in form.heads.items() if head == c.head)
    with torch.device("meta"):
        network, reference = families.network(model_type, c), getattr(T, architecture)(theirs)
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in reference.parameters())
    written = json.loads(json.dumps(form.write(c, model_type, kept)))
    assert config_class(**form.read(written)[0]) == c


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("bert-base-uncased", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("bert-base-uncased", {"tie_word_embeddings": False}, "tie_word_embeddings"),
        ("bert-base-uncased", {"is_decoder": True}, "is_decoder"),
        ("bert-base-uncased", {"hidden_act": "mish"}, "mish"),
        ("bert-base-uncased", {"architectures": ["BertForMultipleChoice"]}, "BertForMultipleChoice"),
        ("roberta-base", {"architectures": ["RobertaForCausalLM"]}, "RobertaForCausalLM"),
        ("albert-base-v2", {"num_memory_blocks": 2}, "num_memory_blocks"),
        ("distilbert-base-uncased", {"tie_weights_": False}, "tie_weights_"),
        ("deberta-base", {"talking_head": True}, "talking_head"),
        ("deberta-base", {"pos_att_type": "c2p|p2p"}, "p2p"),
        ("deberta-base", {"pooler_hidden_size": 64}, "pooler_hidden_size"),
        ("deberta-base", {"position_buckets": 256}, "position_buckets"),
        ("deberta-v3-base", {"attention_head_size": 32}, "attention_head_size"),
        ("deberta-v3-base", {"norm_rel_ebd": "rms"}, "rms"),
        ("deberta-v3-base", {"position_buckets": 2048}, "2048"),
        ("deberta-v2-xlarge", {"conv_act": "mish"}, "mish"),
        ("deberta-v2-xlarge", {"conv_groups": 2}, "conv_groups"),
    ],
)
def test_refusals(name: str, more: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED[name] | more))
    with pytest.raises(ValueError, match=said):
        describe(tmp_path)
