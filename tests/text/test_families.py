"""Every family's older files against transformers: ids, segments, spans, special tokens, decoding, length."""

import pytest
import transformers
from text.samples import FAMILIES, Library, texts

from cutaway.text import Tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses:UserWarning")
each = pytest.mark.parametrize("name", FAMILIES)
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
# Their readers in Python know no spans, and cut pairs, which translation has none of, in another way.
PYTHON = ("marian", "m2m_100")


@pytest.fixture
def both(library: Library, name: str) -> tuple[Tokenizer, transformers.PreTrainedTokenizerBase]:
    return library.both(name)


def pairs() -> list[tuple[str, str | None]]:
    singles = texts(10)
    return [(text, None) for text in singles] + [(a, b) for a, b in zip(singles[::2], singles[7::2], strict=False) if b]


@each
def test_encode(both, name):
    ours, theirs = both
    spans = name not in PYTHON
    for text, pair in pairs():
        for special in (True, False):
            got = ours.encode(text, pair, special=special)
            want = theirs(
                text, pair, add_special_tokens=special, return_token_type_ids=True, return_offsets_mapping=spans
            )
            assert got.ids == want["input_ids"], (text, pair, special)
            if spans:
                assert got.tokens == want.tokens()
                assert got.type_ids == want["token_type_ids"]
                assert got.offsets == want["offset_mapping"]
                assert got.sequences == want.sequence_ids()


@each
def test_decode(both, name):
    ours, theirs = both
    for text, pair in pairs():
        ids = ours.encode(text, pair).ids
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True), (text, pair)
        assert ours.decode(ids, skip_special=False) == theirs.decode(ids), (text, pair)


@each
def test_max_length(both, name):
    ours, theirs = both
    for text, pair in pairs()[2::3]:
        for length in (5, 8, 13):
            if pair is None or name not in PYTHON:
                want = theirs(text, pair, truncation=True, max_length=length)["input_ids"]
                assert ours.encode(text, pair, max_length=length).ids == want, (text, pair, length)


@each
def test_special_tokens(both, name):
    ours, theirs = both
    assert len(ours) == len(theirs)
    assert ours.vocab_size == theirs.vocab_size
    found = {role: getattr(ours, f"{role}_token_id") for role in ROLES}
    assert found == {role: getattr(theirs, f"{role}_token_id") for role in ROLES}
    tokens = [token for token in theirs.special_tokens_map.values() if token in theirs.get_vocab()]
    assert ours.tokens(theirs.convert_tokens_to_ids(tokens)) == tokens


@each
def test_added_tokens_have_the_same_flags(both, name):
    ours, theirs = both
    if name not in PYTHON:
        state = lambda token: (token.content, token.special, token.lstrip, token.rstrip, token.normalized)
        got = ours.parts.source.pipeline.get_added_tokens_decoder()
        want = theirs.added_tokens_decoder
        assert {i: state(token) for i, token in got.items()} == {i: state(token) for i, token in want.items()}


@each
def test_batch(both, name):
    ours, theirs = both
    some = ["the fox", "", "a naïve café owner said it", "你好"]
    pad = ours.pad_token_id if ours.pad_token_id is not None else ours.eos_token_id or 0
    for side in ("right", "left"):
        got = ours.batch(some, side=side)
        width = max(len(ours.encode(text)) for text in some)
        for text, row, mask, types in zip(some, *vars(got).values(), strict=True):
            ids = theirs(text)["input_ids"]
            padding = [0] * (width - len(ids))
            assert mask == ([1] * len(ids) + padding if side == "right" else padding + [1] * len(ids))
            assert [i for i, kept in zip(row, mask, strict=True) if kept] == ids
            assert {i for i, kept in zip(row, mask, strict=True) if not kept} <= {pad}
            assert types == [0] * width
