"""Benchmarks that run, small ones: what they find, what they refuse, that they leave nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cutaway.bench import works
from cutaway.bench.children import Busy, Child, FailedError
from cutaway.bench.contestants import Job, importing
from cutaway.bench.peers import Entry
from cutaway.cli import main


def test_a_run_measures_compares_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    files = dict(json=tmp_path / "all.json", picture=tmp_path / "all.svg", cache=tmp_path / "cache")
    words = ["bench", "--quick", "--works", "encode", "--peers", "torch.nn", "--repeats", "2", "--threads", "1"]
    code = main([*words, "--beside", *(word for name, path in files.items() for word in (f"--{name}", str(path)))])
    told = capsys.readouterr().out
    assert code == 0, told
    assert "torch.nn fp32" in told
    found = json.loads(files["json"].read_text())
    (work,) = found["works"]
    ours, theirs = work["contestants"]
    assert [ours["name"], theirs["name"]] == ["cutaway fp32", "torch.nn fp32"]
    assert ours["comparable"]
    assert theirs["comparable"]
    assert 0 < theirs["difference"]["rms"] < 1e-4, "the same numbers, by other kernels"
    assert all(len(c[key]) == 2 for c in (ours, theirs) for key in ("seconds", "beside"))
    assert all(limit > 1e7 for limits in work["limits"] for limit in limits.values())
    assert theirs["ratio"][0] > 0
    assert 2**25 < theirs["peak"] < 2**33
    assert files["picture"].read_text().count('class="peer"') == 1
    assert (files["cache"] / "bert-tiny" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--works", "decoed"], "no work 'decoed'; did you mean decode?"),
        (["--peers", "ctranslate3"], "no peer 'ctranslate3'; did you mean ctranslate2?"),
        (["--threads", "0"], "--threads is at least 1, got 0"),
    ],
)
def test_what_is_not_known_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "--quick", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_contestant_that_fails_says_why(tmp_path: Path):
    job = Job(works.QUICK["encode"], Entry("torch.nn", "fp32"), tmp_path / "nothing", 1)
    with Child(job) as child:
        with pytest.raises(FailedError, match="nothing"):
            child.ask("load")
        with pytest.raises(FailedError):
            child.ask("turn")
    assert child.process.returncode is not None


def test_a_contestant_that_the_system_ended_says_so(tmp_path: Path):
    with Child(Job(works.QUICK["encode"], Entry("torch.nn", "fp32"), tmp_path, 1)) as child:
        child.process.kill()
        with pytest.raises(FailedError, match="ended by SIGKILL, as a system does that has no memory left"):
            child.hear()


def test_importing_is_done_in_a_fresh_python(tmp_path: Path):
    job = Job(works.QUICK["import"], Entry("cutaway", "fp32"), tmp_path, 1)
    act = importing(f"open({str(tmp_path / 'here')!r}, 'w')")(job)
    act.turn(lambda: None)
    assert (tmp_path / "here").exists()
    with pytest.raises(subprocess.CalledProcessError):
        importing("import no_such_module")(job).turn(lambda: None)


def ticks(pid: int) -> int:
    """The time that a process has had, in hundredths of a second."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))


def test_the_busy_process_is_busy_when_told_and_ends():
    with Busy() as busy:
        pid = busy.process.pid
        with busy.going():
            until = time.monotonic() + 120
            while ticks(pid) < 20:
                assert time.monotonic() < until
        assert busy.process.poll() is None
    assert busy.process.returncode is not None


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_takes_all_with_it(sent: signal.Signals, code: int, tmp_path: Path):
    words = [sys.executable, "-m", "cutaway.cli", "bench", "--quick", "--works", "encode", "--peers", "torch.nn"]
    source = str(Path(works.__file__).parents[2])
    run = subprocess.Popen(
        words, env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": source},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    own = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    until = time.monotonic() + 120
    while not (started := own.read_text().split()):
        assert time.monotonic() < until
    run.send_signal(sent)
    run.communicate()
    assert run.returncode == code
    assert list(tmp_path.iterdir()) == []
    while any(Path(f"/proc/{pid}").exists() for pid in started):  # who was being started ends when nobody speaks to it
        assert time.monotonic() < until
