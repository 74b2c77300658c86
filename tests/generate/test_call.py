"""The call: what goes in, batches, draws, limits, and what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cutaway
from cutaway.generate.prompts import rows_of
from cutaway.model import Model

VOCAB = 61


def made(name: str = "llama", **config) -> Model:
    torch.manual_seed(0)
    sizes = {"vocab": VOCAB, "width": 32, "depth": 2, "heads": 4, "hidden": 48} | config
    model = cutaway.build(name, **sizes)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module")
def llama() -> Model:
    model = made()
    model.origin.kept = {"eos_token_id": [2, 30, 31], "pad_token_id": 0}
    return model


@pytest.fixture(scope="module")
def gpt2() -> Model:
    """Sixteen positions from a table."""
    return made("gpt2", length=16)


row = st.lists(st.integers(3, VOCAB - 1), min_size=1, max_size=9)


@settings(max_examples=15)
@given(
    st.lists(row, min_size=1, max_size=5),
    st.sampled_from([
        {},
        {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "encoder_no_repeat_ngram_size": 2},
        {"min_length": 8, "forced_bos_token_id": 9, "begin_suppress_tokens": [7, 11]},
        {"max_length": 12, "forced_eos_token_id": 2, "repetition_penalty": 1.5},
        {"min_new_tokens": 3, "bad_words_ids": [[4], [5, 6]], "num_beams": 3},
        {"max_length": 11, "num_beams": 2, "early_stopping": "never"},
    ]),
)  # fmt: skip
def test_a_row_alone_is_as_among_others(llama: Model, rows: list[list[int]], how: dict):
    how = how if "max_length" in how else {"max_new_tokens": 5} | how
    together = llama.generate(rows, **how)
    longest = max(map(len, rows))
    for got, prompt in zip(together.tolist(), rows, strict=True):
        alone = llama.generate([prompt], **how)[0].tolist()
        assert got[: longest - len(prompt)] == [0] * (longest - len(prompt))
        rest = got[longest - len(prompt) :]
        assert rest[: len(alone)] == alone
        assert set(rest[len(alone) :]) <= {0}


@given(st.lists(row, min_size=2, max_size=4), st.data())
@settings(max_examples=15)
def test_padding_on_either_side_is_the_same(llama: Model, rows: list[list[int]], data: st.DataObject):
    """Each row of a tensor may be padded left and right, with anything."""
    longest = max(map(len, rows)) + 2
    ids, mask = torch.full((len(rows), longest), data.draw(st.integers(0, VOCAB - 1))), torch.zeros(len(rows), longest)
    for i, prompt in enumerate(rows):
        at = data.draw(st.integers(0, longest - len(prompt)))
        ids[i, at : at + len(prompt)], mask[i, at : at + len(prompt)] = torch.tensor(prompt), 1
    expected = llama.generate(rows, max_new_tokens=4)
    assert torch.equal(llama.generate(ids, attention_mask=mask, max_new_tokens=4), expected)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_row_ends_where_its_positions_end_not_where_anothers_do(gpt2: Model, beams: int):
    """The last token needs no position: it is not read again."""
    long, short, how = list(range(5, 18)), [5, 6], {"max_new_tokens": 20, "num_beams": beams}
    together = gpt2.generate([long, short], **how)
    assert together.shape == (2, 13 + 15)
    assert together[0, 17:].tolist() == [0] * 11
    assert torch.equal(together[1, 11:], gpt2.generate([short], **how)[0])
    assert torch.equal(together[0, :17], gpt2.generate([long], **how)[0])


@pytest.mark.parametrize("ids", [[5, 6, 7], [[5, 6, 7]], torch.tensor([5, 6, 7]), [torch.tensor([5, 6, 7])]])
def test_ids_in_any_form(llama: Model, ids):
    expected = llama.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=3)
    assert torch.equal(llama.generate(ids, max_new_tokens=3), expected)


def test_fifty_new_tokens_if_nobody_says(llama: Model):
    assert llama.generate([[5]], ignore_eos=True).shape == (1, 51)


def test_ignore_eos_goes_on(llama: Model):
    ends = llama.generate([[5]], max_new_tokens=30, ignore_eos=True)[0, 5:9].tolist()
    assert llama.generate([[5]], max_new_tokens=30, eos_token_id=ends).shape[1] < 31
    assert llama.generate([[5]], max_new_tokens=30, eos_token_id=ends, ignore_eos=True).shape[1] == 31


class TestDraws:
    def test_a_seed_repeats_a_draw_and_another_does_not(self, llama: Model):
        draw = lambda seed: llama.generate([[5, 6]] * 3, temperature=1, seed=seed, max_new_tokens=12).tolist()
        assert draw(1) == draw(1) != draw(2)
        torch.manual_seed(0)
        first = draw(None)
        torch.manual_seed(0)
        assert draw(None) == first != draw(None)

    def test_a_seed_leaves_the_global_one_alone(self, llama: Model):
        before = torch.get_rng_state()
        llama.generate([[5]], temperature=1, seed=1, max_new_tokens=3)
        assert torch.equal(torch.get_rng_state(), before)

    def test_sequences_of_a_prompt_are_different_draws(self, llama: Model):
        got = llama.generate([[5, 6], [7]], temperature=1, seed=0, max_new_tokens=8, num_return_sequences=4)
        assert got.shape[0] == 8
        assert got[:, 1].tolist() == [6] * 4 + [7] * 4
        assert len({tuple(row) for row in got[:4].tolist()}) == 4

    @pytest.mark.parametrize(("name", "value"), [("top_k", 3), ("top_p", 0.5), ("min_p", 0.4)])
    def test_only_what_may_be_drawn_is(self, llama: Model, name: str, value: float):
        """The support is exactly the definition's, over 2,000 draws of one token."""
        share = (llama(torch.tensor([[5, 6]])).logits[0, -1].detach() / 0.8).softmax(-1)
        order = share.argsort(descending=True).tolist()
        before = {i: share[order[:n]].sum().item() for n, i in enumerate(order)}
        expected = {
            "top_k": set(order[:3]),
            "top_p": {i for i in order if before[i] < value},
            "min_p": {i for i in order if share[i] >= value * share.max()},
        }[name]
        how = {"temperature": 0.8, "num_return_sequences": 2000, "max_new_tokens": 1, "seed": 0}
        assert 1 < len(expected) < 40
        assert set(llama.generate([[5, 6]], **how, **{name: value})[:, -1].tolist()) == expected

    def test_draws_have_the_models_probabilities(self, llama: Model):
        """Chi-square over 100,000 draws with 60 degrees of freedom stays below 112 but once in 20,000 times."""
        n = 100_000
        share = (llama(torch.tensor([[5, 6]])).logits[0, -1].detach().double() / 2).softmax(-1)
        got = llama.generate([[5, 6]], temperature=2.0, num_return_sequences=n, max_new_tokens=1, seed=0)
        counts = torch.bincount(got[:, -1], minlength=VOCAB)
        assert ((counts - n * share) ** 2 / (n * share)).sum() < 112


class TestRefusals:
    def refused(self, model: Model, message: str, *args, error: type[Exception] = ValueError, **how) -> None:
        with pytest.raises(error, match=message):
            model.generate(*args, **how)

    def test_a_model_that_has_no_next_token(self):
        for model in (made("bert"), made("llama", head="base")):
            self.refused(model, "cannot generate: that takes a decoder with a language-model head", [[5]])

    def test_an_empty_prompt_without_a_beginning(self, llama: Model):
        self.refused(llama, "row 1 of the prompt is empty, and no bos_token_id", [[5], []])
        assert llama.generate([[5], []], bos_token_id=1, max_new_tokens=2)[1, 0] == 1
        self.refused(llama, "row 0 of the prompt is empty", torch.empty(1, 0, dtype=torch.long))
        self.refused(llama, "holds no row", torch.empty(0, 4, dtype=torch.long))

    def test_a_prompt_that_is_too_long(self, gpt2: Model):
        self.refused(gpt2, "17 tokens is too long: there are 16 positions", [[5] * 17])
        self.refused(gpt2, "max_length=4 leaves no room after 6 tokens", [[5] * 6], max_length=4)
        assert gpt2.generate([[5] * 16], max_new_tokens=5).shape == (1, 17)

    def test_ids_that_the_vocabulary_does_not_have(self, llama: Model):
        self.refused(llama, f"the prompt holds id {VOCAB}, but the vocabulary has {VOCAB}", [[5, VOCAB]])
        self.refused(llama, "the prompt holds id -1", torch.tensor([[5, -1]]))
        self.refused(llama, "bad_words_ids holds id 99", [[5]], bad_words_ids=[[5, 99]])
        self.refused(llama, "forced_eos_token_id holds id 99", [[5]], forced_eos_token_id=99)

    @pytest.mark.parametrize(
        ("prompt", "message"),
        [
            ([[5], "a"], "the prompt must be all text or all ids, but has a row 'a'"),
            ([[5, "a"]], r"must be all text or all ids, but has a row \[5, 'a'\]"),
            ({"ids": 1}, r"the prompt must be text, or ids .* not dict"),
            (torch.ones(1, 3), r"rows of integers, but a row is torch.float32 \[3\]"),
            (torch.ones(1, 3, 2, dtype=torch.long), r"a row is torch.int64 \[3, 2\]"),
        ],
    )
    def test_what_is_neither_text_nor_ids(self, prompt, message):
        with pytest.raises(TypeError, match=message):
            rows_of(prompt, torch.device("cpu"), "the prompt")

    def test_text_without_a_tokenizer(self, llama: Model):
        self.refused(llama, "a text needs a tokenizer", "Once")
        self.refused(llama, "stop needs a tokenizer", [[5]], stop="x")

    def test_a_mask_that_does_not_fit(self, llama: Model):
        self.refused(
            llama, r"the shape of the ids, \[B, N\], got \[1, 2\]", [[5, 6, 7]], attention_mask=torch.ones(1, 2)
        )
        self.refused(llama, "attention mask must have", [[5, 6], [7]], attention_mask=torch.ones(2, 2))
        model = made(vocab=259)
        model.tokenizer = cutaway.text.Tokenizer.bytes()
        self.refused(model, "attention_mask belongs to ids", "Once", attention_mask=torch.ones(1, 4))

    def test_a_beam_search_that_is_to_stream(self, llama: Model):
        self.refused(llama, "nothing to stream until it ends", [[5]], num_beams=2, stream=True)

    def test_an_unknown_keyword_before_anything_is_done(self, llama: Model):
        self.refused(llama, "did you mean num_beams", [[5]], beams=2, error=TypeError)

    def test_a_checkpoint_that_asks_for_what_is_not_built(self):
        model = made()
        model.origin.generation = {"typical_p": 0.5}
        self.refused(model, "not built: typical_p = 0.5", [[5]], temperature=1)

    def test_weights_that_are_not_numbers(self):
        model = made()
        with torch.no_grad():
            model.stack.blocks[1].mlp.sublayer.down.weight[0, 0] = float("nan")
        self.refused(model, "logits are NaN", [[5]])

    def test_an_encoder_decoder_that_cannot_begin(self):
        model = made("t5")
        model.origin.kept = {}
        self.refused(model, "names no decoder_start_token_id", [[5]])
        model.origin.kept = {"decoder_start_token_id": 0}
        self.refused(model, "row 1 of the source is empty", [[5], []])
        self.refused(model, "2 sources, 1 rows", [[5], [6]], decoder_input_ids=[[5]])
        self.refused(model, "decoder_input_ids holds id 99", [[5]], decoder_input_ids=[[99]])
