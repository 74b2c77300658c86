"""The live page in a real JupyterLab, and what of it stays in the notebook that was saved."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from looking.pages.serving import Watch, environment
from looking.pages.truth import Truth, like, near, share
from playwright.sync_api import FrameLocator, Page, expect

pytestmark = pytest.mark.slow
TEXT = "it was so tired"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, folders: Callable[[str], Path]) -> Iterator[tuple[str, Path]]:
    """A JupyterLab of its own, with a notebook of one cell; its address and the notebook."""
    place = tmp_path_factory.mktemp("lab")
    code = f"import cutaway\ncutaway.look(cutaway.load({str(folders('bert'))!r}), {TEXT!r})"
    cell = {"cell_type": "code", "id": "one", "metadata": {}, "source": code, "outputs": [], "execution_count": None}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = place / "book.ipynb"
    book.write_text(json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    own = {f"JUPYTER_{name}_DIR": str(place / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    words = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--port=0", "--IdentityProvider.token=key"),
        *(f"--ServerApp.root_dir={place}", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"),
        *(("--allow-root",) if os.geteuid() == 0 else ()),
    ]
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, env=environment() | own | {"IPYTHONDIR": str(place / "ipython")}
    )
    assert process.stderr is not None
    found = (re.search(r"http://127\.0\.0\.1:\d+/lab", line) for line in process.stderr)
    url = next(match[0] for match in found if match)  # its token is not printed
    rest = threading.Thread(target=process.stderr.read)  # so that it never waits to be read
    rest.start()
    yield f"{url}/tree/book.ipynb?token=key", book
    process.terminate()
    process.wait(30)
    rest.join(30)
    process.stderr.close()


def head(page: FrameLocator, truth: Truth) -> None:
    """The Head view of layer 1, head 0, at a cell that is chosen by keys."""
    page.get_by_role("navigation", name="Views").get_by_role("button", name="Head", exact=True).click()
    page.get_by_role("application", name="Attention as a matrix").press("ArrowRight")
    w = truth.seen.attention("layers.1.attention", 0)
    i = len(TEXT) - 1
    told = like("d", "→", "i", near(share, float(w[i, 0])))
    expect(page.locator("main .matrix + .readout")).to_have_text(told)


def test_in_a_notebook(page: Page, lab: tuple[str, Path], folders: Callable[[str], Path], watch: Watch) -> None:
    address, book = lab
    truth = Truth(folders("bert"), TEXT)
    page.goto(address)
    cell = page.locator(".jp-Notebook .jp-CodeCell").first
    cell.locator(".cm-content").click()
    kernel = page.locator("#jp-main-statusbar").get_by_text(re.compile(r"^Python 3 .*\| Idle$"))
    kernel.wait_for()  # JupyterLab drops a key that comes before; the notebook's own sign is idle without a kernel, too
    page.keyboard.press("Shift+Enter")
    live = page.frame_locator("iframe[title=Cutaway]")
    expect(live.get_by_role("contentinfo").get_by_role("option")).to_have_count(len(TEXT), timeout=90_000)
    assert len(list(page.frames)) >= 2
    head(live, truth)
    box = live.get_by_role("textbox", name="Text for the model")  # the saved page could not do this
    box.fill("so it was")
    box.press("Enter")
    expect(live.get_by_role("contentinfo").get_by_role("option")).to_have_count(9)
    first = truth.__class__(folders("bert"), "so it was").row("layers.1.attention", 0, 8)
    last = live.get_by_role("contentinfo").get_by_role("option").first
    expect(last).to_have_accessible_name(like("s", ",", near(share, first[0])))
    page.keyboard.press("Control+s")
    page.locator(".jp-Notebook").click(position={"x": 5, "y": 5})
    page.keyboard.press("Control+s")
    expect(page.locator(".jp-DirtyIndicator, .lm-TabBar-tab.jp-mod-dirty")).to_have_count(0)
    page.wait_for_function("() => !document.querySelector('.lm-mod-current.jp-mod-dirty')")
    watch.complaints.clear()  # JupyterLab's own
    (output,) = json.loads(book.read_text())["cells"][0]["outputs"]
    still = "".join(output["data"]["text/html"])
    assert "http://" not in re.sub(r"http://www\.w3\.org/\S+", "", still)
    page.goto("about:blank")  # JupyterLab would go on asking
    watch.complaints.clear()
    other = page.context.new_page()
    page.context.set_offline(True)
    other.set_content(still)
    saved = other.frame_locator("iframe")
    expect(saved.get_by_role("textbox", name="Text for the model")).to_be_disabled()
    head(saved, truth)
