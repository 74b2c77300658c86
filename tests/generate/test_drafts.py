"""Drafts: whatever is guessed, the tokens and their law are those of the model alone."""

from collections.abc import Callable
from copy import deepcopy
from itertools import product
from typing import Any

import pytest
import torch
from families.tiny import tiny
from generate.test_search import END, Markov, V, completions, ended, room_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import cutaway
from cutaway.cli import main
from cutaway.generate import processors as P
from cutaway.generate.drafts import GRAM, LEAST, Drafting, Small, lookup
from cutaway.generate.processors import NOTHING
from cutaway.generate.search import Pick, extend, greedy, sampler
from cutaway.looking import record
from cutaway.model import Model
from cutaway.text import Tokenizer


class Table(Markov):
    """A table that can go back."""

    def again(self, ids: Tensor, at: int) -> Tensor:
        self.rows = [row[:at] for row in self.rows]
        return torch.stack([self(ids[:, i : i + 1]) for i in range(ids.shape[1])], 1)


def guesser(seed: int) -> Callable[[Tensor, int], Tensor]:
    """Guesses at random, of any number."""
    generator = torch.Generator().manual_seed(seed)

    def draft(ids: Tensor, n: int) -> Tensor:
        guess = torch.randint(V, (len(ids), n), generator=generator)
        known = torch.randint(n + 1, (len(ids), 1), generator=generator).clamp(min=n - 1)
        return guess.masked_fill((torch.arange(n) >= known) | (ids[:, -1:] == NOTHING), NOTHING)

    return draft


PROCESSES = {
    "plain": [],
    "of the text": [P.repetition(1.8), P.no_repeat_ngram(3), P.bad_words([torch.tensor([3, 2])])],
    "of the slot": [P.suppress(torch.tensor([END]), stop=5), P.force(torch.tensor([4]), torch.tensor([4, 5, 6]))],
    "shaping": [P.temperature(0.7), P.top_k(4), P.top_p(0.9)],
}


def picker(seed: int | None, ahead: int = 5) -> Pick:
    return greedy if seed is None else sampler(torch.Generator().manual_seed(seed), ahead)


@settings(max_examples=40)
@given(st.integers(0, 200), st.sampled_from(list(PROCESSES)), st.none() | st.integers(0, 9), st.booleans())
def test_no_draft_changes_a_token(seed: int, process: str, luck: int | None, small: bool):
    """The tokens of a batch of rows with room of their own, picked or drawn, whoever guesses."""
    prompt, room = torch.tensor([[1, 2], [3, 4], [2, 2]]), torch.tensor([9, 4, 7])
    chain = P.chain(PROCESSES[process])

    def tokens(ahead: int) -> list[list[int]]:
        model, its, pick = Table(seed), Table(seed), picker(luck)
        its.table = its.table + torch.randn(V, V, V, generator=torch.Generator().manual_seed(seed))
        draft = Small(its, its.again, chain, pick, 2, 8) if small else guesser(seed)
        drafting = Drafting(model.again, draft, ahead) if ahead else None
        return torch.stack(list(extend(model, chain, pick, ended, prompt, room, drafting)), 1).tolist()

    alone = tokens(0)
    assert all(tokens(ahead) == alone for ahead in (1, 2, 5))


def test_a_pass_reads_the_guesses_that_there_are():
    """A draft that knows the model is right every time: after the prompt, two passes; one that knows nothing: seven."""
    model, its, prompt = Table(0), Table(0), torch.tensor([[1, 2]])
    passes: list[int] = []
    chain = P.chain(PROCESSES["of the text"])  # which the draft must apply to its own guesses, too

    def again(ids: Tensor, at: int) -> Tensor:
        passes.append(ids.shape[1])
        return model.again(ids, at)

    never = lambda ids: torch.zeros(len(ids), dtype=torch.bool)
    for luck in (None, 3):
        pick = picker(luck)
        right = Small(its, its.again, chain, pick, 2, 99)
        for draft, expected in ((right, [4, 3]), (lambda ids, n: torch.full((1, n), NOTHING), [1] * 7)):
            passes.clear()
            new = list(extend(model, chain, pick, never, prompt, room_of(prompt, 8), Drafting(again, draft, 3)))
            assert len(new) == 8
            assert passes == expected
            model.rows, its.rows, pick = [], [], picker(luck)


def test_the_law_of_what_is_drawn():
    """Chi-square of two rows drawn together, against their joint law in full; another draft guesses for them.

    There are 6 endings of 1 or 2 tokens for each row once top-k has left two tokens a slot; 99.99 % of the time the
    statistic of the 35 degrees of freedom at most stays below 77."""
    model, its = Table(5, sharpness=1.0), Table(6, sharpness=1.0)
    prompt, chain = torch.tensor([[1, 2], [4, 3]]), P.chain([P.temperature(1.3), P.repetition(1.5), P.top_k(2)])
    generator, runs, room = torch.Generator().manual_seed(0), 800, 2

    def law(start: list[int]) -> dict[tuple[int, ...], float]:
        found = {}
        for new in completions(room):
            row, share = list(start), 1.0
            for token in new:
                share *= chain(model.logits(row)[None], torch.tensor([row])).softmax(-1)[0, token].item()
                row.append(token)
            found[new] = share
        assert sum(found.values()) == pytest.approx(1)
        return {new: share for new, share in found.items() if share > 0}

    counts: dict[tuple[tuple[int, ...], ...], int] = {}
    for _ in range(runs):
        model.rows, its.rows, pick = [], [], sampler(generator, 3)
        drafting = Drafting(model.again, Small(its, its.again, chain, pick, 2, 9), 3)
        out = torch.stack(list(extend(model, chain, pick, ended, prompt, room_of(prompt, room), drafting)), 1)
        key = tuple(tuple(i for i in row if i != NOTHING) for row in out.tolist())
        counts[key] = counts.get(key, 0) + 1
    one, two = (law(start) for start in prompt.tolist())
    expected = {(a, b): runs * one[a] * two[b] for a, b in product(one, two)}
    assert counts.keys() <= expected.keys()
    assert sum((counts.get(key, 0) - n) ** 2 / n for key, n in expected.items()) < 77
    uniform = runs / len(expected)
    assert sum((counts.get(key, 0) - uniform) ** 2 / uniform for key in expected) > 150, "the test can tell"


def test_no_token_left_to_draw_is_an_error():
    with pytest.raises(ValueError, match="leave no token to draw"):
        sampler()(torch.full((1, 3), -torch.inf), 0)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=14), st.integers(1, 6), st.integers(0, 3))
def test_lookup_finds_what_followed(text: list[int], n: int, padding: int):
    """By its definition: the latest of the places that share most with the end, and what followed, again and again."""
    shared = lambda at: next((i for i in range(GRAM) if i >= at or text[at - 1 - i] != text[-1 - i]), GRAM)
    most, at = max(((shared(at), at) for at in range(1, len(text))), default=(0, 0))
    expected = [text[at + i % (len(text) - at)] for i in range(n)] if most >= LEAST else [NOTHING] * n
    ids = torch.tensor([[NOTHING] * padding + text])
    assert lookup()(ids, n)[0].tolist() == expected


def test_lookup_reads_the_source_up_to_its_end():
    draft = lookup(torch.tensor([[5, 6, 7, 8, 9], [5, 6, 7, NOTHING, NOTHING]]))
    assert draft(torch.tensor([[5, 6], [5, 6]]), 4).tolist() == [[7, 8, 9, 5], [7, NOTHING, NOTHING, NOTHING]]


def exact(name: str, **more: Any) -> Model:
    """A tiny model in float64, where reading several tokens at once rounds nothing that a token could depend on."""
    torch.manual_seed(1)
    return tiny(name, **more).double().eval()


def worse(model: Model) -> Model:
    """Another of nearly the same weights."""
    other = deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    return other


def passes(model: Model) -> list[int]:
    """How many tokens every pass of the (last) stack reads, from now on."""
    found: list[int] = []
    stack = model.network.stack if model.kind == "decoder" else model.network.decoder
    stack.register_forward_pre_hook(lambda _, args: found.append(args[0].shape[1]))
    return found


FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {}, "mistral": {"windows": (3,)}, "gemma2": {"windows": (6, None)}, "bloom": {},
    "gpt_neo": {"windows": (None, 6)}, "t5": {}, "bart": {},
}  # fmt: skip
HOW: list[dict[str, Any]] = [
    {},
    {"temperature": 0.6, "seed": 3, "top_k": 9, "repetition_penalty": 1.2},
    {"temperature": 1.0, "seed": 4, "num_return_sequences": 2, "top_p": 0.8, "min_new_tokens": 3},
]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_writes_the_same_with_any_draft(name: str):
    """Ragged rows, picked and drawn: token for token what the model writes alone, in fewer passes."""
    model = exact(name, **FAMILIES[name])
    model.origin.kept = {**model.origin.kept, "eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 0}
    other, read = worse(model), passes(model)
    prompts = [[7, 8, 9, 10, 7, 8, 9], [5, 6, 5], [11, 11]]
    for how in HOW:
        read.clear()
        alone = model.generate(prompts, max_new_tokens=12, **how)
        steps = len(read)
        assert torch.equal(model.generate(prompts, max_new_tokens=12, draft="lookup", **how), alone)
        read.clear()
        assert torch.equal(model.generate(prompts, max_new_tokens=12, draft=other, **how), alone)
        assert len(read) < steps
        assert max(read[1:]) == 6


def test_bits_of_many_models():
    """Greedy, 12 random models: the same tokens, with drafts that are right and wrong."""
    kept = 0
    for seed in range(12):
        torch.manual_seed(seed)
        model = cutaway.build("llama", vocab=17, width=16, depth=1, heads=2, hidden=24, std=0.4).double()
        prompt, how, drafts = torch.randint(17, (1 + seed % 2, 5)), {"max_new_tokens": 12}, (worse(model), "lookup")
        alone, read = model.generate(prompt, ignore_eos=True, **how), passes(model)
        for draft in drafts:
            read.clear()
            assert torch.equal(model.generate(prompt, ignore_eos=True, draft=draft, **how), alone)
            kept += 12 - len(read)
    assert 0 < kept < 12 * 2 * 12


@pytest.fixture(scope="module")
def model() -> Model:
    model = exact("gpt2", vocab=259, length=24)
    model.tokenizer = Tokenizer.bytes()
    return model


@pytest.fixture(scope="module")
def other(model: Model) -> Model:
    return worse(model)


def test_a_row_ends_where_its_positions_end(model: Model, other: Model):
    """Rows of other lengths, positions from a table, and a draft that has fewer of them."""
    prompts = [list(range(5, 25)), [5, 6], [7] * 9]
    alone = model.generate(prompts, max_new_tokens=40, ignore_eos=True)
    small = exact("gpt2", vocab=259, length=21)
    for draft in ("lookup", other, small):
        assert torch.equal(model.generate(prompts, max_new_tokens=40, ignore_eos=True, draft=draft), alone)
    with pytest.raises(ValueError, match="a prompt of 22 tokens is too long: there are 21 positions"):
        model.generate([[5] * 22], draft=small)


@pytest.mark.parametrize("tokens", [2, 30])
def test_it_ends_as_without(model: Model, other: Model, tokens: int):
    """At an end token, a stop string or the last token, within what was guessed, streamed or at once."""
    text = model.generate("abab", max_new_tokens=12, suppress_tokens=[*range(97), *range(123, 259)])
    ids = model.generate([[5, 6, 5, 6]], max_new_tokens=15)[0].tolist()
    how = {"max_new_tokens": 12, "suppress_tokens": [*range(97), *range(123, 259)]}
    for draft in ("lookup", other):
        drafted = {"draft": draft, "draft_tokens": tokens}
        for stop in {text[3:5], text[7:8]}:
            alone = model.generate("abab", stop=stop, **how)
            assert len(alone) < len(text)
            assert model.generate("abab", stop=stop, **how, **drafted) == alone
            assert "".join(model.generate("abab", stop=stop, stream=True, **how, **drafted)) == alone
        for end in {ids[6], ids[9], ids[-1]}:
            alone = model.generate([[5, 6, 5, 6]], eos_token_id=end, max_new_tokens=15)
            assert torch.equal(model.generate([[5, 6, 5, 6]], eos_token_id=end, max_new_tokens=15, **drafted), alone)


def test_a_recording_is_that_of_what_was_written(model: Model, other: Model):
    """What rejected guesses left behind is not there: weights and states are those of one pass over the result."""
    for how in ({"draft": "lookup"}, {"draft": other}, {"draft": other, "temperature": 1.0, "seed": 0}):
        with record(model, ("values", "residual", "logits")) as seen:
            ids = model.generate([[5, 6, 5, 6, 7]], max_new_tokens=14, ignore_eos=True, **how)[:, :-1]
        with torch.no_grad(), record(model, ("values", "residual", "logits")) as whole:
            model(ids)
        assert torch.allclose(seen["residual.2"], whole["residual.2"])
        for layer in range(2):
            assert seen.attention(layer).shape[-2:] == (ids.shape[1],) * 2
            assert torch.allclose(seen.attention(layer), whole.attention(layer))
            assert torch.allclose(seen[f"layers.{layer}.attention.v"], whole[f"layers.{layer}.attention.v"])


def test_what_cannot_draft_is_refused(model: Model):
    def refused(message: str, draft: object, error: type[Exception] = ValueError, of: Model = model, **how: Any):
        with pytest.raises(error, match=message):
            of.generate([[5, 6]], draft=draft, **how)

    refused("draft must be 'lookup' or a model, got 'ngram'", "ngram")
    refused("draft must be 'lookup' or a model, got 5", 5)
    refused("a model as cutaway.load gives it, not GPT2", model.network, TypeError)
    refused("cannot be its own draft", model)
    refused("vocabulary: the model's is 259, the draft's 61", tiny("llama"))
    refused("kind: the model's is decoder, the draft's encoder-decoder", tiny("t5", vocab=259))
    refused("head: the model's is lm, the draft's base", tiny("llama", vocab=259, head="base"))
    refused("a draft guesses one continuation, and a search follows 3", "lookup", num_beams=3)
    refused("draft_tokens must be an integer of at least 1", "lookup", draft_tokens=0)
    refused("draft_tokens is how many a draft guesses: give draft=", None, draft_tokens=3)
    refused("a recurrent is recurrent and cannot go back", "lookup", of=tiny("recurrent"))
    others = worse(model)
    others.tokenizer = Tokenizer.bytes()
    others.tokenizer.decode = lambda ids, skip_special: chr(ids[0] ^ 1)
    refused("a draft must have the model's tokens: id", others)


def test_the_command(model: Model, capsys: pytest.CaptureFixture[str], tmp_path):
    cutaway.save(model, tmp_path / "model")
    cutaway.save(worse(model), tmp_path / "draft")
    expected = model.float().generate("abab", max_new_tokens=9) + "\n"
    for draft in ("lookup", str(tmp_path / "draft")):
        words = ["generate", str(tmp_path / "model"), "abab", "--max-new-tokens", "9", "--draft", draft]
        assert main([*words, "--draft-tokens", "3", "--dtype", "float32"]) == 0
        assert capsys.readouterr().out == expected
