"""metrics.jsonl through crashes and resumption: what was written whole stays, once."""

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.train.report.metrics import Metrics, TensorBoard, best, figure, read, rewind

TEXT = st.text(max_size=8)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
RECORDS = st.lists(
    st.fixed_dictionaries(
        {"kind": st.sampled_from(["train", "validation", "sample", "note"]), "step": st.integers(0, 99)},
        optional={"loss": NUMBERS, "text": TEXT},
    ),
    max_size=6,
)


def write(path: Path, records: list[dict[str, Any]]) -> None:
    metrics = Metrics(path)
    for record in records:
        metrics.write(record)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("metrics")


@given(before=RECORDS, after=RECORDS, data=st.data())
def test_a_torn_line_is_dropped_and_the_rest_stays(folder: Path, before: Any, after: Any, data: st.DataObject):
    path = folder / "metrics.jsonl"
    path.unlink(missing_ok=True)
    write(path, before)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = before[: whole[:cut].count(b"\n")]
    assert read(path) == kept
    write(path, after)
    assert read(path) == kept + after


@given(records=RECORDS, step=st.integers(-1, 100), torn=st.booleans())
def test_rewind_leaves_no_later_step(folder: Path, records: Any, step: int, torn: bool):
    path = folder / "metrics.jsonl"
    path.unlink(missing_ok=True)
    write(path, sorted(records, key=lambda r: r["step"]))
    if torn:
        path.write_bytes(path.read_bytes() + b'{"kind": "tra')
    kept = [r for r in sorted(records, key=lambda r: r["step"]) if r["step"] <= step]
    assert rewind(path, step) == kept
    assert read(path) == kept
    write(path, [{"kind": "note", "text": "resumed"}])
    assert read(path) == [*kept, {"kind": "note", "text": "resumed"}]


def test_a_run_that_was_resumed_reads_like_one_that_was_not(tmp_path: Path):
    records = [{"kind": "train", "step": step, "loss": 1 / step} for step in range(1, 21)]
    write(tmp_path / "a", records)
    write(tmp_path / "b", records[:13])
    rewind(tmp_path / "b", 10)
    write(tmp_path / "b", records[10:])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert rewind(tmp_path / "none", 3) == []


def test_a_record_is_on_disk_at_once(tmp_path: Path):
    metrics = Metrics(tmp_path / "m")
    metrics.write({"kind": "note", "text": "line\nbreak \ud800"})
    assert [r["kind"] for r in read(tmp_path / "m")] == ["note"]


@pytest.mark.parametrize("wrong", [{"loss": float("nan")}, {"loss": float("inf")}, {"loss": object()}])
def test_only_json_is_written(tmp_path: Path, wrong: dict[str, Any]):
    metrics = Metrics(tmp_path / "m")
    with pytest.raises((ValueError, TypeError)):
        metrics.write({"kind": "train", "step": 1} | wrong)
    with pytest.raises(ValueError, match="needs a kind"):
        metrics.write({"step": 1})
    assert read(tmp_path / "m") == []


@pytest.mark.parametrize(
    "line", ["nothing", "[1]", '{"step": 1}', '{"kind": 3}', '{"kind": "train"}', "\x00" * 9, "[" * 9999]
)
def test_a_line_that_is_no_record(tmp_path: Path, line: str):
    path = tmp_path / "m"
    path.write_text('{"kind": "note"}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"m: line 2"):
        read(path)


def test_the_best_figure():
    steps = [{"kind": "train", "step": 1, "loss": 0.0}]
    assert best(steps) is None
    texts = [{"kind": "validation", "step": s, "loss": x, "bits_per_byte": 2 * x} for s, x in ((5, 3.0), (9, 2.0))]
    judged, value, step = best(steps + texts) or pytest.fail("no figure")
    assert (judged.text(value), judged.name, step) == ("4.000", "bits per byte", 9)
    dates = [{"kind": "validation", "step": s, "loss": s, "exact": x} for s, x in ((1, 0.5), (2, 0.993), (3, 0.993))]
    judged, value, step = best(dates) or pytest.fail("no figure")
    assert (judged.text(value), step) == ("99.30%", 2)
    assert figure([{"kind": "validation", "step": 1, "loss": 1.0}]).key == "loss"


def test_tensorboard_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in [n for n in sys.modules if n.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ValueError, match=r"cutaway\[track\]"):
        TensorBoard(tmp_path)


def test_tensorboard_gets_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said: list[tuple[Any, ...]] = []

    class Writer:
        def __init__(self, folder: str):
            said.append((folder,))

        def add_scalar(self, *words: Any) -> None:
            said.append(words)

        add_text = add_scalar

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", type("Fake", (), {"SummaryWriter": Writer}))
    board = TensorBoard(tmp_path)
    board.write({"kind": "train", "step": 3, "loss": 0.5, "rate": 0.1})
    board.write({"kind": "sample", "step": 3, "text": "def"})
    assert said == [(str(tmp_path),), ("train/loss", 0.5, 3), ("train/rate", 0.1, 3), ("sample", "def", 3)]
