"""Records from every kind of file, plain and compressed; columns that are not there; what cannot be read."""

import gzip
import json
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from cutaway.data import Faults, Files, Parallel, source
from cutaway.data.lines import LONGEST, lines

ROWS = [{"text": "eins\nzwei", "label": "a"}, {"text": 'drei "3", vier', "label": "b"}, {"text": "fünf", "label": "c"}]


def as_parquet(path: Path) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path, row_group_size=2)


def as_tsv(path: Path) -> None:
    rows = ["text\tlabel", *(f"{row['text']}\t{row['label']}".replace("\n", " ") for row in ROWS)]
    path.write_text("\n".join(rows) + "\n")


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda path: path.write_text("".join(json.dumps(row) + "\n\n" for row in ROWS)),
    "a.ndjson": lambda path: path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)),
    "a.csv": lambda path: path.write_text('text,label\n"eins\nzwei",a\r\n"drei ""3"", vier",b\n\nfünf,c'),
    "a.tsv": as_tsv,
    "a.parquet": as_parquet,
}
PACKERS = {"": lambda blob: blob, ".gz": gzip.compress, ".zst": zstandard.compress}


def written(path: Path, blob: bytes) -> str:
    path.write_bytes(blob)
    return str(path)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("packing", PACKERS)
def test_tables(name: str, packing: str, tmp_path: Path):
    WRITERS[name](tmp_path / name)
    where = written(tmp_path / f"{name}{packing}", PACKERS[packing]((tmp_path / name).read_bytes()))
    found = list(source(where, {"input": "text", "class": "label"}).records(Faults(0)))
    expected = [{"input": row["text"], "class": row["label"]} for row in ROWS]
    if name == "a.tsv":
        expected[0]["input"] = "eins zwei"
    assert found == expected


@pytest.mark.parametrize("packing", PACKERS)
def test_text_by_file_and_by_line(packing: str, tmp_path: Path):
    where = written(tmp_path / f"a.txt{packing}", PACKERS[packing](b"\xef\xbb\xbfeins\r\n\nzwei"))
    assert list(source(where).records(Faults(0))) == [{"text": "eins\r\n\nzwei"}]
    by_line = source(where, {"text": "text", "from": "name"}, unit="line").records(Faults(0))
    assert list(by_line) == [{"text": text, "from": where} for text in ("eins", "", "zwei")]


def test_frames_of_zstandard_follow_each_other(tmp_path: Path):
    where = written(tmp_path / "a.txt.zst", zstandard.compress(b"one\ntw") + zstandard.compress(b"o\n"))
    assert [record["text"] for record in source(where, unit="line").records(Faults(0))] == ["one", "two"]


def test_folders_and_patterns_are_read_in_order(tmp_path: Path):
    for name in ("b/2.txt", "a/1.txt", "a/.hidden", ".git/x", "c.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    texts = lambda *where: [record["text"] for record in source(where).records(Faults(0))]
    assert texts(str(tmp_path)) == ["a/1.txt", "b/2.txt", "c.md"]
    assert texts(str(tmp_path / "**" / "*.txt"), str(tmp_path)) == ["a/1.txt", "b/2.txt", "c.md"]


@pytest.mark.parametrize("name", WRITERS)
def test_a_wrong_column_shows_those_there_are(name: str, tmp_path: Path):
    WRITERS[name](tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}: no column 'txt'; there are text, label; did you mean 'text'\?"):
        list(source(str(tmp_path / name), {"text": "txt"}).records(Faults()))


def test_text_has_two_columns(tmp_path: Path):
    where = written(tmp_path / "a.txt", b"x")
    with pytest.raises(ValueError, match=r"no column 'body'; there are text, name \(it is read as text"):
        list(source(where, {"text": "body"}).records(Faults()))


BAD = {
    "a.jsonl": (
        (
            b'{"text": "good"}\n{"text": }\n[1]\n{"txt": 1}\n{"text": null}\n'
            b'{"text": "\xff"}\n{"text": 3}\n{"text": "\\ud800"}'
        ),
        [
            (2, "not JSON"),
            (3, "not list"),
            (4, "no column 'text'"),
            (5, "NoneType, no text"),
            (6, "0xff"),
            (8, "half of a"),
        ],
        ["good", "3"],
    ),
    "a.csv": (
        b'text,n\ngood,1\nshort\nlong,1,2\n"bad"x,2\n\xfe,3\n"two\nlines",4\ngood,"open\nend\n',
        [(3, "1 fields, expected 2"), (4, "3 fields"), (5, "not CSV"), (6, "0xfe"), (9, "not CSV: .*lines 9 to 10")],
        ["good", "two\nlines"],
    ),
    "a.tsv": (b'text\tn\na "b\t1\nx\n', [(3, "1 fields, expected 2")], ['a "b']),
    "a.txt": (b"good\n\xff\xfe\nmore", [(2, "not UTF-8: byte 0 is 0xff")], ["good", "more"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_lines_are_counted_and_named(name: str, tmp_path: Path):
    blob, expected, good = BAD[name]
    where = written(tmp_path / name, blob)
    faults = Faults()
    assert [record["text"] for record in source(where, unit="line").records(faults)] == good
    assert faults.count == len(expected)
    for fault, (line, words) in zip(faults.first, expected, strict=True):
        assert (fault.path, fault.line) == (where, line)
        with pytest.raises(ValueError, match=words):
            Faults(0).add(where, line, fault.what)
    assert str(faults).startswith(f"left out {len(expected)}:\n{where}, line {expected[0][0]}: ")


def test_only_so_many_bad_lines_are_allowed(tmp_path: Path):
    where = written(tmp_path / "a.jsonl", b"{\n" * 5)
    with pytest.raises(ValueError, match=r"line 3: not JSON.*\(bad line number 3; 2 are allowed\)"):
        list(source(where).records(Faults(2)))
    with pytest.raises(ValueError, match=r"line 1: not JSON"):
        list(source(where).records(Faults(0)))


def test_of_many_bad_lines_the_first_are_kept(tmp_path: Path):
    faults = Faults()
    assert list(source(written(tmp_path / "a.jsonl", b"{\n" * 250)).records(faults)) == []
    assert (faults.count, len(faults.first)) == (250, 100)
    assert str(faults).endswith("and 150 more")


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_a_compressed_file_that_breaks_off_is_a_fault(packing: str, tmp_path: Path):
    blob = PACKERS[packing](b"".join(b"%d\n" % number for number in range(200_000)))
    where = written(tmp_path / f"a.txt{packing}", blob[: len(blob) // 2])
    faults = Faults()
    found = [record["text"] for record in source(where, unit="line").records(faults)]
    assert found[:-1] == [str(number) for number in range(len(found) - 1)]
    assert faults.count == 1
    assert "compressed file is broken" in faults.first[0].what
    assert not list(source(written(tmp_path / f"b.txt{packing}", b"no such format"), unit="line").records(faults))
    assert faults.count == 2


def test_a_broken_parquet_file_is_a_fault(tmp_path: Path):
    as_parquet(tmp_path / "a.parquet")
    blob = (tmp_path / "a.parquet").read_bytes()
    faults = Faults()
    assert list(source(written(tmp_path / "b.parquet", blob[:-20])).records(faults)) == []
    assert list(source(written(tmp_path / "c.parquet.gz", gzip.compress(blob)[:-20])).records(faults)) == []
    assert ["the file is broken" in fault.what for fault in faults.first] == [True, True]


def test_a_file_that_is_no_text_is_a_fault(tmp_path: Path):
    faults = Faults()
    assert list(source(written(tmp_path / "a.png", b"\x89PNG\r\n\0\0\0")).records(faults)) == []
    assert faults.first[0].line is None


def test_long_lines_are_faults_and_long_files_come_in_pieces(tmp_path: Path):
    where = tmp_path / "a.txt"
    where.write_bytes(
        b"short\n"
        + b"x" * (LONGEST + 3 * 2**20)
        + b"\nafter\n"
        + (b"y" * 999 + b"\n") * (LONGEST // 1000)
        + b"z" * 9999
    )
    faults = Faults()
    assert [line for number, line in lines(where, faults) if number < 4] == ["short\n", None, "after\n"]
    assert (faults.count, faults.first[0].line) == (1, 2)
    tracemalloc.start()
    pieces = [record["text"] for record in source(str(where)).records(Faults())]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(pieces) == 2
    assert pieces[0].startswith("short\nafter\nyy")
    assert pieces[1].endswith("z" * 9999)
    assert peak < 8 * LONGEST


def test_a_stream_holds_no_whole_file(tmp_path: Path):
    where = tmp_path / "a.jsonl.gz"
    line = json.dumps({"text": "x" * 1000}).encode() + b"\n"
    where.write_bytes(gzip.compress(line * 30_000, compresslevel=1))
    tracemalloc.start()
    count = sum(1 for _ in source(str(where)).records(Faults(0)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 30_000
    assert peak < 8 * 2**20


def test_parallel_files(tmp_path: Path):
    files = {
        "input": written(tmp_path / "a.de.gz", gzip.compress(b"eins\n\xff\ndrei\nvier")),
        "target": written(tmp_path / "a.en", b"one\r\ntwo\nthree\n\xff\n"),
    }
    faults = Faults()
    found = list(Parallel(files).records(faults))
    assert found == [{"input": "eins", "target": "one"}, {"input": "drei", "target": "three"}]
    assert [(Path(fault.path).name, fault.line) for fault in faults.first] == [("a.de.gz", 2), ("a.en", 4)]


def test_parallel_files_must_be_equally_long(tmp_path: Path):
    files = {"input": written(tmp_path / "a.de", b"eins\nzwei\n"), "target": written(tmp_path / "a.en", b"one\n")}
    with pytest.raises(ValueError, match=r"a\.en ends before line 2, which the others have"):
        list(Parallel(files).records(Faults()))


def test_a_key_changes_with_the_files_and_with_the_question(tmp_path: Path):
    where = written(tmp_path / "a.txt", b"one")
    first = source(where).key()
    assert source(where).key() == first
    assert source(where, unit="line").key() != first
    written(tmp_path / "a.txt", b"three")
    assert source(where).key() != first


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: source("/nowhere/*.txt"), "no file /nowhere"),
        (lambda: source("x", {}), "columns is empty"),
        (lambda: source("x", unit="page"), "unit must be 'file' or 'line', not 'page'"),
        (lambda: source("hub:a/b:c:d"), "not of the form hub:owner/name"),
    ],
)
def test_what_names_no_data_is_refused(make: Callable[[], object], words: str):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_folder_must_hold_files(tmp_path: Path):
    (tmp_path / ".hidden").touch()
    with pytest.raises(ValueError, match="a folder without files"):
        source(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "package"), [("a.parquet", "pyarrow"), ("a.txt.zst", "zstandard"), ("hub:a/b", "datasets")]
)
def test_a_missing_package_says_what_to_install(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("a.parquet").touch()
    Path("a.txt.zst").touch()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=rf"needs the package {package}: pip install 'cutaway\[data\]'"):
        list(source(name).records(Faults()))


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=30), min_size=1),
    st.sampled_from(list(PACKERS)),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_every_line_comes_out(tmp_path: Path, texts: list[str], packing: str):
    rows = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    where = written(tmp_path / f"a.jsonl{packing}", PACKERS[packing](rows))
    assert [record["text"] for record in Files((where,)).records(Faults(0))] == texts
