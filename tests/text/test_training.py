"""Tokenizers made from text: saved, read here and by transformers, and what comes back of a text."""

from pathlib import Path

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st
from text.samples import LINES, ODD

from cutaway.text import Tokenizer
from cutaway.text.training import KINDS, train

each = pytest.mark.parametrize("kind", KINDS)
SIZES = {"bpe": 300, "wordpiece": 250, "unigram": 180, "characters": None, "bytes": None}


def made(kind: str) -> Tokenizer:
    return train(LINES, kind, SIZES[kind])


@each
def test_saved_and_read_here_and_by_transformers(kind: str, tmp_path: Path):
    ours = made(kind)
    ours.save(tmp_path)
    again, theirs = Tokenizer.load(tmp_path), transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert again is not None
    assert isinstance(theirs, transformers.PreTrainedTokenizerFast)
    assert len(ours) == len(again) == len(theirs)
    assert ours.special == again.special == {name: theirs.special_tokens_map[name] for name in ours.special}
    for text in [*LINES, *ODD]:
        ids = ours.encode(text).ids
        assert ids == again.encode(text).ids == theirs(text)["input_ids"], text
        assert ours.decode(ids) == again.decode(ids) == theirs.decode(ids, skip_special_tokens=True), text
        assert ours.decode(ids, skip_special=False) == theirs.decode(ids), text


@pytest.mark.parametrize("tokenizer", [made("bpe"), made("bytes")], ids=["bpe", "bytes"])
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_from_bytes(tokenizer: Tokenizer, text: str):
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special=False) == text


SEEN = "".join(sorted({*"".join(LINES)}))
CHARACTERS = train(LINES, "characters")


@given(text=st.text(st.sampled_from(SEEN)))
def test_characters_that_were_seen_come_back(text: str):
    encoded = CHARACTERS.encode(text)
    assert len(encoded) == len(text)
    assert CHARACTERS.decode(encoded.ids) == text


def test_a_character_that_was_not_seen_is_unknown():
    unknown = CHARACTERS.unk_token_id
    assert CHARACTERS.encode("жжaж").ids == [unknown, unknown, CHARACTERS.id("a"), unknown]
    assert CHARACTERS.tokens([unknown]) == ["<unk>"]


def test_characters_of_a_small_vocabulary_are_the_most_frequent():
    tokenizer = train(["aaabbc", "c d"], "characters", vocab=7)
    assert len(tokenizer) == 7
    assert [tokenizer.id(sign) is not None for sign in "abcd "] == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("kind", "size"), [("bpe", 259), ("bpe", 300), ("wordpiece", 40), ("wordpiece", 250), ("characters", 20)]
)
def test_the_vocabulary_is_as_large_as_asked_for(kind: str, size: int):
    assert len(train(LINES * 2, kind, size)) == size


def test_a_unigram_vocabulary_is_at_most_as_large_as_asked_for():
    assert 120 < len(train(LINES * 5, "unigram", 160)) <= 160


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "characters", "bytes"])
def test_the_same_text_makes_the_same_tokenizer(kind: str, tmp_path: Path):
    for name in ("one", "two"):
        made(kind).save(tmp_path / name)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two


def test_frequent_words_become_tokens():
    tokenizer = train(["the attention of the attention"] * 10, "bpe", vocab=280)
    assert tokenizer.encode("the attention").tokens == ["the", "Ġattention"]


def test_wordpiece_puts_its_tokens_around_a_text_and_a_pair():
    tokenizer = train(["one two three"] * 3, "wordpiece", vocab=60)
    assert tokenizer.encode("one", "two").tokens == ["[CLS]", "one", "[SEP]", "two", "[SEP]"]
    assert tokenizer.encode("one", "two").type_ids == [0, 0, 0, 1, 1]


def test_special_tokens_have_the_first_ids_and_are_never_cut():
    tokenizer = train(["a<end>b"] * 5, "bpe", vocab=300, special={"eos_token": "<end>", "pad_token": "<end>"})
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id) == (0, 0, None)
    assert tokenizer.encode("a<end>b").ids[1] == 0
    assert train(LINES, "unigram", 150, special={"eos_token": "<end>"}).special == {
        "eos_token": "<end>",
        "unk_token": "<unk>",
    }


def test_texts_may_come_as_a_stream():
    assert train(iter(LINES), "wordpiece", 250).encode(LINES[0]).ids == made("wordpiece").encode(LINES[0]).ids


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((LINES, "words"), "no kind 'words'.*bpe, wordpiece"),
        ((LINES, "bpe", 100), "100 is too small: bpe begins with 259"),
        ((LINES, "unigram", 50), "vocabulary is not large enough"),
        ((LINES, "bytes", 300), "bytes have 259 tokens"),
        ((LINES, "bpe", 300, {"end": "<end>"}), "end is no special token.*eos_token"),
        ((["good", "bad \ud800"], "bpe"), "text 1 is not valid Unicode"),
    ],
)
def test_what_makes_no_tokenizer_is_refused(arguments: tuple, words: str):
    with pytest.raises(ValueError, match=words):
        train(*arguments)


def test_texts_must_be_texts():
    with pytest.raises(TypeError, match=r"write \[text\]"):
        train("one text")
    with pytest.raises(TypeError, match="text 1 must be a str, not int"):
        train(iter(["a", 5]), "characters")
