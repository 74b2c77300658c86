"""What is saved loads again, here and in transformers, to the same tokenizer; what came in goes out unchanged."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import transformers
from text.samples import FAMILIES, Library, texts

from cutaway.text import Tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses:UserWarning")
each = pytest.mark.parametrize("name", FAMILIES)
SOME = texts(5)


def same(ours: Tokenizer | None, theirs: Any) -> None:
    assert ours is not None
    assert len(ours) == len(theirs)
    for text in SOME:
        ids = theirs(text)["input_ids"]
        assert ours.encode(text).ids == ids, text
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True), text
        assert ours.decode(ids, skip_special=False) == theirs.decode(ids), text


@each
def test_transformers_reads_what_we_save(library: Library, name: str, tmp_path: Path):
    ours, theirs = library.both(name)
    ours.save(tmp_path)
    same(ours, transformers.AutoTokenizer.from_pretrained(str(tmp_path)))
    shutil.copy(library[name] / "config.json", tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    same(ours, again)
    assert again.special_tokens_map == theirs.special_tokens_map


@each
def test_we_read_what_we_save(library: Library, name: str, tmp_path: Path):
    ours, theirs = library.both(name)
    ours.save(tmp_path / "once")
    again = Tokenizer.load(tmp_path / "once")
    same(again, theirs)
    assert again is not None
    assert (again.special, again.vocab_size) == (ours.special, ours.vocab_size)
    again.save(tmp_path / "twice")
    read = lambda folder: {p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()}
    assert read("once") == read("twice")


@each
def test_we_read_what_transformers_saves(library: Library, name: str, tmp_path: Path):
    _, theirs = library.both(name)
    theirs.save_pretrained(tmp_path)
    shutil.copy(library[name] / "config.json", tmp_path)
    same(Tokenizer.load(tmp_path), theirs)


@each
def test_files_that_came_in_are_kept(library: Library, name: str, tmp_path: Path):
    ours, _ = library.both(name)
    ours.save(tmp_path)
    for path in library[name].iterdir():
        if path.name not in ("config.json", "tokenizer_config.json"):
            assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    settings = json.loads((tmp_path / "tokenizer_config.json").read_bytes())
    assert FAMILIES[name].settings.items() <= settings.items()


def test_a_folder_with_all_its_settings_is_copied(library: Library, tmp_path: Path):
    _, theirs = library.both("bert")
    theirs.save_pretrained(tmp_path / "theirs")
    ours = Tokenizer.load(tmp_path / "theirs")
    assert ours is not None
    ours.save(tmp_path / "ours")
    for path in (tmp_path / "theirs").iterdir():
        assert (tmp_path / "ours" / path.name).read_bytes() == path.read_bytes()
