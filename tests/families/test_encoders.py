"""What all of BERT's kin must do beside giving the same outputs: segments, positions, losses, dropout, gradients."""

from typing import Any

import pytest
import torch
from families.encoder import KIN, batch, each, near, pair
from torch import Tensor

# ---- inputs --------------------------------------------------------------------------------------------------


@each
@torch.no_grad()
def test_segments_and_positions(model_type: str) -> None:
    reference, model = pair(model_type, "Model")
    ids = batch(model)[0][:1]
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
def test_segments_without_a_table(model_type: str, more: dict[str, Any]) -> None:
    _, model = pair(model_type, "Model", **more)
    ids, _ = batch(model)
    with pytest.raises(TypeError, match="token_type_ids"):
        model(ids, token_type_ids=torch.zeros_like(ids))


# ---- training ------------------------------------------------------------------------------------------------


@each
@torch.no_grad()
def test_losses(model_type: str) -> None:
    for head in ("ForMaskedLM", "ForTokenClassification", "ForQuestionAnswering", "ForSequenceClassification"):
        more = {"num_labels": 3} if "Classification" in head else {}
        reference, model = pair(model_type, head, **more)
        ids, mask = batch(model)
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
def test_other_losses_of_a_sequence(more: dict[str, Any], labels: Tensor) -> None:
    reference, model = pair("bert", "ForSequenceClassification", **more)
    ids, mask = batch(model)
    assert near(model(ids, mask, labels=labels).loss, reference(ids, mask, labels=labels).loss)


@torch.no_grad()
def test_loss_of_replaced_tokens() -> None:
    reference, model = pair("electra", "ForPreTraining")
    ids, mask = batch(model)
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
def test_dropout_falls_where_theirs_does(model_type: str) -> None:
    """Rates of 0 and 1 leave nothing to chance: each rate alone at 1, both models in training."""
    keys = RATES & KIN[model_type][1]().to_dict().keys() | ({"cls_dropout"} if "deberta" in model_type else set())
    felt = set()
    for head in ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"):
        word, plain = "start_logits" if head == "ForQuestionAnswering" else "logits", None
        for on in (None, *sorted(keys)):
            reference, model = pair(model_type, head, **{k: float(k == on) for k in keys})
            ids = batch(model)[0][:1]
            ours, theirs = (getattr(m.train()(ids), word) for m in (model, reference))
            assert near(ours, theirs), (head, on)
            plain = ours if plain is None else plain
            felt |= set() if near(ours, plain) else {on}
    assert felt == keys


@each
def test_every_parameter_learns(model_type: str) -> None:
    for head in ("ForMaskedLM", "ForSequenceClassification"):
        _, model = pair(model_type, head)
        model(*batch(model)).logits.square().sum().backward()
        size = {n: p.grad.abs().max().item() for n, p in model.network.named_parameters()}
        assert all(g < float("inf") for g in size.values())
        # What all keys have alike changes no weight; where places look at keys, tokens' keys are not alike any more.
        still = {n for n in size if n.endswith(("keys.bias", "." if model_type == "deberta-v2" else ".k.bias"))}
        assert {n for n, g in size.items() if g < 1e-6 * max(size.values())} == still
