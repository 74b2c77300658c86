"""The address names the place: it is written, it is read, it goes back; and all of it by keys alone."""

import re
from typing import Any
from urllib.parse import quote_plus

import pytest
import torch
from looking.pages.serving import Go, Server, Watch
from looking.pages.truth import Truth, like, near, share, visible
from playwright.sync_api import Browser, BrowserContext, Page, expect

from cutaway.looking.edits import edit

TEXT = "the cat sat on it"
PLACES: dict[str, dict[str, Any]] = {
    "head": dict(site="layers.0.attention", head=1, i=12, j=5, mode="scores"),
    "heads": dict(site="layers.0.attention", head=2, i=3, sort="distance", show="scatter"),
    "map": dict(
        site="layers.0.attention", head=1, i=12, j=5, ch="max", scale="linear", pal="grey", x=3.5, y=9.25, z=-4.5
    ),
    "walk": dict(site="layers.0.attention", head=1, i=12, j=5, T=0.5),
    "lens": dict(site="layers.0.attention", head=1, i=12, by="kl", l=1),
    "next": dict(site="layers.0.attention", i=12, T=0.7, k=10, tp=0.9),
    "compare": {"site": "layers.0.attention", "i": 12, "with": "head", "site2": "layers.1.attention", "head2": 2},
    "edit": dict(
        site="layers.0.attention", i=12, off="layers.1.attention:0,2", cut="layers.0.attention:1:12-5", how="mean"
    ),
    "training": dict(site="layers.0.attention", i=12, y="log", score="rare", step=6),
}


SAID = """() => [...document.querySelectorAll('main, .shell > footer')].map(e => e.innerText).join('\\n') +
  [...document.querySelectorAll('main input, main select')].map(e => e.value + e.checked).join()"""


# The same twice in a row: a line that follows the map is written a frame after it.
RESTS = f"() => {{ const now = ({SAID})(), same = window.said === now; window.said = now; return same; }}"


def snapshot(page: Page) -> str:
    """What the view says, once it has come to rest."""
    expect(page.get_by_role("contentinfo")).to_be_visible()
    expect(page.locator("main progress, main [aria-busy=true]")).to_have_count(0)
    page.wait_for_function(RESTS, polling=300)
    text: str = page.evaluate(SAID)
    return text


@pytest.mark.parametrize("view", PLACES)
def test_an_address_brings_it_all_back(page: Page, go: Go, view: str) -> None:
    go("run", view, **PLACES[view])
    expect(page.locator("main h1")).to_be_visible()
    before, address = snapshot(page), page.url
    for name, value in PLACES[view].items():
        assert re.search(rf"[?&]{name}={re.escape(quote_plus(str(value)))}(&|$)", address)
    page.reload()
    page.wait_for_function(f"text => ({SAID})() === text", arg=before)
    assert page.url == address
    go("run", view, site="layers.1.attention", i=2)
    expect(page.get_by_role("contentinfo").locator("p").first).to_contain_text("layer 1")
    assert snapshot(page) != before  # the address matters


def test_back_and_forth(page: Page, go: Go) -> None:
    go("run", "overview", i=4)
    for name, title in (("Head", "Head"), ("Map", "Map")):
        page.get_by_role("navigation", name="Views").get_by_role("button", name=name, exact=True).click()
        expect(page.locator("main h1")).to_have_text(title)
    page.go_back()
    expect(page.locator("main h1")).to_have_text("Head")
    expect(page).to_have_title(re.compile("^Head"))
    page.go_back()
    expect(page.locator("main h1")).to_have_text("Overview")
    page.go_forward()
    expect(page.locator("main h1")).to_have_text("Head")
    expect(page).to_have_url(re.compile("i=4"))


def test_what_does_not_exist_becomes_the_nearest_that_does(page: Page, go: Go) -> None:
    go("run", "head", site="layers.9.attention", head=99, i=999, j=999)
    expect(page.get_by_role("contentinfo").locator("p").first).to_contain_text("layer 1 · head 2")
    expect(page.locator("main .matrix + .readout")).to_have_text(re.compile(r"^t → t "))
    go("run", "nonsense")
    expect(page.locator("main h1")).to_have_text("Overview")


def test_the_link_is_copied(page: Page, go: Go, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    go("run", "head", site="layers.0.attention", head=1, i=12, j=5)
    expect(page.locator("main .matrix + .readout")).to_contain_text("→")
    page.keyboard.press("c")
    expect(page.get_by_role("status").filter(has_text="Link copied")).to_be_attached()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.url
    assert "token" not in copied


def test_by_keys_alone(page: Page, go: Go, serve) -> None:  # type: ignore[no-untyped-def]
    """From the text box to a head, a key, an edit, and back: no pointer."""
    server: Server = serve("run")
    go("run", "overview")
    expect(page.get_by_role("list", name="Heads, strongest first")).to_be_visible()
    press = page.keyboard.press
    press("Tab")
    expect(page.get_by_role("button", name="Skip to the view")).to_be_focused()
    box = page.get_by_role("textbox", name="Text for the model")
    press("Tab")
    press("Tab")
    expect(box).to_be_focused()
    press("ControlOrMeta+a")
    page.keyboard.type("the dog ran to it")
    press("Enter")
    expect(page.get_by_role("contentinfo").get_by_role("option")).to_have_text(
        [like(visible(x)) for x in "the dog ran to it"]
    )
    truth = Truth(server.folder, "the dog ran to it")
    press("Tab")
    expect(page.get_by_role("button", name="Run")).to_be_focused()
    press("4")  # out of the text box, single keys count: the fourth view
    expect(page.locator("main h1")).to_have_text("Head")
    press("[")
    press(".")
    expect(page.get_by_role("contentinfo").locator("p").first).to_contain_text("layer 0 · head 1")
    press("ArrowLeft")
    press("ArrowLeft")
    for _ in range(4):
        press("Shift+ArrowRight")
    i, j = 14, 3
    w = truth.seen.attention("layers.0.attention", 1)
    readout = page.locator("main .matrix + .readout")
    expect(readout).to_have_text(like("␣", "→", "␣", near(share, float(w[i, j]))))
    press("m")
    expect(page.get_by_role("radio", name="Scores")).to_be_checked()
    press("s")
    expect(page.get_by_role("radio", name="Without the sink")).to_be_checked()
    # within the matrix, the arrows move the cell
    matrix = page.get_by_role("application", name="Attention as a matrix")
    for _ in range(40):
        press("Tab")
        if matrix.evaluate("e => e === document.activeElement"):
            break
    expect(matrix).to_be_focused()
    press("ArrowUp")
    press("ArrowLeft")
    expect(page).to_have_url(re.compile("i=13&j=2"))
    # the edit, by the inspector's button
    cut = page.get_by_role("button", name="Cut it")
    for _ in range(40):
        press("Tab")
        if cut.evaluate("e => e === document.activeElement"):
            break
    expect(cut).to_be_focused()
    press("Enter")
    expect(page.locator("main h1")).to_have_text("Edit")
    with torch.no_grad(), edit(truth.model) as e:
        e.cut("layers.0.attention", [1], [13], [2])
        after = truth.model(input_ids=torch.tensor([truth.ids])).logits[0, 13].softmax(-1)
    kl = float((truth.next(13) * (truth.next(13) / after).log()).sum())
    told = page.locator("dt", has_text="KL here").locator("xpath=following-sibling::dd[1]")
    expect(told).to_have_text(like(near(share, kl), "nats"))
    press("4")
    expect(page.locator("main h1")).to_have_text("Head")
    press("1")
    expect(page.locator("main h1")).to_have_text("Overview")


def test_letters_can_be_switched_off(page: Page, go: Go) -> None:
    """Single-letter keys are in the way of those who speak to their machine."""
    go("run", "head", site="layers.0.attention")
    expect(page.locator("main .matrix + .readout")).to_be_visible()
    page.keyboard.press("?")
    page.get_by_role("dialog").get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.keyboard.press("]")
    page.keyboard.press("ArrowRight")  # arrows still do
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("main h1")).to_have_text("Head")
    expect(page).to_have_url(re.compile("site=layers.0.attention"))
    page.get_by_role("button", name="Help and keys").click()
    page.get_by_role("dialog").get_by_role("checkbox").check()


@pytest.mark.parametrize("letters", ["123456789"])
def test_numbers_open_the_views(page: Page, go: Go, letters: str) -> None:
    titles = ["Overview", "Tokens", "Heads", "Head", "Map", "Walk-through", "Lens", "Next", "Roles"]
    go("run", "training")
    expect(page.locator("main h1")).to_have_text("Training")
    for key, title in zip(letters, titles, strict=True):
        page.keyboard.press(key)
        expect(page.locator("main h1")).to_have_text(title)


def test_without_the_network_what_is_there_stays(page: Page, go: Go, context: BrowserContext, watch: Watch) -> None:
    go("run", "head", site="layers.1.attention", head=2, i=9, j=4)
    readout = page.locator("main .matrix + .readout")
    expect(readout).to_have_text(re.compile(r"\d"))
    before = readout.inner_text()
    context.set_offline(True)
    page.get_by_role("application", name="Attention as a matrix").press("ArrowRight")  # known already: the map is here
    expect(readout).not_to_have_text(before)
    page.keyboard.press("m")  # must be asked
    banner = page.locator(".banner").filter(has_text="Nobody answers")
    expect(banner).to_be_visible()
    expect(page.get_by_role("contentinfo").get_by_role("option")).to_have_count(len(TEXT))
    context.set_offline(False)
    expect(banner).to_have_count(0)
    expect(page.locator("main .matrix + .readout")).to_be_visible()
    told = [complaint for complaint in watch.complaints if "ERR_INTERNET_DISCONNECTED" not in complaint]
    watch.complaints[:] = told


def test_a_place_for_everybody(browser: Browser, go: Go, page: Page) -> None:
    """Two pages of one server do not disturb each other."""
    go("run", "head", i=3)
    other = page.context.new_page()
    other.goto(page.url.replace("i=3", "i=7"))
    expect(other.get_by_role("contentinfo").get_by_role("option", selected=True)).to_have_attribute("data-n", "7")
    expect(page.get_by_role("contentinfo").get_by_role("option", selected=True)).to_have_attribute("data-n", "3")
