"""What all of BERT's kin must do beside giving the same outputs: segments, losses, dropout, old files, refusals."""

import json
from pathlib import Path
from typing import Any

import cutaway
import pytest
import torch
import transformers as T
from cutaway import families
from cutaway.model import Model
from cutaway.parts import Sinusoidal
from families.parity import Case, padded
from safetensors.torch import load_file, save_file
from torch import Tensor

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


def case(model_type: str, head: str, **more: object) -> Case:
    name, config, small = KIN[model_type]
    return Case(name + head, config(**small | more))


def both(one: Case, folder: Path) -> tuple[Any, Model, Tensor, Tensor]:
    """Reference and ours, and a batch that is padded on the right."""
    reference = one.make(folder)
    return reference, cutaway.load(folder), *padded(one.rows(), "right", one.config.pad_token_id)


def near(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() < 1e-5)


# ---- inputs --------------------------------------------------------------------------------------------------


@each
@torch.no_grad()
def test_segments_and_positions(model_type: str, tmp_path: Path) -> None:
    reference, model, ids, _ = both(case(model_type, "Model"), tmp_path)
    ids = ids[:1]
    told = {"position_ids": torch.randint(4, 20, ids.shape), "token_type_ids": torch.arange(ids.shape[1])[None] % 2}
    if model_type == "distilbert":
        told.pop("token_type_ids")
    theirs = reference(ids, **told).last_hidden_state
    if "roberta" in model_type:  # their positions count from the padding id on
        told["position_ids"] = told["position_ids"] - 2
    assert near(model(ids, **told).hidden, theirs)
    for word, value in told.items():
        rest = {k: v for k, v in told.items() if k != word}
        assert not near(model(ids, **rest).hidden, theirs), f"{word} changes nothing"
        if word == "token_type_ids":
            assert near(model(ids, **rest).hidden, model(ids, **rest, token_type_ids=0 * value).hidden)


@pytest.mark.parametrize(("model_type", "more"), [("distilbert", {}), ("deberta", {"type_vocab_size": 0})])
def test_segments_without_a_table(model_type: str, more: dict[str, Any], tmp_path: Path) -> None:
    _, model, ids, _ = both(case(model_type, "Model", **more), tmp_path)
    with pytest.raises(TypeError, match="token_type_ids"):
        model(ids, token_type_ids=torch.zeros_like(ids))


# ---- training ------------------------------------------------------------------------------------------------


@each
@torch.no_grad()
def test_losses(model_type: str, tmp_path: Path) -> None:
    for head in ("ForMaskedLM", "ForTokenClassification", "ForQuestionAnswering", "ForSequenceClassification"):
        more = {"num_labels": 3} if "Classification" in head else {}
        reference, model, ids, mask = both(case(model_type, head, **more), tmp_path / head)
        told = {
            "ForMaskedLM": {"labels": ids.where(mask.bool() & (ids % 3 == 0), -100)},
            "ForTokenClassification": {"labels": (ids % 3).where(mask.bool(), -100)},
            "ForQuestionAnswering": {"start_positions": torch.tensor([1]), "end_positions": torch.tensor([4])},
            "ForSequenceClassification": {"labels": torch.tensor([0, 2, 1])},
        }[head]
        if head == "ForQuestionAnswering":  # one full row: what a model says of padding is nobody's business
            ids, mask = ids[:1], mask[:1]
        ours, theirs = model(ids, mask, **told).loss, reference(ids, mask, **told).loss
        assert near(ours, theirs), (head, ours, theirs)


@pytest.mark.parametrize(
    ("more", "labels"),
    [
        ({"num_labels": 1}, torch.tensor([0.5, -1.0, 2.0])),
        ({"num_labels": 3, "problem_type": "regression"}, torch.tensor([[0.5, -1.0, 2.0]] * 3)),
        ({"num_labels": 3, "problem_type": "multi_label_classification"}, torch.eye(3)),
        ({"num_labels": 3}, torch.eye(3)),
    ],
)
@torch.no_grad()
def test_other_losses_of_a_sequence(more: dict[str, Any], labels: Tensor, tmp_path: Path) -> None:
    reference, model, ids, mask = both(case("bert", "ForSequenceClassification", **more), tmp_path)
    assert near(model(ids, mask, labels=labels).loss, reference(ids, mask, labels=labels).loss)


@torch.no_grad()
def test_loss_of_replaced_tokens(tmp_path: Path) -> None:
    reference, model, ids, mask = both(case("electra", "ForPreTraining"), tmp_path)
    labels, real = ids % 2, mask.bool()
    loss = model(ids, mask, labels=labels).loss
    assert near(loss, reference(ids, mask, labels=labels).loss)
    assert near(loss, model(ids, mask, labels=labels.where(real, -100)).loss)
    assert near(model(ids, labels=labels).loss, reference(ids, labels=labels).loss)
    assert model(ids, labels=torch.full_like(ids, -100)).loss == 0


RATES = {
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "classifier_dropout_prob",
    "pooler_dropout", "cls_dropout", "dropout", "attention_dropout", "qa_dropout", "seq_classif_dropout",
}  # fmt: skip


@each
@torch.no_grad()
def test_dropout_falls_where_theirs_does(model_type: str, tmp_path: Path) -> None:
    """Rates of 0 and 1 leave nothing to chance: each rate alone at 1, both models in training."""
    own = {"deberta": {"cls_dropout"}, "deberta-v2": {"cls_dropout"}}.get(model_type, set())
    keys = (RATES & KIN[model_type][1]().to_dict().keys()) | own
    heads = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMaskedLM")
    felt = set()
    for head in heads:
        plain = None
        for on in (None, *sorted(keys)):
            rates = {k: float(k == on) for k in keys}
            reference, model, ids, _ = both(case(model_type, head, **rates), tmp_path / f"{head}-{on}")
            ours, theirs = model.train()(ids[:1]), reference.train()(ids[:1])
            word = "start_logits" if head == "ForQuestionAnswering" else "logits"
            a, b = getattr(ours, word), getattr(theirs, word)
            assert near(a, b), (head, on)
            plain = a if on is None else plain
            felt |= set() if near(a, plain) else {on}
    assert felt == keys


@each
def test_every_parameter_learns(model_type: str, tmp_path: Path) -> None:
    for head in ("ForMaskedLM", "ForSequenceClassification"):
        _, model, ids, mask = both(case(model_type, head), tmp_path / head)
        model(ids, mask).logits.square().sum().backward()
        size = {n: p.grad.abs().max().item() for n, p in model.network.named_parameters()}
        # What is added to all keys alike changes no weights, unless places look at keys.
        still = {n for n in size if n.endswith(".k.bias") and model_type != "deberta-v2"}
        largest = max(size.values())
        assert all(0 <= g < float("inf") for g in size.values())
        assert {n for n, g in size.items() if g < 1e-6 * largest} == still


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


@pytest.mark.parametrize(("model_type", "more"), [("bert", {}), ("albert", {})])
@torch.no_grad()
def test_pretraining_is_read_as_masked_lm(model_type: str, more: dict[str, Any], tmp_path: Path) -> None:
    reference, model, ids, _ = both(case(model_type, "ForPreTraining", **more), tmp_path)
    assert near(model(ids[:1]).logits, reference(ids[:1]).prediction_logits)
    assert {n.split(".")[-3] for n in model.origin.ignored} >= {"cls" if model_type == "bert" else "sop_classifier"}


@torch.no_grad()
def test_old_spellings_and_leftovers(tmp_path: Path) -> None:
    reference, _, ids, _ = both(case("bert", "ForMaskedLM"), tmp_path)
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
    reference, _, ids, _ = both(case("deberta-v2", "Model", position_biased_input=False), tmp_path)
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


BERT_BASE = dict(
    model_type="bert", architectures=["BertForMaskedLM"], attention_probs_dropout_prob=0.1, gradient_checkpointing=False,
    hidden_act="gelu", hidden_dropout_prob=0.1, hidden_size=768, initializer_range=0.02, intermediate_size=3072,
    layer_norm_eps=1e-12, max_position_embeddings=512, num_attention_heads=12, num_hidden_layers=12, pad_token_id=0,
    position_embedding_type="absolute", type_vocab_size=2, use_cache=True, vocab_size=30522,
)  # fmt: skip
ROBERTA_BASE = BERT_BASE | dict(
    model_type="roberta", architectures=["RobertaForMaskedLM"], bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5,
    max_position_embeddings=514, pad_token_id=1, type_vocab_size=1, vocab_size=50265,
)  # fmt: skip
DISTILBERT_BASE = dict(
    model_type="distilbert", architectures=["DistilBertForMaskedLM"], activation="gelu", attention_dropout=0.1, dim=768,
    dropout=0.1, hidden_dim=3072, initializer_range=0.02, max_position_embeddings=512, n_heads=12, n_layers=6,
    pad_token_id=0, qa_dropout=0.1, seq_classif_dropout=0.2, sinusoidal_pos_embds=False, tie_weights_=True,
    vocab_size=30522,
)  # fmt: skip
ALBERT_BASE = dict(
    model_type="albert", architectures=["AlbertForMaskedLM"], attention_probs_dropout_prob=0, bos_token_id=2,
    classifier_dropout_prob=0.1, down_scale_factor=1, embedding_size=128, eos_token_id=3, gap_size=0, hidden_act="gelu_new",
    hidden_dropout_prob=0, hidden_size=768, initializer_range=0.02, inner_group_num=1, intermediate_size=3072,
    layer_norm_eps=1e-12, max_position_embeddings=512, net_structure_type=0, num_attention_heads=12, num_hidden_groups=1,
    num_hidden_layers=12, num_memory_blocks=0, pad_token_id=0, type_vocab_size=2, vocab_size=30000,
)  # fmt: skip
DEBERTA_BASE = dict(
    model_type="deberta", attention_probs_dropout_prob=0.1, hidden_act="gelu", hidden_dropout_prob=0.1, hidden_size=768,
    initializer_range=0.02, intermediate_size=3072, max_position_embeddings=512, relative_attention=True,
    max_relative_positions=-1, pos_att_type="c2p|p2c", position_biased_input=False, layer_norm_eps=1e-7, padding_idx=0,
    num_attention_heads=12, num_hidden_layers=12, type_vocab_size=0, vocab_size=50265,
)  # fmt: skip
DEBERTA_V3_BASE = {k: v for k, v in DEBERTA_BASE.items() if k != "padding_idx"} | dict(
    model_type="deberta-v2", position_buckets=256, norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type="p2c|c2p",
    vocab_size=128100,
)  # fmt: skip
ELECTRA_SMALL = {k: v for k, v in BERT_BASE.items() if k not in ("position_embedding_type", "use_cache")} | dict(
    model_type="electra", architectures=["ElectraForPreTraining"], embedding_size=128, hidden_size=256,
    intermediate_size=1024, num_attention_heads=4,
)  # fmt: skip
PUBLISHED = {
    "bert-base-uncased": BERT_BASE,
    "bert-base-multilingual-cased": BERT_BASE
    | dict(
        directionality="bidi",
        pooler_fc_size=768,
        pooler_num_attention_heads=12,
        pooler_num_fc_layers=3,
        pooler_size_per_head=128,
        pooler_type="first_token_transform",
        vocab_size=119547,
        classifier_dropout=None,
    ),  # fmt: skip
    "roberta-base": ROBERTA_BASE,
    "xlm-roberta-base": ROBERTA_BASE
    | dict(model_type="xlm-roberta", architectures=["XLMRobertaForMaskedLM"], output_past=True, vocab_size=250002),
    "distilbert-base-uncased": DISTILBERT_BASE,
    "distilbert-base-uncased-distilled-squad": DISTILBERT_BASE
    | dict(architectures=["DistilBertForQuestionAnswering"], sinusoidal_pos_embds=True),
    "electra-small-discriminator": ELECTRA_SMALL
    | dict(summary_activation="gelu", summary_last_dropout=0.1, summary_type="first", summary_use_proj=True),
    "electra-base-discriminator": ELECTRA_SMALL
    | dict(embedding_size=768, hidden_size=768, intermediate_size=3072, num_attention_heads=12),
    "albert-base-v2": ALBERT_BASE,
    "deberta-base": DEBERTA_BASE,
    "deberta-base-mnli": DEBERTA_BASE
    | dict(
        architectures=["DebertaForSequenceClassification"],
        pooler_dropout=0,
        pooler_hidden_act="gelu",
        pooler_hidden_size=768,
        num_labels=3,
        id2label={"0": "a", "1": "b", "2": "c"},
    ),  # fmt: skip
    "deberta-v3-base": DEBERTA_V3_BASE,
    "deberta-v2-xlarge": DEBERTA_V3_BASE
    | dict(
        hidden_size=1536,
        num_hidden_layers=24,
        num_attention_heads=24,
        intermediate_size=6144,
        attention_head_size=64,
        conv_kernel_size=3,
        conv_act="gelu",
    ),  # fmt: skip
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs(name: str) -> None:
    """Read as they are, nothing unknown, and as many parameters as the reference has; said again when written."""
    config = PUBLISHED[name]
    model_type = config["model_type"]
    form = families.form(model_type)
    ours, kept = form.read(config)
    c = families.module(model_type).Config(**ours)
    theirs = KIN[model_type][1](**{k: v for k, v in config.items() if k != "model_type"})
    architecture = next(name for name, head in form.heads.items() if head == c.head)
    with torch.device("meta"):
        network, reference = families.network(model_type, c), getattr(T, architecture)(theirs)
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in reference.parameters())
    written = json.loads(json.dumps(form.write(c, model_type, kept)))
    assert form.read(written)[0] == ours


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
    ],
)
def test_refusals(name: str, more: dict[str, Any], said: str) -> None:
    config = PUBLISHED[name] | more
    with pytest.raises(ValueError, match=said), torch.device("meta"):
        model_type = config["model_type"]
        families.network(model_type, families.module(model_type).Config(**families.form(model_type).read(config)[0]))
