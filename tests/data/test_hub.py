"""A data set of the hub, as the `datasets` library reads it: from a folder of that name, so that nothing is fetched."""

import json
from pathlib import Path

import pytest

from cutaway.data import Faults, Hub, source

ROWS = [{"body": "one", "stars": 1}, {"body": None, "stars": 2}, {"body": "three", "stars": 3}]


@pytest.fixture
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        path = Path("owner/name") / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row | {"split": split}) + "\n" for row in ROWS))


@pytest.mark.usefixtures("_folder")
def test_records_of_a_split():
    faults = Faults()
    found = list(source("hub:owner/name:test", {"text": "body", "class": "stars", "of": "split"}).records(faults))
    assert found == [{"text": "one", "class": "1", "of": "test"}, {"text": "three", "class": "3", "of": "test"}]
    assert str(faults.first[0]) == "hub:owner/name, line 2: column 'body' is NoneType, no text"
    assert next(source("hub:owner/name", {"of": "split"}).records(faults)) == {"of": "train"}


@pytest.mark.usefixtures("_folder")
def test_a_wrong_column_shows_those_there_are():
    with pytest.raises(ValueError, match="hub:owner/name: no column 'text'; there are body, stars, split"):
        list(source("hub:owner/name").records(Faults()))


def test_the_key_names_what_is_read():
    assert Hub("a/b").key() != Hub("a/b", revision="v1").key()
