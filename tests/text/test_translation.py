"""Translation models: the two sides, and the languages between them."""

import json
from pathlib import Path

import pytest
import transformers
from text.samples import Library, texts

from cutaway.text import Tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses:UserWarning")
SOME = [text for text in texts(10) if text.strip()]


def test_marian_writes_with_the_model_of_the_target(library: Library):
    ours, theirs = library.both("marian")
    for text in SOME:
        assert ours.encode(text, target=True).ids == theirs(text_target=text)["input_ids"], text
    assert any(ours.encode(text, target=True).ids != ours.encode(text).ids for text in SOME)


def test_marian_takes_a_code_before_the_text(library: Library):
    ours, theirs = library.both("marian")
    for text in (">>de<< the fox", ">>xx<<the fox", ">>", "a >>de<< fox", "</s>>>de<< fox", ">>de"):
        assert ours.encode(text).ids == theirs(text)["input_ids"], text
    found = ours.encode(">>de<< the fox")
    assert (found.tokens[0], found.offsets[0], found.offsets[1]) == (">>de<<", (0, 6), (7, 10))


def test_marian_with_two_vocabularies(library: Library, tmp_path: Path):
    folder = library.copy("marian", tmp_path)
    vocab = list(json.loads((folder / "vocab.json").read_bytes()))
    other = ["<unk>", "</s>", "<pad>", *sorted(set(vocab) - {"<unk>", "</s>", "<pad>"}, reverse=True)]
    (folder / "target_vocab.json").write_text(json.dumps({token: i for i, token in enumerate(other)}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"separate_vocabs": True}))
    ours, theirs = Tokenizer.load(folder), transformers.MarianTokenizer.from_pretrained(str(folder))
    assert ours is not None
    for text in SOME:
        ids = ours.encode(text, target=True).ids
        # The reference takes special tokens from the source vocabulary, even where it writes the target.
        plain = theirs.convert_tokens_to_ids(theirs.tokenize(text))
        assert ours.encode(text, special=False).ids == plain, text
        theirs._switch_to_target_mode()
        pieces = theirs.tokenize(text)
        theirs._switch_to_input_mode()
        assert ids == [other.index(p) if p in other else other.index("<unk>") for p in [*pieces, "</s>"]], text
        assert ours.tokens(ids)[-1] == "</s>"


@pytest.mark.parametrize(
    ("name", "source", "target"), [("m2m_100", "fr", "zh"), ("mbart", "ro_RO", "de_DE"), ("mbart50", "uk_UA", "sl_SI")]
)
def test_languages(library: Library, name: str, source: str, target: str):
    ours, _ = library.both(name)
    theirs = type(library.both(name)[1]).from_pretrained(str(library[name]), src_lang=source, tgt_lang=target)
    between = ours.between(src_lang=source, tgt_lang=target)
    assert (between.src_lang, between.tgt_lang) == (source, target)
    for text in SOME:
        assert between.encode(text).ids == theirs(text)["input_ids"], text
        assert between.encode(text, target=True).ids == theirs(text_target=text)["input_ids"], text
        assert between.batch([text], target=True).input_ids == [theirs(text_target=text)["input_ids"]]
    token = f"__{target}__" if name == "m2m_100" else target
    assert between.language_id(target) == theirs.convert_tokens_to_ids(token)
    back = between.between(src_lang=target, tgt_lang=source)
    assert back.encode("the fox").ids == between.encode("the fox", target=True).ids


def test_the_direction_of_the_settings(library: Library):
    assert [library.both("m2m_100")[0].src_lang, library.both("m2m_100")[0].tgt_lang] == ["en", "de"]
    assert [library.both("mbart")[0].src_lang, library.both("mbart")[0].tgt_lang] == ["en_XX", None]


def test_the_direction_is_saved(library: Library, tmp_path: Path):
    library.both("mbart")[0].between(src_lang="fi_FI", tgt_lang="et_EE").save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again is not None
    assert (again.src_lang, again.tgt_lang) == ("fi_FI", "et_EE")
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert again.encode("the fox").ids == theirs("the fox")["input_ids"]


def test_nllb_marks_languages_from_its_tokenizer_json(library: Library, tmp_path: Path):
    codes = ["eng_Latn", "fra_Latn", "zho_Hans"]
    _, m2m = library.both("m2m_100")
    vocab = {token: i for token, i in m2m.get_vocab().items() if i < m2m.vocab_size}
    theirs = transformers.NllbTokenizer(vocab=vocab, merges=[], additional_special_tokens=codes)
    theirs.save_pretrained(tmp_path)
    ours = Tokenizer.load(tmp_path)
    assert ours is not None
    assert set(codes) <= set(ours.languages)
    assert ours.encode("fox").ids == theirs("fox")["input_ids"]
    theirs.src_lang = "zho_Hans"
    assert ours.between(src_lang="zho_Hans").encode("fox").ids == theirs("fox")["input_ids"]


@pytest.mark.parametrize("name", ["m2m_100", "mbart"])
def test_an_unknown_language_is_refused_with_the_known_ones(library: Library, name: str):
    ours, _ = library.both(name)
    known = ", ".join(ours.languages[:3])
    for call in (
        lambda: ours.between(src_lang="xx"),
        lambda: ours.between(tgt_lang="xx"),
        lambda: ours.language_id("xx"),
    ):
        with pytest.raises(ValueError, match=f"no language 'xx'; there are {known}"):
            call()


def test_who_has_no_languages_says_so(library: Library):
    for name in ("t5", "marian"):
        with pytest.raises(ValueError, match="no language codes"):
            library.both(name)[0].between(src_lang="en")


def test_unknown_language_codes_of_m2m(library: Library, tmp_path: Path):
    folder = library.copy("m2m_100", tmp_path)
    (folder / "tokenizer_config.json").write_text(json.dumps({"language_codes": "klingon"}))
    with pytest.raises(ValueError, match="language_codes must be one of m2m100, wmt21, not 'klingon'"):
        Tokenizer.load(folder)


def test_wmt21_has_eight_languages(library: Library, tmp_path: Path):
    folder = library.copy("m2m_100", tmp_path)
    (folder / "tokenizer_config.json").write_text(json.dumps({"language_codes": "wmt21"}))
    ours, theirs = Tokenizer.load(folder), transformers.M2M100Tokenizer.from_pretrained(str(folder))
    assert ours is not None
    assert ours.languages == sorted(theirs.lang_code_to_id)
    assert {code: ours.language_id(code) for code in ours.languages} == theirs.lang_code_to_id
    assert ours.encode("the fox").ids == theirs("the fox")["input_ids"]


def test_fsmt_knows_its_ids_and_refuses_text(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "fsmt"}')
    (tmp_path / "vocab-src.json").write_text('{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "fox</w>": 4}')
    (tmp_path / "vocab-tgt.json").write_text(
        '{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "Fuchs</w>": 4, "s</w>": 5}'
    )
    (tmp_path / "merges.txt").write_text("f o 1\n")
    (tmp_path / "tokenizer_config.json").write_text('{"langs": ["en", "de"]}')
    ours = Tokenizer.load(tmp_path)
    assert ours is not None
    assert (ours.pad_token_id, ours.sep_token_id, len(ours)) == (1, 2, 5)
    assert ours.tokens([4, 5]) == ["Fuchs</w>", "s</w>"]
    for call in (lambda: ours.encode("fox"), lambda: ours.decode([4]), lambda: ours.stream().put(4)):
        with pytest.raises(ValueError, match=r"FSMT cuts words as the Moses scripts do.*sacremoses"):
            call()
    ours.save(tmp_path / "copy")
    assert (tmp_path / "copy" / "vocab-tgt.json").read_bytes() == (tmp_path / "vocab-tgt.json").read_bytes()
    assert (tmp_path / "copy" / "merges.txt").exists()
