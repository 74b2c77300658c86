"""Each objective against its definition written out, and the laws of those that draw."""

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from families.tiny import tiny
from torch import Tensor

import cutaway
from cutaway import families
from cutaway.text import Tokenizer
from cutaway.train import objectives as O
from cutaway.train.objectives.denoising import composition

PAD, EOS, BOS, MASK, START = 0, 1, 2, 3, 4
FIRST = 5  # of ordinary ids
VOCAB = 1000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def text(*lengths: int, column: str = "input") -> list[dict[str, Tensor]]:
    random = seeded(len(lengths))
    return [{column: torch.randint(FIRST, VOCAB - 100, (n,), generator=random)} for n in lengths]


def rising(*lengths: int) -> list[dict[str, Tensor]]:
    """Rows whose tokens say where they stood."""
    return [{"input": FIRST + torch.arange(n)} for n in lengths]


def cut(ids: Tensor) -> list[list[int]]:
    """Rows without what fills them up."""
    return [[i for i in row if i not in (PAD, -100)] for row in ids.tolist()]


EVERY: dict[str, O.Objective] = {
    "causal": O.CausalLM(),
    "masked": O.MaskedLM(MASK, VOCAB),
    "spans": O.SpanCorruption(VOCAB - 1, START, EOS),
    "infilling": O.Infilling(MASK, START, EOS, BOS, borders=(7, 8)),
    "pairs": O.Seq2Seq(START, EOS),
}


@pytest.mark.parametrize("name", EVERY)
def test_padding_is_hidden_and_never_a_target(name: str) -> None:
    rows = [row | other for row, other in zip(text(40, 3, 17), text(12, 30, 1, column="target"), strict=True)]
    batch = EVERY[name].batch(rows, seeded())
    assert not (batch.targets == PAD).any()
    assert batch.count == (batch.targets != -100).sum() > 0
    ids = batch.inputs["input_ids"]
    if name == "causal":
        assert torch.equal(ids == PAD, batch.targets == -100)
    else:
        assert torch.equal(ids != PAD, batch.inputs["attention_mask"].bool())
    if "decoder_input_ids" in batch.inputs:
        given = batch.inputs["decoder_input_ids"]
        assert given.shape == batch.targets.shape
        assert (given[:, 0] == START).all()
        for read, said in zip(given.tolist(), batch.targets.tolist(), strict=True):
            assert [i for i, goal in zip(read[1:], said[1:], strict=True) if goal != -100] == [
                i for i in said if i != -100
            ][:-1]


@pytest.mark.parametrize("name", EVERY)
def test_a_batch_depends_on_the_seed_alone(name: str) -> None:
    rows = [row | other for row, other in zip(text(60, 50), text(9, 8, column="target"), strict=True)]
    small = [{k: v.to(torch.int32) for k, v in row.items()} for row in rows]
    first, again, other = (EVERY[name].batch(r, seeded(s)) for r, s in ((rows, 1), (small, 1), (rows, 2)))
    assert torch.equal(first.targets, again.targets)
    assert all(torch.equal(t, again.inputs[k]) and t.dtype == torch.long for k, t in first.inputs.items())
    differs = [k for k, t in first.inputs.items() if t.shape != other.inputs[k].shape or (t != other.inputs[k]).any()]
    assert bool(differs) == (name in ("masked", "spans", "infilling"))


def test_the_next_token() -> None:
    batch = O.CausalLM(PAD).batch([{"input": torch.tensor([5, 6, 7, 8])}, {"input": torch.tensor([9, 10])}], seeded())
    assert batch.inputs["input_ids"].tolist() == [[5, 6, 7], [9, PAD, PAD]]
    assert batch.targets.tolist() == [[6, 7, 8], [10, -100, -100]]
    assert list(batch.inputs) == ["input_ids"]
    assert batch.count == 4


def test_no_target_across_the_border_of_a_document() -> None:
    row = {"input": torch.tensor([5, 6, 7, 8, 9, PAD]), "document": torch.tensor([0, 0, 0, 1, 1, -1])}
    batch = O.CausalLM().batch([row], seeded())
    assert batch.inputs["document_ids"].tolist() == [[0, 0, 0, 1, 1]]
    assert batch.targets.tolist() == [[6, 7, -100, 9, -100]]


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "bloom"])
@torch.no_grad()
def test_packed_documents_have_the_loss_that_they_have_alone(model_type: str) -> None:
    model, lengths = tiny(model_type), (6, 9, 2)
    alone = [torch.randint(5, 61, (n,)) for n in lengths]
    whole = {"input": torch.cat([*alone, torch.tensor([PAD, PAD])])}
    whole["document"] = torch.tensor([i for i, n in enumerate(lengths) for _ in range(n)] + [-1, -1])
    packed, apart = O.CausalLM().batch([whole], seeded()), O.CausalLM().batch([{"input": r} for r in alone], seeded())
    losses = [F.cross_entropy(model(**b.inputs).logits.mT, b.targets, reduction="sum") for b in (packed, apart)]
    assert packed.count == apart.count == 14
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)


def test_shares_of_masked_tokens() -> None:
    """All counts within four standard deviations."""
    rows, special = text(*[500] * 40), (10, 11, 12)
    ids = torch.stack([row["input"] for row in rows])
    batch = O.MaskedLM(MASK, VOCAB, special=special).batch(rows, seeded())
    seen, chosen = batch.inputs["input_ids"], batch.targets != -100
    assert not chosen[torch.isin(ids, torch.tensor(special))].any()
    assert torch.equal(torch.where(chosen, batch.targets, seen), ids)

    def share(found: Tensor, of: int, p: float) -> None:
        assert abs(int(found.sum()) - of * p) < 4 * (of * p * (1 - p)) ** 0.5

    free = int((~torch.isin(ids, torch.tensor(special))).sum())
    share(chosen, free, 0.15)
    masked, kept = (seen == MASK) & chosen, (seen == ids) & chosen
    share(masked, batch.count, 0.8)
    share(kept, batch.count, 0.1)  # and one in a thousand of the swapped
    swapped = seen[chosen & ~masked & ~kept]
    assert swapped.min() < 30 < VOCAB - 30 < swapped.max()
    assert len(swapped.unique()) > 0.8 * len(swapped)


@pytest.mark.parametrize(("masked", "swapped"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_each_fate_alone(masked: float, swapped: float) -> None:
    rows = text(3000)
    batch = O.MaskedLM(MASK, VOCAB, masked=masked, swapped=swapped).batch(rows, seeded())
    chosen, seen = batch.targets != -100, batch.inputs["input_ids"]
    assert (seen[chosen] == MASK).float().mean().item() == pytest.approx(masked, abs=0.01)
    assert (seen[chosen] != batch.targets[chosen]).float().mean().item() == pytest.approx(masked + swapped, abs=0.01)


def test_short_rows_have_a_target_too() -> None:
    batch = O.MaskedLM(MASK, VOCAB, special=(EOS,)).batch([{"input": torch.tensor([EOS, 9])}] * 50, seeded())
    assert (batch.targets == torch.tensor([-100, 9])).all()


def test_whole_words() -> None:
    """Plainly: a word is an id that begins one and those behind it that go on; documents and special ids end it."""
    goes_on = torch.zeros(VOCAB, dtype=torch.bool)
    goes_on[500:] = True
    rows = text(*[300] * 30)
    for row in rows:
        row["input"][100] = EOS
        row["document"] = (torch.arange(300) >= 201).long()
    batch = O.MaskedLM(MASK, VOCAB, special=(EOS,), continues=goes_on).batch(rows, seeded())
    chosen, words, taken = (batch.targets != -100).tolist(), 0, 0
    for row, flags in zip(rows, chosen, strict=True):
        ids, word = row["input"].tolist(), list[bool]()
        for i, (token, flag) in enumerate(zip(ids, flags, strict=True)):
            inside = token >= 500 and i not in (0, 101, 201)
            if not inside and word:
                assert len(set(word)) == 1
                words, taken, word = words + 1, taken + word[0], []
            if token != EOS:
                word.append(flag)
    assert abs(taken - 0.15 * words) < 4 * (words * 0.15 * 0.85) ** 0.5
    apart = [flags[200] != flags[201] for row, flags in zip(rows, chosen, strict=True) if row["input"][201] >= 500]
    assert 0 < sum(apart) < len(apart)  # the end of one document and the beginning of the next


def test_documents_of_masked_rows_stay_apart() -> None:
    row = {"input": torch.tensor([5, 6, 7, 8, PAD, PAD]), "document": torch.tensor([0, 0, 1, 1, -1, -1])}
    batches = [O.MaskedLM(MASK, VOCAB, share=0.9).batch([row], seeded(s)) for s in range(20)]
    assert all(b.inputs["document_ids"].tolist() == [[0, 0, 1, 1, -1, -1]] for b in batches)
    assert not any((b.targets[0, 4:] != -100).any() for b in batches)


def corrupted(ids: list[int], noise: list[bool]) -> tuple[list[int], list[int]]:
    """Span corruption as the paper tells it, token by token."""
    source, target, sentinel = list[int](), list[int](), VOCAB
    for i, (token, gone) in enumerate(zip(ids, noise, strict=True)):
        if gone and (i == 0 or not noise[i - 1]):
            sentinel -= 1
            source.append(sentinel)
            target.append(sentinel)
        (target if gone else source).append(token)
    return [*source, EOS], [*target, EOS]


def test_span_corruption() -> None:
    rows = text(512, 100, 33, 7, 2)
    batch = EVERY["spans"].batch(rows, seeded())
    for row, source, target in zip(rows, cut(batch.inputs["input_ids"]), cut(batch.targets), strict=True):
        ids, n = row["input"].tolist(), len(row["input"])
        told, noise = {}, list[bool]()
        for token in target[:-1]:
            if token >= VOCAB - 100:
                told[token] = last = list[int]()
            else:
                last.append(token)
        for token in source[:-1]:
            noise += [True] * len(told[token]) if token in told else [False]
        assert [i for token in source[:-1] for i in told.get(token, [token])] == ids
        assert (source, target) == corrupted(ids, noise)
        assert sum(noise) == max(1, round(0.15 * n))
        assert len(told) == max(1, round(sum(noise) / 3))
        assert noise[-1] > noise[0]


def test_span_corruption_of_next_to_nothing() -> None:
    batch = EVERY["spans"].batch([{"input": torch.tensor([9])}, {"input": torch.tensor([9, EOS])}], seeded())
    assert cut(batch.inputs["input_ids"]) == [[9, EOS]] * 2
    assert cut(batch.targets) == [[EOS]] * 2


def test_more_spans_than_sentinels_are_refused() -> None:
    with pytest.raises(ValueError, match="26 spans need as many sentinels, but there are 20"):
        O.SpanCorruption(VOCAB - 1, START, EOS, sentinels=20).batch(text(512), seeded())


def test_every_composition_is_as_likely() -> None:
    found = Counter(
        tuple(row) for row in composition(torch.tensor([6] * 6000), torch.tensor([3] * 6000), seeded()).tolist()
    )
    assert set(found) == {c for c in itertools.product(range(1, 5), repeat=3) if sum(c) == 6}
    assert all(abs(n - 600) < 4 * (600 * 0.9) ** 0.5 for n in found.values())
    mixed = composition(torch.tensor([4, 0, 2]), torch.tensor([2, 0, 2]), seeded())
    assert mixed.sum(1).tolist() == [4, 0, 2]
    assert (mixed[0] > 0).all()


def test_infilling() -> None:
    """What stays keeps its order, every gap holds a mask, and counts and lengths are Poisson's."""
    rows = rising(*[400] * 50, 23, 1)
    objective = O.Infilling(MASK, START, EOS, BOS)
    batch = objective.batch(rows, seeded())
    masks = empty = spans = 0
    for row, source, target in zip(rows, cut(batch.inputs["input_ids"]), cut(batch.targets), strict=True):
        n = len(row["input"])
        assert target == [BOS, *row["input"].tolist(), EOS]
        assert (source[0], source[-1]) == (BOS, EOS)
        stays = [i - FIRST for i in source[1:-1] if i != MASK]
        assert stays == sorted(set(stays))
        assert len(stays) == n - round(0.3 * n)
        inside = [FIRST - 1, *source[1:-1], FIRST + n]
        places = [i for i, token in enumerate(inside) if token != MASK]
        for a, b in itertools.pairwise(places):
            lost, held = inside[b] - inside[a] - 1, b - a - 1
            assert held > 0 or lost == 0
            if held == 1:  # a gap with one mask: the length of its span
                empty, spans = empty + (lost == 0), spans + 1
        masks += source.count(MASK)
    gone = sum(round(0.3 * len(row["input"])) for row in rows)
    assert masks == pytest.approx(gone / 3, rel=0.05)
    assert empty / spans == pytest.approx(2.718**-3, abs=0.02)


def test_gaps_of_the_text_are_alike() -> None:
    """One span of one token in three: it is first, between or last equally often."""
    rows = [{"input": torch.tensor([5, 6])}] * 3000
    batch = O.Infilling(MASK, START, None, share=0.5, mean=50.0).batch(rows, seeded())
    found = Counter(tuple(row) for row in batch.inputs["input_ids"].tolist())
    # the span of one token stands before or behind the one that stays
    assert set(found) == {(MASK, 6), (5, MASK)}
    assert all(abs(n - 1500) < 4 * 750**0.5 for n in found.values())


def test_sentences_trade_places() -> None:
    full, ask = 7, 8
    sentences = [[20, 21, full], [30, ask, full], [40], [50, 51, 52, ask]]
    row = {"input": torch.tensor([t for i in (0, 1, 3, 2) for t in sentences[i]])}
    objective = O.Infilling(MASK, START, EOS, borders=(full, ask), share=0.0)
    batch = objective.batch([row, {"input": torch.tensor([20, full])}] * 600, seeded())
    assert all(said == [*row["input"].tolist(), EOS] for said in cut(batch.targets)[::2])
    assert all(read == [20, full, EOS] for read in cut(batch.inputs["input_ids"])[1::2])
    orders = Counter(tuple(read) for read in cut(batch.inputs["input_ids"])[::2])
    possible = {(*itertools.chain(*order), EOS) for order in itertools.permutations(sentences)}
    assert set(orders) == possible
    assert max(orders.values()) < 3 * 25


def test_bos_and_eos_that_are_there_are_not_doubled() -> None:
    bare, whole = torch.tensor([9, 10, 11]), torch.tensor([BOS, 9, 10, 11, EOS])
    one, two = (EVERY["infilling"].batch([{"input": ids}], seeded()) for ids in (bare, whole))
    assert torch.equal(one.targets, two.targets)
    assert torch.equal(one.inputs["input_ids"], two.inputs["input_ids"])


def test_pairs() -> None:
    rows = [{"input": torch.tensor([9]), "target": torch.tensor([10, 11])}]
    rows += [{"input": torch.tensor([12, 13]), "target": torch.tensor([14, EOS])}]
    batch = O.Seq2Seq(START, EOS, PAD).batch(rows, seeded())
    assert batch.inputs["input_ids"].tolist() == [[9, PAD], [12, 13]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 0], [1, 1]]
    assert batch.targets.tolist() == [[10, 11, EOS], [14, EOS, -100]]
    assert batch.inputs["decoder_input_ids"].tolist() == [[START, 10, 11], [START, 14, EOS]]
    wraps = O.Seq2Seq(None, None, PAD).batch(rows, seeded())  # mBART: the language stands last
    assert wraps.targets.tolist() == [[10, 11], [14, EOS]]
    assert wraps.inputs["decoder_input_ids"].tolist() == [[11, 10], [EOS, 14]]


def test_labels() -> None:
    rows = [{"input": torch.tensor([9, 10]), "target": torch.tensor([3])}]
    rows += [{"input": torch.tensor([11]), "target": torch.tensor([2])}]
    batch = O.SequenceClassification().batch(rows, seeded())
    assert batch.targets.tolist() == [3, 2]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1], [1, 0]]
    with pytest.raises(ValueError, match=r"row 0 has 2 tokens and 1 labels"):
        O.TokenClassification().batch(rows, seeded())
    rows[0]["target"] = torch.tensor([4, -100])
    assert O.TokenClassification().batch(rows, seeded()).targets.tolist() == [[4, -100], [2, -100]]
    with pytest.raises(ValueError, match=r"row 0 has \[4, -100\]"):
        O.SequenceClassification().batch(rows, seeded())


@pytest.mark.parametrize("make", [lambda: O.MaskedLM(MASK, 9, share=0.0), lambda: O.MaskedLM(MASK, 9, masked=0.95),
    lambda: O.SpanCorruption(9, START, EOS, mean=0.5), lambda: O.Infilling(MASK, START, EOS, share=1.0)])  # fmt: skip
def test_shares_that_cannot_be_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="share lies between 0 and 1"):
        make()


def test_a_missing_column_is_named() -> None:
    with pytest.raises(KeyError, match=r"row 0 has no column 'target'; it has: input"):
        O.Seq2Seq(START, EOS).batch(rising(3), seeded())


# ---- for the model at hand -----------------------------------------------------------------------

NAMES = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>"}


def with_tokenizer(model_type: str, special: dict[str, str], **sizes: Any) -> cutaway.model.Model:
    model = tiny(model_type, vocab=300, **sizes)
    model.tokenizer = Tokenizer.bytes(special)
    return model


def test_special_ids_come_from_the_model() -> None:
    model = with_tokenizer("bert", {"pad_token": "<pad>", "mask_token": "<mask>", "cls_token": "<cls>"})
    found = O.objective_for(model, "masked-lm", share=0.2)
    assert found == O.MaskedLM(257, 259, pad=256, special=(256, 257, 258), share=0.2)
    assert O.objective_for(tiny("gpt2"), "causal-lm", pad=3) == O.CausalLM(3)
    assert O.objective_for(tiny("t5"), "seq2seq") == O.Seq2Seq(0, 1, 0)
    assert O.objective_for(tiny("mbart"), "seq2seq") == O.Seq2Seq(None, None, 1)
    bart = with_tokenizer("bart", {**NAMES, "mask_token": "<mask>"})
    assert O.objective_for(bart, "infilling") == O.Infilling(259, 2, 2, 0, 1, borders=(33, 46, 63))
    t5 = with_tokenizer("t5", {"eos_token": "<extra_id_1>", "bos_token": "<extra_id_0>"})
    assert O.objective_for(t5, "span-corruption", eos=1, sentinel=299, mean=4.0).sentinel == 299


@pytest.mark.parametrize(
    ("model_type", "name", "named"),
    [
        ("gpt2", "masked-lm", r"masked-lm is for a encoder with head 'masked_lm', but this gpt2 is a decoder"),
        ("bert", "masked-lm", r"mask_token within the vocabulary: give mask="),
        ("t5", "span-corruption", "sentinel is read from a tokenizer"),
        ("bart", "infilling", "mask_token within the vocabulary: give mask="),
        ("t5", "token-classification", "head 'token'"),
        ("t5", "masked", "no objective 'masked'; there are: causal-lm"),
    ],
)
def test_what_the_model_does_not_say_is_asked_for(model_type: str, name: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        O.objective_for(tiny(model_type), name)
    with pytest.raises(TypeError, match="causal-lm has no option 'whole_words'; it has: pad"):
        O.objective_for(tiny("gpt2"), "causal-lm", whole_words=True)


LINES = ["the cat sat on the mat. the hats, the mats and the cats! what does it do there?"] * 3


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_which_ids_go_on_with_a_word(kind: str) -> None:
    from cutaway.text.training import train

    tokenizer = train(LINES, kind, 320 if kind == "bpe" else 60)
    goes_on = O.continuations(tokenizer)
    ids = tokenizer.encode("the cats sat there", special=False).ids
    words = list[list[int]]()
    for i in ids:
        if goes_on[i] and words:
            words[-1].append(i)
        else:
            words.append([i])
    assert [tokenizer.decode(word).strip().removeprefix("##") for word in words if tokenizer.decode(word).strip()] == [
        "the", "cats", "sat", "there",
    ]  # fmt: skip
    assert {tokenizer.decode([i]).strip().removeprefix("##") for i in O.sentence_ends(tokenizer)} == {".", "!", "?"}


def test_bytes_mark_no_words() -> None:
    model = with_tokenizer("bert", {"pad_token": "<pad>", "mask_token": "<mask>"})
    with pytest.raises(ValueError, match="does not mark where words begin"):
        O.objective_for(model, "masked-lm", whole_words=True)


# ---- every family learns -------------------------------------------------------------------------

HEADS = {"encoder": "masked_lm", "decoder": "lm", "encoder-decoder": "lm"}


@pytest.mark.slow
@pytest.mark.parametrize("family", families.FAMILIES)
def test_four_examples_are_learned_by_heart(family: str) -> None:
    model_type = next(iter(families.module(family).FORMATS))
    kind = tiny(model_type).kind
    model = tiny(model_type, head=HEADS[kind])  # in eval mode, as dropout only delays it
    rows = [{"input": torch.randint(5, 61, (10,)), "target": torch.randint(5, 61, (6,))} for _ in range(4)]
    name = {"encoder": "masked-lm", "decoder": "causal-lm", "encoder-decoder": "seq2seq"}[kind]
    options: dict[str, Any] = {"mask": 4, "special": ()} if kind == "encoder" else {"pad": PAD}
    batch = O.objective_for(model, name, **options).batch(rows, seeded())
    adam = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3, weight_decay=0.0)
    for _ in range(100):
        loss = F.cross_entropy(model(**batch.inputs).logits.flatten(0, 1), batch.targets.flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss.item() < 0.05
