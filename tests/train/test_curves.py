"""Pictures of runs: well-formed, without scripts, and every point where its number says."""

import itertools
import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.train.report.axes import Axis, labels, spread
from cutaway.train.report.curves import MOST, picture, smooth, thinned

SVG = "{http://www.w3.org/2000/svg}"
NUMBER = r"(-?\d+(?:\.\d+)?)"


def run(losses: list[float], every: int = 5, exact: bool = False, rate: float | None = 0.5) -> list[dict[str, Any]]:
    """A record of training per loss, and a validation, 0.25 above, ``every`` steps."""
    records: list[dict[str, Any]] = []
    for step, loss in enumerate(losses, 1):
        here = {"step": step, "tokens": step * 100, "seconds": step * 0.5}
        records.append({"kind": "train", "loss": loss, **here})
        if step % every == 0:
            more = {} if rate is None else {"bits_per_byte": (loss + 0.25) * rate}
            more |= {"exact": step / len(losses)} if exact else {}
            records.append({"kind": "validation", "loss": loss + 0.25, **more, **here})
    return [*records, {"kind": "sample", "step": 1, "text": "def"}, {"kind": "note", "text": "x"}]


def of_class(root: ET.Element, name: str) -> list[ET.Element]:
    return [e for e in root.iter() if name in e.get("class", "").split()]


def ticks(root: ET.Element) -> tuple[Axis, Axis]:
    """Both axes of the first frame, as their numbers say."""
    number = lambda e: float((e.text or "").replace(",", "").replace("%", ""))
    frame = [e for e in root.iter(f"{SVG}text") if e.get("y") and re.fullmatch(r"[\d.,]+%?", e.text or "")]
    up = [e for e in frame if e.get("class") == "soft right"]
    flat = [e for e in frame if e.get("class") == "soft middle"]
    (a, b), (c, d) = (up[0], up[-1]), (flat[0], flat[-1])
    y = Axis(number(a), number(b), float(a.get("y", "")) - 4, float(b.get("y", "")) - 4)
    return Axis(number(c), number(d), float(c.get("x", "")), float(d.get("x", ""))), y


def line(element: ET.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(rf"[ML]{NUMBER} {NUMBER}", element.get("d", ""))]


def marks(root: ET.Element) -> list[tuple[float, float]]:
    """The places of the marks in the frames; those of the legend say nothing when pointed at."""
    return [line(e)[0] for e in of_class(root, "mark") if e.find(f"{SVG}title") is not None]


@pytest.mark.parametrize("across", ["step", "tokens", "seconds"])
def test_points_are_where_the_numbers_say(across: Any):
    records = run([4 - 0.1 * i for i in range(20)])
    root = ET.fromstring(picture({"a": records}, across=across))
    x, y = ticks(root)
    validation = [r for r in records if r["kind"] == "validation"]
    places = marks(root)
    assert len(places) == len(validation) == 4
    for (px, py), r in zip(places, validation, strict=True):
        assert px == pytest.approx(x(r[across]), abs=0.3)
        assert py == pytest.approx(y(r["bits_per_byte"]), abs=0.3)
    training = [r for r in records if r["kind"] == "train"]
    (drawn,) = [line(e) for e in of_class(root, "line") if e.get("clip-path") is None and len(line(e)) > 1]
    for (px, py), r in zip(drawn, training, strict=True):
        assert px == pytest.approx(x(r[across]), abs=0.3)
        assert py == pytest.approx(y(r["loss"] * 0.5), abs=0.3), "training in bits per byte, by validation's rate"


def test_an_axis_of_logarithms():
    records = run([4 - 0.01 * i for i in range(200)], every=50)
    root = ET.fromstring(picture({"a": records}, log=True))
    numbers = {
        float((e.text or "").replace(",", "")): float(e.get("x", ""))
        for e in of_class(root, "middle")
        if e.get("class") == "soft middle"
    }
    assert {1, 10, 100} <= numbers.keys()
    assert numbers[10] - numbers[1] == pytest.approx(numbers[100] - numbers[10], abs=0.3)
    decade = numbers[10] - numbers[1]
    assert [px for px, _ in marks(root)] == pytest.approx(
        [numbers[1] + decade * math.log10(step) for step in (50, 100, 150, 200)], abs=0.3
    )


def test_levels_and_their_labels():
    root = ET.fromstring(picture({"a": run([4.0, 3.0, 2.0, 1.5, 1.2])}, {"xz -9": 1.84, "3-gram <&>": 1.845}))
    _, y = ticks(root)
    heights = [float(re.findall(NUMBER, e.get("d", ""))[1]) for e in of_class(root, "level")]
    assert heights == pytest.approx([y(1.84), y(1.845)], abs=0.3)
    ends = of_class(root, "end")
    assert [e.text for e in ends] == ["xz -9 1.840", "3-gram <&> 1.845", "0.725"]
    places = sorted(float(e.get("y", "")) for e in ends)
    assert min(b - a for a, b in itertools.pairwise(places)) >= 13.9, "labels do not lie on each other"


def test_several_runs_differ_in_colour_and_shape():
    runs = {f"run {i}": run([3.0 + i, 2.0 + i, 1.5 + i], every=1) for i in range(8)}
    root = ET.fromstring(picture(runs, title="Eight <runs>"))
    legend = [e for e in of_class(root, "mark") if e.find(f"{SVG}title") is None]
    looks = [(e.get("class"), re.sub(rf"^M{NUMBER} {NUMBER}", "", e.get("d", ""))) for e in legend]
    assert len(set(looks)) == 8
    said = "".join(root.itertext())
    assert "Eight <runs>" in said
    assert all(f"run {i} · best bits per byte {(1.75 + i) / 2:.3f}" in said for i in range(8))
    assert {e.get("class") for e in of_class(root, "line")} == {f"line s{i}" for i in range(6)}


def test_exact_matches_have_a_frame_of_their_own():
    records = run([3.0 - 0.1 * i for i in range(20)], exact=True, rate=None)
    root = ET.fromstring(picture({"dates": records}, {"by hand": 0.9}))
    said = [e.text for e in root.iter(f"{SVG}text")]
    assert "loss (nats per token)" in said
    assert "exact match" in said
    assert "100%" in said
    assert "by hand 90.00%" in said
    assert len(marks(root)) == 8
    assert [x for x, _ in marks(root)[:4]] == [x for x, _ in marks(root)[4:]], "both frames have the same flat axis"
    assert len(of_class(root, "level")) == 1


def test_runs_without_a_common_figure_share_the_loss():
    root = ET.fromstring(picture({"a": run([3.0, 2.0], every=1), "b": run([3.0, 2.0], every=1, rate=None)}))
    _, y = ticks(root)
    assert sorted({round(py, 1) for _, py in marks(root)}) == pytest.approx([y(3.25), y(2.25)], abs=0.3)


def test_it_is_safe_and_follows_the_reader():
    name = 'x"><script>alert(1)</script>\x1b\ud800\ufffe\u202e'
    text = picture({name: run([2.0, 1.0])}, {name: 0.7}, title=name)
    root = ET.fromstring(text)
    assert {e.tag.removeprefix(SVG) for e in root.iter()} <= {
        "svg",
        "title",
        "style",
        "rect",
        "path",
        "text",
        "clipPath",
        "g",
    }
    assert "prefers-color-scheme:dark" in text
    assert text.encode("utf-8")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|\bon\w+=", text)


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="nothing to draw: a has no records with step"):
        picture({"a": [{"kind": "note", "text": "x"}]})
    with pytest.raises(ValueError, match="nothing to draw: no run"):
        picture({})


def test_what_is_not_finite_is_left_out():
    records = run([2.0, math.nan, 1.5, math.inf, 1.0], every=5)
    assert "nan" not in picture({"a": records})
    assert "inf" not in picture({"a": records}).replace("inside", "")


@given(
    losses=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80),
    every=st.integers(1, 9),
    log=st.booleans(),
    levels=st.dictionaries(st.text(max_size=30), st.floats(-1e6, 1e6), max_size=3),
)
def test_any_run_can_be_drawn(losses: list[float], every: int, log: bool, levels: dict[str, float]):
    root = ET.fromstring(picture({"a": run(losses, every, rate=None)}, levels, log=log))
    width, height = (float(n) for n in root.get("viewBox", "").split()[2:])
    assert all(0 <= x <= width and 0 <= y <= height for x, y in marks(root))
    texts = [(float(e.get("x", 0)), float(e.get("y", 0))) for e in root.iter(f"{SVG}text") if e.get("x")]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in texts)


@given(st.floats(-1e5, 1e5), st.floats(1e-3, 1e5), st.integers(2, 12))
def test_round_ticks(low: float, span: float, most: int):
    axis = Axis(low, low + span, 0, 1)
    found = axis.ticks(most)
    assert 1 <= len(found) <= most
    assert len(found) >= most / 2.5 - 1
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in found)
    assert len(set(labels(found))) == len(found)
    steps = {round((b - a) / 10.0 ** math.floor(math.log10(b - a) + 1e-6), 3) for a, b in itertools.pairwise(found)}
    assert steps <= {1.0, 2.0, 5.0}


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1, 100, [1, 2, 5, 10, 20, 50, 100]),
        (5, 1500, [5, 10, 20, 50, 100, 200, 500, 1000]),
        (1, 1e6, [1, 10, 100, 1e3, 1e4, 1e5, 1e6]),
        (30, 40, [30, 32, 34, 36, 38, 40]),
    ],
)
def test_ticks_of_logarithms(low: float, high: float, ticks: list[float]):
    assert Axis(low, high, 0, 1, True).ticks(8) == ticks


@given(st.lists(st.floats(0, 100), max_size=7))
def test_labels_are_spread(places: list[float]):
    found = spread(places, 14, 0, 100)
    order = sorted(found)
    assert all(b - a >= 14 - 1e-9 for a, b in itertools.pairwise(order))
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in found)
    assert [found.index(p) for p in order] == sorted(range(len(places)), key=lambda i: places[i])


def test_labels_far_apart_stay():
    assert spread([50.0, 10.0], 14, 0, 100) == [50.0, 10.0]


def test_smoothing_keeps_a_straight_line_and_the_last_point():
    straight = [(float(x), 2.0 * x) for x in range(1000)]
    assert max(abs(y - 2 * x) for x, y in smooth(straight)[:-6]) < 1e-9
    assert len(smooth(straight)) <= MOST
    assert thinned(straight)[-1] == straight[-1]
    noise = [(float(x), float(x % 2)) for x in range(1000)]
    assert max(abs(y - 0.5) for _, y in smooth(noise)[20:]) < 0.06
