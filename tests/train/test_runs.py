"""Run folders, whole and broken: what is listed, compared, and who trains in them."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cutaway
from cutaway.train.report.metrics import Metrics
from cutaway.train.report.runs import comparison, differences, find, held, holding, listing, look
from cutaway.train.report.tables import runs as command
from cutaway.train.report.wording import aligned, amount


def make(folder: Path, recipe: dict[str, Any], steps: int = 40, floor: float = 1.5) -> Path:
    """A run of which training is over, with its records and no result."""
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps(recipe))
    metrics = Metrics(folder / "metrics.jsonl")
    for step in range(10, steps + 1, 10):
        more = {"step": step, "loss": floor + 10 / step, "tokens": step * 1000, "seconds": step * 2.0}
        metrics.write({"kind": "train", "rate": 0.1, **more})
        metrics.write({"kind": "validation", "bits_per_byte": floor / 2 + 10 / step, **more})
    metrics.write({"kind": "note", "text": "end"})
    return folder


SMALL = {"model_type": "gpt2", "model": {"width": 32, "depth": 2}, "steps": 40, "seed": 0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``runs``: one finished, one stopped, one a different family."""
    model = cutaway.build("gpt2", vocab=61, width=32, depth=2, heads=4, length=48)
    cutaway.save(model, make(tmp_path / "runs" / "first", SMALL) / "model")
    model = cutaway.build("gpt2", vocab=61, width=32, depth=1, heads=4, length=48)
    second = make(tmp_path / "runs" / "second", SMALL | {"model": {"width": 32, "depth": 1}, "steps": 100}, 30, 1.2)
    cutaway.save(model, second / "step_000020" / "model")
    make(tmp_path / "runs" / "third", {"model_type": "llama", "model": {"width": 32, "theta": 1e4}, "steps": 40})
    return tmp_path / "runs"


def test_a_list_of_runs(folder: Path):
    assert listing(find([folder])) == (
        "run     model  parameters       step  tokens  time  best                 state\n"
        "first   gpt2         29 k         40    40 k  1:20  bits per byte 1.000  finished\n"
        "second  gpt2       16.3 k  30 of 100    30 k  1:00  bits per byte 0.933  stopped\n"
        "third   llama           -         40    40 k  1:20  bits per byte 1.000  stopped"
    )


def test_a_comparison(folder: Path):
    found = find([folder / "first", folder / "second", folder / "third"])
    assert differences(found) == {
        "model_type": ["gpt2", "gpt2", "llama"],
        "model.depth": [2, 1, None],
        "steps": [40, 100, 40],
        "seed": [0, 0, None],
        "model.theta": [None, None, 1e4],
    }
    assert comparison(found[:2]) == (
        "             first                second\n"
        "model.depth  2                    1\n"
        "steps        40                   100\n"
        "parameters   29 k                 16.3 k\n"
        "step         40                   30 of 100\n"
        "tokens       40 k                 30 k\n"
        "time         1:20                 1:00\n"
        "best         bits per byte 1.000  bits per byte 0.933\n"
        "at step      40                   30\n"
        "state        finished             stopped"
    )


def test_the_command(folder: Path, tmp_path: Path):
    assert command([folder]) == listing(find([folder]))
    picture = tmp_path / "compare.svg"
    both = [folder / "first", folder / "second"]
    assert command(both, picture) == comparison(find(both)) + f"\n\ncurves: {picture}"
    said = "".join(ET.parse(picture).getroot().itertext())
    assert "first · best bits per byte 1.000" in said
    assert "second · best bits per byte 0.933" in said
    assert command([folder / "first"]) == listing(find([folder / "first"]))


def test_no_runs(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        command([tmp_path / "none"])
    with pytest.raises(ValueError, match="there is no run in"):
        command([tmp_path])


def test_names_that_two_share(folder: Path):
    make(folder.parent / "others" / "first", SMALL)
    text = listing(find([folder, folder.parent / "others", folder / "first"]))
    assert text.count("first") == 2
    assert str(folder / "first") in text


def broken(folder: Path, how: str) -> None:
    metrics, recipe = folder / "metrics.jsonl", folder / "recipe.json"
    match how:
        case "no recipe":
            recipe.unlink()
        case "half a recipe":
            recipe.write_text(recipe.read_text()[:20])
        case "a bad line":
            metrics.write_bytes(b"\xff\n" + metrics.read_bytes())
        case "numbers that are none":
            metrics.write_text('{"kind": "train", "step": 1, "tokens": "many"}\n')
        case "nothing":
            metrics.unlink()
            recipe.unlink()
        case "a folder":
            recipe.unlink()
            recipe.mkdir()
        case "half a model":
            (folder / "model").mkdir()
            (folder / "model" / "model.safetensors").write_bytes(b"\x08")


@pytest.mark.parametrize(
    ("how", "state", "problem"),
    [
        ("no recipe", "unreadable", "No such file or directory: .*second/recipe.json"),
        ("half a recipe", "unreadable", r"recipe.json: line 1"),
        ("a bad line", "unreadable", r"metrics.jsonl: line 1"),
        ("numbers that are none", "unreadable", "tokens must be a number, got 'many'"),
        ("nothing", "unreadable", "recipe.json"),
        ("a folder", "unreadable", "Is a directory"),
        ("half a model", "finished", "^$"),
    ],
)
def test_broken_runs_are_listed(folder: Path, how: str, state: str, problem: str):
    import re

    broken(folder / "second", how)
    first, second, third = find([folder])
    assert second.state == state
    assert re.search(problem, second.problem)
    assert (first.state, third.state) == ("finished", "stopped")
    lines = listing([first, second, third]).split("\n")
    assert len(lines) == 4 + bool(second.problem)
    assert "second" in comparison([first, second])


def test_a_run_that_did_not_get_far(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text('{"model_type": "gpt2", "steps": 10}')
    run = look(tmp_path / "run")
    assert (run.state, run.step, run.results()) == ("stopped", 0, {"step": "0 of 10"})


@settings(max_examples=30)
@given(junk=st.binary(max_size=60), where=st.sampled_from(["recipe.json", "metrics.jsonl"]))
def test_looking_never_fails(tmp_path_factory: pytest.TempPathFactory, junk: bytes, where: str):
    folder = make(tmp_path_factory.mktemp("junk") / "run", SMALL)
    (folder / where).write_bytes(junk)
    listing([look(folder)])
    comparison([look(folder), look(folder)])


HOLD = """
import sys
from cutaway.train.report.runs import holding
with holding(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_who_trains_holds_the_folder(folder: Path):
    run = folder / "third"
    assert look(run).state == "stopped"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    assert look(run).state == "running"
    with pytest.raises(ValueError, match="another process trains in"), holding(run):
        pytest.fail("two processes train in one folder")
    other.kill()
    other.wait()
    other.stdin.close()
    other.stdout.close()
    assert look(run).state == "stopped"
    with holding(run):
        assert held(run)


def test_looking_does_not_keep_from_training(folder: Path):
    with open(folder / "third" / ".lock", "a"):
        assert not held(folder / "third")
        with holding(folder / "third"):
            assert look(folder / "third").state == "running"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (28_896, "28.9 k"),
        (999_600, "1 M"),
        (124_439_808, "124 M"),
        (175 * 10**9, "175 G"),
    ],
)
def test_amounts(count: int, text: str):
    assert amount(count) == text


def test_columns_stand_under_each_other():
    assert aligned([["a", "bb"], ["ccc", "d"]], {1}) == "a    bb\nccc   d"
    assert aligned([["日", "x"], ["abc", "y"]]) == "日   x\nabc  y"
