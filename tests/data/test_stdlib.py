"""The standard library as data: whole files, split by name, the same on every machine that has the same files."""

import sys
from pathlib import Path

import pytest

from cutaway.data import Faults, Stdlib


def test_this_python_has_enough_to_train_on():
    train, validation = (list(Stdlib(split).records(Faults(0))) for split in ("train", "validation"))
    sizes = [sum(len(record["text"]) for record in part) for part in (train, validation)]
    assert sizes[0] > 4_000_000
    assert 0.02 < sizes[1] / sizes[0] < 0.3
    names = [record["name"] for record in train + validation]
    assert len(set(names)) == len(names)
    assert not any({"test", "tests", "site-packages"} & {*name.split("/")} for name in names)
    assert "this.py" in names
    text = next(record["text"] for record in train + validation if record["name"] == "this.py")
    assert text == (Path(sys.modules["json"].__file__).parents[1] / "this.py").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(200):
        (tmp_path / f"m{number}.py").write_text(f"x = {number}\n")
    for name in ("site-packages/a.py", "test/b.py", "__pycache__/c.py", "pkg/d.py", "pkg/e.txt", "_sysconfigdata_x.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


def test_a_name_decides_the_side(folder: Path):
    sides = {split: list(Stdlib(split, str(folder)).paths()) for split in ("train", "validation")}
    assert sorted(sides["train"] + sides["validation"]) == sorted([*(f"m{n}.py" for n in range(200)), "pkg/d.py"])
    assert sides["train"] == sorted(sides["train"])
    assert 8 < len(sides["validation"]) < 40
    (folder / "m7.py").unlink()
    (folder / "new.py").touch()
    again = {split: list(Stdlib(split, str(folder)).paths()) for split in sides}
    for split in sides:
        assert set(again[split]) - {"new.py"} == set(sides[split]) - {"m7.py"}


def test_the_declared_encoding_counts_and_what_breaks_it_is_a_fault(tmp_path: Path):
    (tmp_path / "a.py").write_bytes(b"# coding: latin-1\nx = '\xe9'\n")
    (tmp_path / "b.py").write_bytes(b"x = '\xe9'\n")
    (tmp_path / "c.py").write_bytes(b"# coding: no-such\n")
    faults = Faults()
    found = [*Stdlib("train", str(tmp_path)).records(faults), *Stdlib("validation", str(tmp_path)).records(faults)]
    assert found == [{"name": "a.py", "text": "# coding: latin-1\nx = 'é'\n"}]
    assert sorted(Path(fault.path).name for fault in faults.first) == ["b.py", "c.py"]


def test_the_key_follows_the_content(folder: Path):
    first = Stdlib("train", str(folder)).key()
    assert Stdlib("train", str(folder)).key() == first
    assert Stdlib("validation", str(folder)).key() != first
    some = next(iter(Stdlib("train", str(folder)).paths().values()))
    some.write_text("x = -1\n")
    assert Stdlib("train", str(folder)).key() != first


def test_what_is_no_library_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="has no Python source"):
        Stdlib(folder=str(tmp_path)).paths()
    with pytest.raises(ValueError, match="split must be 'train' or 'validation', not 'test'"):
        Stdlib("test")
