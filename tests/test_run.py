"""run.py takes an environment as it is only if a whole set-up ended there and nothing has changed since."""

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "run.py"


@pytest.fixture
def script(tmp_path: Path) -> ModuleType:
    """run.py in a folder of its own, with what a finished set-up leaves behind."""
    for name in ("run.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(SCRIPT.parent / name, tmp_path)
    spec = importlib.util.spec_from_file_location("script", tmp_path / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for package in ("torch-2.13.0.dist-info", "numpy-2.4.6.dist-info"):
        (module.PACKAGES / package).mkdir(parents=True)
    module.BIN.mkdir()
    module.PYTHON.symlink_to(sys.executable)
    finish(module, "")
    return module


def finish(script: ModuleType, extra: str) -> None:
    stamp = {"made from": script.wanted(), "extra": extra, "installed": script.installed()}
    script.STAMP.write_text(json.dumps(stamp))


def test_a_finished_set_up_is_used(script):
    assert script.ready("")
    (script.PACKAGES / "added-by-hand-1.0.dist-info").mkdir()
    assert script.ready("")


def test_the_tests_need_their_extra(script):
    assert not script.ready("test")
    finish(script, "test")
    assert script.ready("test")
    assert script.ready("")


@pytest.mark.parametrize(
    "harm",
    [
        lambda script: script.STAMP.unlink(),
        lambda script: script.STAMP.write_text('{"made from": '),
        lambda script: script.STAMP.write_text("{}"),
        lambda script: (script.PACKAGES / "torch-2.13.0.dist-info").rmdir(),
        lambda script: (script.PYTHON.unlink(), script.PYTHON.symlink_to("/no/such/python")),
        lambda script: shutil.rmtree(script.VENV),
    ],
    ids=["no-stamp", "half-stamp", "empty-stamp", "package", "python", "nothing"],
)
def test_what_is_not_whole_is_made_again(script, harm):
    harm(script)
    assert not script.ready("")
    assert script.stamp() is None


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("pyproject.toml", "jinja2>=3.1.6", "jinja2>=3.1.7"), ("constraints.txt", "rich==", "rich<")],
)
def test_other_requirements_are_installed_in_place(script, name, old, new):
    text = (script.ROOT / name).read_text()
    assert old in text
    (script.ROOT / name).write_text(text.replace(old, new))
    assert not script.ready("")
    assert script.stamp() is not None


def test_settings_of_tools_install_nothing(script):
    project = script.ROOT / "pyproject.toml"
    project.write_text(project.read_text() + "\n[tool.nothing]\nx = 1\n")
    assert script.ready("")


def test_a_moved_repository_is_set_up_again(script, tmp_path):
    script.ROOT = tmp_path / "moved"
    assert script.stamp() is None


def test_an_old_python_can_read_why_it_is_refused():
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))


def test_help_needs_no_set_up(tmp_path):
    shutil.copy(SCRIPT, tmp_path)
    done = subprocess.run([sys.executable, tmp_path / "run.py", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "python3 run.py test" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["run.py"]
