"""A folder is replaced as a whole or not at all, whatever fails, whenever it is killed, whoever else saves."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import saving
from saving import CONFIG, Disk, checkpoint, python, save, version

from cutaway.storage import write_folder, write_json


def state(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_folder_is_made_and_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a" / "ckpt"
    save(folder, 1)
    assert version(folder) == 1
    (folder / "vocab.txt").touch()
    save(folder, 2)
    assert version(folder) == 2, "vocab.txt of the first save must be gone"
    assert os.listdir(folder.parent) == ["ckpt"]
    assert folder.stat().st_mode == folder.parent.stat().st_mode


def test_a_link_leads_to_the_folder_that_is_replaced(tmp_path: Path) -> None:
    save(tmp_path / "real", 1)
    (tmp_path / "link").symlink_to("real")
    save(tmp_path / "link", 2)
    assert (tmp_path / "link").is_symlink()
    assert version(tmp_path / "real") == 2


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(errno.EIO, "bad disk", "x/y.json")])
@pytest.mark.parametrize("before", [True, False])
def test_a_failing_block_changes_nothing(tmp_path: Path, error: BaseException, before: bool) -> None:
    folder = tmp_path / "ckpt"
    if before:
        save(folder, 1)

    def fill() -> None:
        with write_folder(folder) as new:
            (new / "config.json").write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        fill()
    assert os.listdir(tmp_path) == (["ckpt"] if before else [])
    if isinstance(error, OSError):
        assert str(caught.value) == f"[Errno 5] {folder} was not saved and is as it was before: bad disk (y.json)"


@pytest.mark.parametrize(
    ("holds", "what"),
    [
        ({"notes.txt": "mine"}, "its notes.txt belongs to no checkpoint"),
        ({"src/main.py": "mine"}, "its src/main.py belongs to no checkpoint"),
        ({"src/model.safetensors": "mine"}, "its src/model.safetensors belongs to no checkpoint"),
        ({"README.md": "mine"}, "its README.md belongs to no checkpoint"),
        ({"config.json": "{}"}, "it has no config.json with a model_type"),
        ({"config.json": "{"}, "config.json: line 1, column 2"),
    ],
)
def test_what_is_no_checkpoint_is_not_replaced(tmp_path: Path, holds: dict[str, str], what: str) -> None:
    folder = checkpoint(tmp_path / "ckpt", holds)
    before = state(tmp_path)
    with pytest.raises(ValueError, match=what.replace(".", r"\.")):
        save(folder, 1)
    assert state(tmp_path) == before


def test_vocabulary_alone_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "vocab.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"no config\.json with a model_type"):
        save(tmp_path / "words", 1)
    assert os.listdir(tmp_path / "words") == ["vocab.txt"]


def test_links_files_and_the_current_folder_are_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = checkpoint(tmp_path / "cached")
    (cached / "model.safetensors").symlink_to("/dev/null")
    with pytest.raises(ValueError, match=r"its model\.safetensors is a link"):
        save(cached, 1)
    with pytest.raises(ValueError, match="is a file"):
        save(cached / "config.json", 1)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for folder in (Path("."), Path("..")):
        with pytest.raises(ValueError, match="the current folder"):
            save(folder, 1)
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "empty", 1)
    assert version(tmp_path / "empty") == 1


def test_the_disk_is_named_when_it_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/ckpt was not saved and is as it was before: .* \(file\)") as caught:
        save(tmp_path / "file" / "ckpt", 1)
    assert isinstance(caught.value, NotADirectoryError | FileExistsError)


def test_all_is_on_disk_before_it_takes_its_place_and_the_place_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[int | str] = []
    sync, rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda file: (events.append(os.fstat(file).st_ino), sync(file)))
    monkeypatch.setattr(os, "rename", lambda a, b: (events.append("rename"), rename(a, b)))
    folder = tmp_path / "ckpt"
    save(folder, 1)
    written = {path.stat().st_ino for path in [folder, *folder.rglob("*")]}
    assert len(written) == 5
    assert set(events[: events.index("rename")]) == written
    assert events[events.index("rename") :] == ["rename", tmp_path.stat().st_ino]


# ---- fail at call k ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [True, False])
def test_whichever_call_fails_the_folder_is_as_it_was(tmp_path: Path, before: bool) -> None:
    folder, counting = tmp_path / "ckpt", tmp_path / "counting"
    for path in [counting, folder] if before else []:
        save(path, 1)
    with pytest.MonkeyPatch.context() as patch:
        calls = Disk(0, patch).calls
        save(counting, 2)
    shutil.rmtree(counting)
    assert {"open", "write", "close", "fsync", "rename", "mkdir"} == set(calls)
    for k in range(1, len(calls) + 1):
        with pytest.MonkeyPatch.context() as patch:
            Disk(k, patch)
            with pytest.raises(OSError, match="No space left") as caught:
                save(folder, 2)
        assert caught.value.errno == errno.ENOSPC
        assert f"{folder} was not saved and is as it was before" in str(caught.value)
        assert os.listdir(tmp_path) == (["ckpt"] if before else []), calls[k - 1]
        assert not before or version(folder) == 1, calls[k - 1]


def test_killed_at_any_call_the_folder_is_whole(tmp_path: Path) -> None:
    output = python(saving.__file__, "calls", tmp_path / "ckpt")
    before, after, restored = (int(line.split()[0]) for line in output.splitlines())
    assert before == after > 15
    assert restored > 0, "no kill hit the moment between the two renames, which this test is about"


def test_killed_at_any_moment_the_folder_is_whole(tmp_path: Path) -> None:
    output = python(saving.__file__, "moments", tmp_path / "ckpt", OMP_NUM_THREADS="1")
    assert int(output.split()[0]) > 0, "no kill hit a save, which this test is about"


def test_leftovers_are_told_from_saves_that_run_and_from_other_folders(tmp_path: Path) -> None:
    folder, dead = tmp_path / "ckpt", tmp_path / ".ckpt.abcdefgh.saving"
    others = [".other.abcdefgh.saving", ".ckpt.x.abcdefgh.saving", ".ckpt.abcdefgh", "ckpt.abcdefgh.saving"]
    for name in [dead.name, *others]:
        (tmp_path / name / "new").mkdir(parents=True)
    (tmp_path / ".ckpt.abcdefgi.saving").touch()
    with write_folder(folder) as first:
        write_json(first / "config.json", CONFIG)
        save(folder, 2)
        assert first.exists()
        assert not dead.exists()
    assert state(folder).keys() == {"config.json"}
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "ckpt", ".ckpt.abcdefgi.saving"])


def test_without_locks_a_save_works_and_clears_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    (tmp_path / ".ckpt.abcdefgh.saving").mkdir()
    monkeypatch.setattr("fcntl.flock", refuse)
    save(tmp_path / "ckpt", 1)
    assert version(tmp_path / "ckpt") == 1
    assert sorted(os.listdir(tmp_path)) == [".ckpt.abcdefgh.saving", "ckpt"]
