"""Ranks that are killed, and what becomes of the run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cutaway.train.ranks.supervise import supervise

HERE = Path(__file__).parent
RUN = """
import sys
from cutaway.train.ranks.supervise import supervise
sys.exit(supervise(sys.argv[3:], 2, int(sys.argv[2])))
"""


def start(script: Path, *words: str, restarts: int) -> "subprocess.Popen[str]":
    path = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-c", RUN, "run", str(restarts), str(script), *words]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_run_whose_rank_dies_is_started_again(tmp_path: Path) -> None:
    begun = time.monotonic()
    run = start(HERE / "dying.py", str(tmp_path), "1", restarts=1)
    told = run.communicate()[1]
    assert run.returncode == 0, told
    assert (tmp_path / "total").read_text() == "2"
    assert len(list(tmp_path.glob("attempt_*"))) == 2
    assert time.monotonic() - begun < 60, "the other rank waited for the dead one until its timeout"
    assert "run 1 of at most 2 ended" in told


def test_a_run_that_always_fails_ends(tmp_path: Path) -> None:
    script = tmp_path / "failing.py"
    script.write_text(
        f"import os, sys, tempfile; tempfile.mkdtemp(prefix=os.environ['RANK'], dir={str(tmp_path)!r}); sys.exit(3)"
    )
    run = start(script, restarts=1)
    told = run.communicate()[1]
    assert run.returncode == 1
    assert len(list(tmp_path.glob("0*"))) == 2
    assert "run 2 of at most 2 ended" in told


def test_what_never_began_is_not_tried_again(tmp_path: Path) -> None:
    script = tmp_path / "refusing.py"
    script.write_text(f"import sys, tempfile; tempfile.mkdtemp(prefix='tried', dir={str(tmp_path)!r}); sys.exit(2)")
    assert supervise([str(script)], 1, 3, lambda: False) == 1
    assert len(list(tmp_path.glob("tried*"))) == 1


def test_a_signal_is_passed_on_and_ends_it(tmp_path: Path) -> None:
    script = tmp_path / "waiting.py"
    script.write_text(
        f"from pathlib import Path; import signal; Path({str(tmp_path)!r}, 'here').touch(); signal.pause()"
    )
    run = start(script, restarts=5)
    while not (tmp_path / "here").exists():
        assert run.poll() is None
    run.send_signal(signal.SIGTERM)
    told = run.communicate()[1]
    assert run.returncode not in (0, None)
    assert "run 2" not in told


def test_numbers_that_make_no_sense_are_refused() -> None:
    for wrong in (dict(processes=0), dict(processes=1, restarts=-1)):
        with pytest.raises(ValueError, match="at least 1 process and 0 restarts"):
            supervise(["x"], **wrong)
