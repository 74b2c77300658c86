"""Text in, text out: spaces, ends, stop strings, streams."""

import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, processors

import cutaway
from cutaway.generate.processors import NOTHING
from cutaway.generate.text import Writer, saying
from cutaway.model import Model
from cutaway.text import Stream, Tokenizer
from cutaway.text.engine import Engine

BYTES = Tokenizer.bytes()
PAD, BOS, EOS = 256, 257, 258


@pytest.fixture(scope="module")
def model() -> Model:
    """Random weights that draw mostly printable bytes."""
    torch.manual_seed(3)
    model = cutaway.build("llama", vocab=259, width=32, depth=2, heads=4, hidden=48)
    model.tokenizer = BYTES
    model.origin.generation = {"suppress_tokens": [*range(32), *range(127, 256), PAD, BOS]}
    return model


def write(text: str, stops: list[str], prompt: str = "") -> list[str]:
    writer = Writer(BYTES, [NOTHING, *prompt.encode()], [EOS], stops)
    return [*(writer.put(byte) for byte in text.encode()), writer.end()]


texts = st.text("abé ", max_size=12)


def cut(text: str, stops: list[str]) -> int:
    """Where a text written letter by letter is cut: before the stop string that is complete first, or began first."""
    for end in range(len(text) + 1):
        if found := [text[:end].index(stop) for stop in stops if stop in text[:end]]:
            return min(found)
    return len(text)


@settings(max_examples=40)
@given(texts, st.lists(st.text("abé ", min_size=1, max_size=3), max_size=3), texts)
def test_a_writer_writes_up_to_the_first_stop_string(text: str, stops: list[str], prompt: str):
    assert "".join(write(text, stops, prompt)) == text[: cut(text, stops)]


def test_a_writer_gives_out_all_that_cannot_become_a_stop_string():
    assert write("xaby", ["abc"]) == ["x", "", "", "aby", ""]
    assert write("aab", ["ab"]) == ["", "a", "", ""]
    assert write("ab", ["abc"]) == ["", "", "ab"]
    assert write("é!", []) == ["", "é", "!", ""], "half a character is held back"


def test_a_writer_ends_at_an_end_token_and_skips_what_is_no_token():
    writer = Writer(BYTES, [], [EOS], [])
    given_out = [writer.put(i) for i in (97, NOTHING, EOS, 98, NOTHING)]
    assert "".join(given_out) + writer.end() == "a"


@settings(max_examples=40)
@given(texts, st.lists(st.text("abé ", min_size=1, max_size=3), min_size=1, max_size=3), texts)
def test_saying_finds_a_stop_string_when_its_last_token_comes(text: str, stops: list[str], prompt: str):
    ids, start = [NOTHING, *prompt.encode(), *text.encode()], 1 + len(prompt.encode())
    first = min((text.index(stop) + len(stop) for stop in stops if stop in text), default=None)
    for end in range(start, len(ids) + 1):
        complete = len(text.encode()[: end - start].decode(errors="ignore"))
        (said,) = saying(BYTES, stops, start, torch.tensor([ids[:end]])).tolist()
        if first is None or complete < first:
            assert not said
        elif complete == first:
            assert said
            return


def test_text_gives_text(model: Model):
    text = model.generate("Once", max_new_tokens=9, ignore_eos=True)
    ids = model.generate([list(b"Once")], max_new_tokens=9, ignore_eos=True)
    assert text == bytes(i for i in ids[0, 4:].tolist() if i < 256).decode()
    assert model.generate(["Once", "Up"], max_new_tokens=9, ignore_eos=True)[0] == text


def test_several_sequences_come_as_a_list_prompt_by_prompt(model: Model):
    how = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 5}
    several = model.generate(["Once", "Up"], **how)
    assert several == [*model.generate("Once", **how), *model.generate("Up", **how)]
    assert len(several) == 4


@settings(max_examples=8)
@given(st.integers(0, 1000), st.integers(1, 3), st.booleans())
def test_a_stream_joined_is_the_text(model: Model, seed: int, length: int, stopping: bool):
    how = {"max_new_tokens": 12, "temperature": 1.3, "seed": seed, "ignore_eos": True}
    whole = model.generate("Once", **how)
    if stopping:  # stop at a string that comes
        at = seed % (len(whole) - length)
        how["stop"] = whole[at : at + length]
        whole = whole[: whole.index(how["stop"])]
        assert model.generate("Once", **how) == whole
    pieces = list(model.generate("Once", stream=True, **how))
    assert "".join(pieces) == whole
    assert all(pieces)
    batch = list(model.generate(["Once"], stream=True, **how))
    assert [piece for (piece,) in batch] == pieces


def test_a_stop_string_ends_the_row(model: Model):
    """The ids go on to the token that completes the string, and no further."""
    ids = model.generate([list(b"Once")], max_new_tokens=12, ignore_eos=True)
    new = bytes(ids[0, 4:].tolist()).decode()
    stop = next(new[i : i + 2] for i in range(3, 9) if new.find(new[i : i + 2]) == i)
    stopped = model.generate([list(b"Once")], max_new_tokens=12, ignore_eos=True, stop=stop)
    assert torch.equal(stopped, ids[:, : 4 + new.index(stop) + 2])
    both = model.generate([list(b"Once"), list(b"On")], max_new_tokens=12, ignore_eos=True, stop=[stop, "\0"])
    assert both[0].tolist()[: stopped.shape[1]] == stopped[0].tolist()
    assert set(both[0].tolist()[stopped.shape[1] :]) <= {PAD}


def test_beams_stop_at_a_string_too(model: Model):
    how = {"max_new_tokens": 8, "num_beams": 3, "ignore_eos": True, "early_stopping": True}
    plain = model.generate("Once", **how)
    stop = plain[2]
    ids = model.generate([list(b"Once")], stop=stop, **how, num_return_sequences=3)
    ended = [bytes(i for i in row[4:] if i < 256).decode() for row in ids.tolist()]
    assert any(stop in text for text in ended)
    assert all(stop not in text[:-1] for text in ended)


def test_ids_stream_as_tensors(model: Model):
    prompt = [list(b"Once"), list(b"Up")]
    whole = model.generate(prompt, max_new_tokens=6)
    steps = list(model.generate(prompt, max_new_tokens=6, stream=True))
    assert torch.equal(torch.stack(steps, 1), whole[:, 4:])


def test_an_empty_text_begins_with_the_tokenizers_bos(model: Model):
    assert model.generate("", max_new_tokens=5) == model.generate([""], max_new_tokens=5)[0]
    ids = model.generate([[BOS]], max_new_tokens=5)
    assert torch.equal(model.generate([[]], max_new_tokens=5), ids)


class Words:
    """A tokenizer that, as SentencePiece's do, drops the space before the first word of what it decodes."""

    def __init__(self):
        pipeline = tokenizers.Tokenizer(models.WordLevel({"▁a": 0, "▁b": 1, "<unk>": 2}, "<unk>"))
        pipeline.decoder = decoders.Metaspace()
        self.engine = Engine(pipeline, processors.TemplateProcessing(single="$A"))

    def stream(self) -> Stream:
        return Stream(self.engine)

    def decode(self, ids: list[int]) -> str:
        return self.engine.decode(ids, True)


def test_the_space_between_prompt_and_answer_is_kept():
    after, first = Writer(Words(), [0], [], []), Writer(Words(), [], [], [])
    assert after.put(1) + after.end() == " b"
    assert first.put(1) + first.end() == "b"
    ids = torch.tensor([[NOTHING, 0, 1], [0, 0, 0]])
    assert saying(Words(), [" b"], 2, ids).tolist() == [True, False]
    assert saying(Words(), [" b"], 0, ids[:1, 2:]).tolist() == [False]
