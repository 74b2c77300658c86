"""JSON objects: what is written is read, and everything doubtful is refused with its file and place."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.storage import read_json, write_json


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "line 1, column 1"),
        (b'{"a": 1,\n "b": tru}', "line 2, column 7"),
        (b'{"a": 1', "line 1, column 8"),
        (b'{"a": 1} x', "line 1, column 10: Extra data"),
        (b"[1, 2]", "expected an object {...}, got list"),
        (b"3", "got int"),
        (b"null", "got NoneType"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "the key 'b' is given twice"),
        (b'{"a": NaN}', "NaN is no finite number"),
        (b'{"a": [-Infinity]}', "-Infinity is no finite number"),
        (b'{"a": 1e999}', "1e999 is no finite number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "5000 digits"),
        (b'{"a": "\xff"}', "can't decode byte 0xff in position 7"),
        (b'\xef\xbb\xbf{"a": 1}', "BOM"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a": ' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b'{"a": "' + b" " * (16 * 2**20) + b'"}', "more than 16777216 bytes"),
        (b'{"a": [' + b"[]," * 2**20 + b"1]}", "more than 1048576 objects and lists"),
        (b'{"a": ' + b"9" * 5000 + b".5}", "99 is no finite number"),
        (b'{"' + b"a" * 5000 + b'": 1, "' + b"a" * 5000 + b'": 2}', "is given twice"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_json_is_refused_with_file_and_place(tmp_path: Path, text: bytes, what: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=r"config\.json: ") as caught:
        read_json(path)
    assert what in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="generation_config"):
        read_json(tmp_path / "generation_config.json")


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
OBJECTS = st.dictionaries(st.text(), VALUES | st.lists(VALUES, max_size=3), max_size=4)


@settings(max_examples=200)
@given(value=OBJECTS)
def test_what_is_written_is_read(value: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, {"inner": value})
    assert read_json(path) == {"inner": value} == json.loads(path.read_bytes())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_could_not_be_read_is_not_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "config.json", {"a": value})
    assert not list(tmp_path.iterdir())


def test_damaged_json_is_read_as_json_or_refused(tmp_path: Path) -> None:
    original = json.dumps({"a": 1, "b": [1.5, None, "é"], "c": {"d": True}}, ensure_ascii=False).encode()
    path = tmp_path / "config.json"
    refused = 0
    for seed in range(1000):
        chance, text = random.Random(seed), bytearray(original)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(text) + 1)
            new = chance.choice([chance.randbytes(1), b'"', b"{", b"1e9", b"\\u", b",", b" "])
            text[at : at + chance.randrange(4)] = new
        path.write_bytes(text)
        try:
            found = read_json(path)
        except ValueError:
            refused += 1
        else:
            assert found == json.loads(text), seed
    assert 300 < refused < 1000
