"""Text as it comes: whole characters only, nothing taken back, and in the end exactly what decoding gives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text.samples import Library, texts

from cutaway.text import Tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses:UserWarning")
# One for each way to decode: bytes, words with an end, words with a begin, byte tokens, spaces, cleaned up, pieces.
KINDS = ["gpt2", "openai-gpt", "bert", "bert-cased", "llama", "gemma", "t5", "albert", "m2m_100", "marian"]
each = pytest.mark.parametrize("name", KINDS)


def told(tokenizer: Tokenizer, ids: list[int], skip_special: bool) -> list[str]:
    stream = tokenizer.stream(skip_special=skip_special)
    return [*map(stream.put, ids), stream.end()]


@each
def test_texts(library: Library, name: str):
    ours, _ = library.both(name)
    for text in texts(10):
        ids = ours.encode(text).ids
        for skip in (True, False):
            pieces = told(ours, ids, skip)
            assert "".join(pieces) == ours.decode(ids, skip_special=skip)
            assert "\ufffd" not in "".join(pieces[:-1])


@each
def test_any_ids(library: Library, name: str):
    """Whatever a model may come up with: half characters, runs of bytes, special tokens, spaces."""
    ours, _ = library.both(name)
    liked = ours.encode("don't ' m . ! you're 你 😀 é  x").ids

    @settings(max_examples=60)
    @given(st.lists(st.integers(0, len(ours) - 1) | st.sampled_from(liked), max_size=12), st.booleans())
    def check(ids: list[int], skip: bool) -> None:
        assert "".join(told(ours, ids, skip)) == ours.decode(ids, skip_special=skip)

    check()


@pytest.mark.parametrize("name", ["bert-cased", "albert"])
def test_the_clean_up(library: Library, name: str):
    """Joining punctuation looks at several tokens at once, and the stream must not run ahead of it."""
    ours, _ = library.both(name)
    signs = [
        i
        for i in range(len(ours))
        if ours.tokens([i])[0].strip("▁") in {"n", "'", "t", "s", "m", "re", "v", "e", ".", ",", "!", "?", "the", ""}
    ]
    assert len(signs) > 8

    @settings(max_examples=200)
    @given(st.lists(st.sampled_from(signs), max_size=14))
    def check(ids: list[int]) -> None:
        assert "".join(told(ours, ids, True)) == ours.decode(ids)

    check()


def test_characters_come_whole():
    ours = Tokenizer.bytes()
    assert told(ours, list("aé😀".encode()), True) == ["a", "", "é", "", "", "", "😀", ""]


def test_a_broken_character_comes_when_it_is_certain():
    ours = Tokenizer.bytes()
    assert told(ours, [0xF0, 0x9F, *b"ab"], True) == ["", "", "\ufffda", "b", ""]
    assert told(ours, [0xF0, 0x9F], True) == ["", "", "\ufffd"]


def test_text_comes_at_once(library: Library):
    """No token of plain words is held back."""
    for name in ("gpt2", "llama", "t5", "bert"):
        ours, _ = library.both(name)
        ids = ours.encode("the quick fox", special=False).ids
        assert all(told(ours, ids, True)[1:-1]), name


def test_special_tokens(library: Library):
    ours, _ = library.both("t5")
    ids = ours.encode("the fox").ids
    assert told(ours, ids, True)[-2:] == ["", ""]
    assert "".join(told(ours, ids, False)) == "the fox</s>"


def test_what_is_no_id_is_refused():
    with pytest.raises(ValueError, match="-1 at position 0 is no id"):
        Tokenizer.bytes().stream().put(-1)
