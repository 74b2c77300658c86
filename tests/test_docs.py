"""Every code block of the README and the docs runs, and prints what it says it prints."""

import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
# The commands that set up an environment and run this very suite, or need a network: tried by tests of run.py.
SETTING_UP = re.compile(r"\$ (python3 run\.py|pip|git|cd|\.venv)\b")


def blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in BLOCK.findall(page.read_text()) if kind == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    for number, code in enumerate(blocks(page, "python")):
        if ">>>" in code:
            test = doctest.DocTestParser().get_doctest(code, names, f"{page.name}[{number}]", str(page), 0)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
            report: list[str] = []
            assert runner.run(test, out=report.append, clear_globs=False).failed == 0, "".join(report)
            names.update(test.globs)
        else:
            exec(compile(code, f"{page.name}[{number}]", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_console_blocks_print_what_they_show(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "console"):
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n?)*)", block, re.M):
            if SETTING_UP.match(f"$ {command}"):
                continue
            program, *words = shlex.split(command)
            assert program == "cutaway", f"{page.name} shows a command that no test runs: {command}"
            done = subprocess.run(
                [sys.executable, "-m", "cutaway.cli", *words], capture_output=True, text=True, cwd=tmp_path
            )
            assert done.returncode == 0, done.stderr
            printed = {" ".join(line.split()) for line in done.stdout.splitlines()}
            for line in filter(None, (" ".join(line.split()) for line in shown.splitlines())):
                assert line == "..." or line in printed, f"{command} printed\n{done.stdout}\nand not: {line}"


def test_there_is_something_to_run() -> None:
    assert sum(len(blocks(page, "python")) for page in PAGES) >= 10
