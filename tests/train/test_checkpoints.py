"""Checkpoints that survive kills, failing disks, full disks and damage."""

import errno
import json
import os
import re
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from saving import Disk, python
from train import killed
from train.small import begin, corpus, quiet

from cutaway.train import checkpoints, run
from cutaway.train.checkpoints import folder_of, newest, steps
from cutaway.train.recipes import Saving
from cutaway.train.report.metrics import read
from cutaway.train.run import Run


@pytest.fixture
def text(tmp_path: Path) -> str:
    return corpus(tmp_path)


@pytest.fixture
def made(text: str, tmp_path: Path) -> Run:
    """A run of which 8 of 12 steps are done; there are checkpoints of steps 4 and 8."""
    made = begin(text, tmp_path / "runs" / "a")
    made.loop.run(until=8)
    return made


@pytest.mark.slow
def test_twenty_kills_cost_an_interval_each_at_most(tmp_path: Path) -> None:
    path = os.pathsep.join(filter(None, sys.path))
    found = json.loads(python(killed.__file__, tmp_path, 20, seconds=600, OMP_NUM_THREADS="1", PYTHONPATH=path))
    assert found["kills"] >= 20
    assert found["in a save"] > 0, "no kill hit a save, which this test is about"
    assert found["lost"]
    assert 0 <= min(found["lost"]) <= max(found["lost"]) <= killed.EVERY
    assert found["swept"] == [], "left after the next start"
    assert found["finished"] >= 1
    assert found["same"], "weights, memory or losses are not those of the uninterrupted run"


def finished(folder: Path) -> str:
    """The checksum of a run that was resumed and brought to its end."""
    made = run.resume(folder, quiet)
    made.go()
    return checkpoints.digest(made.loop.tensors())


def test_whichever_call_fails_the_checkpoint_before_is_used(made: Run, tmp_path: Path) -> None:
    made.loop.steps(9)
    with pytest.MonkeyPatch.context() as patch:
        calls = Disk(0, patch).calls
        shutil.rmtree(made.loop.save())
    assert {"open", "write", "close", "fsync", "rename", "mkdir"} == set(calls)
    there = sorted(p.name for p in made.folder.iterdir())
    for k, call in enumerate(calls, 1):
        with pytest.MonkeyPatch.context() as patch:
            Disk(k, patch)
            with pytest.raises(OSError, match="No space left") as caught:
                made.loop.save()
        assert caught.value.errno == errno.ENOSPC
        said = rf"{re.escape(str(folder_of(made.folder, 9)))} was not saved and is as it was before: .* \([\w.]+\)$"
        assert re.search(said, str(caught.value)), (k, call, str(caught.value))
        assert sorted(p.name for p in made.folder.iterdir()) == there, (k, call)
        assert newest(made.folder) == (folder_of(made.folder, 8), []), (k, call)
    whole = begin(str(tmp_path / "corpus.txt"), tmp_path / "runs" / "whole")
    whole.go()
    assert finished(made.folder) == checkpoints.digest(whole.loop.tensors())


@pytest.fixture
def small_disk() -> Iterator[None]:
    """A file of more than 20 kB cannot be written."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_stops_the_run_and_names_the_file(made: Run, small_disk: None) -> None:
    with pytest.raises(OSError, match=r"step_000012 was not saved and is as it was before: .*rank_00000\.safetensors"):
        made.go()
    assert steps(made.folder) == [4, 8]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
    assert run.resume(made.folder, quiet).go()["ended"] == "finished"


def test_a_metrics_file_that_cannot_be_written_is_named(made: Run, small_disk: None) -> None:
    with open(made.folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"kind": "note", "text": "x" * 15_000}) + "\n")
    with pytest.raises(OSError, match=r"File too large: '.*metrics\.jsonl'"):
        made.loop.tell({"kind": "note", "text": "y" * 5_000})


def cut(path: Path) -> None:
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 1)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["rank_00000.safetensors", "rank_00000.json", "state.json", "model/config.json"])
@pytest.mark.parametrize(
    ("harm", "said"),
    [(cut, "is damaged"), (flip, "is damaged"), (Path.unlink, "is missing")],
    ids=["cut", "bit", "gone"],
)
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(made: Run, name: str, harm, said: str) -> None:
    harm(folder_of(made.folder, 8) / name)
    told: list[str] = []
    again = run.resume(made.folder, told.append)
    assert told[0].startswith(f"left aside: {folder_of(made.folder, 8) / name} {said}")
    assert again.loop.progress.step == 4
    assert steps(made.folder) == [4]
    assert [r["step"] for r in read(made.folder / "metrics.jsonl")] == [1, 2, 3, 4]


def test_damage_changes_nothing_but_the_time(made: Run, text: str, tmp_path: Path) -> None:
    flip(folder_of(made.folder, 8) / "rank_00000.safetensors")
    whole = begin(text, tmp_path / "runs" / "whole")
    whole.go()
    assert finished(made.folder) == checkpoints.digest(whole.loop.tensors())


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]"], ids=["gone", "empty", "cut", "list"])
def test_a_checkpoint_without_a_manifest_is_none(made: Run, content: bytes | None) -> None:
    path = folder_of(made.folder, 8) / "manifest.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    found, complaints = newest(made.folder)
    assert found == folder_of(made.folder, 4)
    assert len(complaints) == 1
    assert complaints[0].startswith(f"{path} cannot be read: ")
    assert "\n" not in complaints[0]


def test_when_all_are_damaged_the_run_begins_anew(made: Run, text: str, tmp_path: Path) -> None:
    for step in (4, 8):
        cut(folder_of(made.folder, step) / "rank_00000.safetensors")
    told: list[str] = []
    again = run.resume(made.folder, told.append)
    assert [line.startswith("left aside: ") for line in told[:2]] == [True, True]
    assert "there is no checkpoint yet: starting from the beginning" in told
    assert again.loop.progress.step == 0
    assert steps(made.folder) == []
    whole = begin(text, tmp_path / "runs" / "whole")
    for one in (again, whole):
        one.go()
    assert checkpoints.digest(again.loop.tensors()) == checkpoints.digest(whole.loop.tensors())


@pytest.mark.parametrize(
    ("saving", "kept"),
    [(Saving(every=2, keep=1), [12]), (Saving(every=2, keep=3), [8, 10, 12]), (Saving(every=5, keep=2), [10, 12]),
     (Saving(every=0, keep=2), [12]), (Saving(every=2, keep=1, average=4), [6, 8, 10, 12])],
)  # fmt: skip
def test_the_newest_checkpoints_stay(saving: Saving, kept: list[int], text: str, tmp_path: Path) -> None:
    made = begin(text, tmp_path / "runs" / "a", save=saving)
    made.go()
    assert steps(made.folder) == kept


def test_leftovers_of_killed_processes_are_swept(made: Run) -> None:
    left = [
        made.folder / name
        for name in (".step_000012.abcdefgh.saving/new", ".ranks_000012", ".model.abcdefgh.saving/new")
    ]
    other = made.folder / "notes"
    for path in [*left, other]:
        path.mkdir(parents=True)
        (path / "half").touch()
    run.resume(made.folder, quiet)
    assert sorted(p.name for p in made.folder.iterdir() if p.name != ".lock") == [
        "metrics.jsonl", "notes", "recipe.json", "step_000004", "step_000008",
    ]  # fmt: skip


def test_a_checkpoint_holds_a_model_of_its_own(made: Run) -> None:
    import cutaway

    loaded = cutaway.load(folder_of(made.folder, 8) / "model").state_dict()
    trained = made.loop.model.state_dict()
    assert {n: t.tolist() for n, t in loaded.items()} == {n: t.tolist() for n, t in trained.items()}


def test_the_checksum_is_of_names_shapes_types_and_numbers() -> None:
    import torch

    base = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3])}
    same = {"b": torch.tensor([3]), "a": torch.tensor([1.0, 2.0])}
    others = [
        {**base, "a": torch.tensor([1.0, 2.0000002])}, {**base, "a": torch.tensor([[1.0, 2.0]])},
        {**base, "a": torch.tensor([1.0, 2.0]).view(torch.int32)}, {"c": base["a"], "b": base["b"]},
        {**base, "a": torch.tensor([-0.0, 2.0]) + torch.tensor([1.0, 0.0]), "b": torch.tensor([4])},
    ]  # fmt: skip
    digests = [checkpoints.digest(tensors) for tensors in (base, *others)]
    assert checkpoints.digest(same) == digests[0]
    assert len(set(digests)) == len(digests)
