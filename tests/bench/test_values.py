"""What a benchmark is made of, without running one: works, peers, bounds, agreement, files, reports."""

import json
import struct
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cutaway.bench import bounds, gguf, picture, referee, report, works
from cutaway.bench.agreement import TOLERANCE, difference
from cutaway.bench.peers import PEERS, Entry, invited
from cutaway.bench.referee import Settings
from cutaway.bench.results import Measured, Result

DECODE = works.QUICK["decode"]
OURS, THEIRS = Entry("cutaway", "fp32"), Entry("llama.cpp", "fp32")
LIMITS = dict(fp32=1e11, bf16=2e11, int8=4e11, read=2e10, file=8e9)
SAME = difference(np.arange(4.0), np.arange(4.0), False)


def measured(**theirs: object) -> Measured:
    """A work with two contestants, theirs twice as slow as ours."""
    seconds = [1.0, 2.0, 3.0]
    peer = dict(seconds=[2.0, 4.0, 6.0], against=list(seconds), difference=SAME, peak=2**20) | theirs
    ours = Result(OURS, list(seconds), list(seconds), [0.1] * 3, [2.0, 4.0, 6.0], 2**21, SAME)
    return Measured(DECODE, [ours, Result(THEIRS, **peer)], [LIMITS] * 3)


def test_works_are_chosen_by_name_and_kind():
    assert {w.kind for w in works.chosen(["decode"])} == {"decode"}
    assert [w.name for w in works.chosen(["prefill-124m", "train"])] == ["prefill-124m", "train"]
    assert works.chosen([], quick=True) == list(works.QUICK.values())
    assert {w.kind for w in works.QUICK.values()} == {w.kind for w in works.WORKS.values()}


@pytest.mark.parametrize("name", [name for name, work in works.WORKS.items() if work.shape])
def test_shapes_say_what_contestants_read(name):
    work = works.WORKS[name]
    assert work.model.config.keys() >= {"vocab", "width", "depth", "heads"}
    assert works.QUICK[work.kind].model.config.keys() >= {"vocab", "width", "depth", "heads"}


@pytest.mark.parametrize(
    ("name", "said"), [("decod", "did you mean decode"), ("train-", "did you mean train"), ("xyz", "known: encode")]
)
def test_an_unknown_work_is_refused_with_the_nearest(name: str, said: str):
    with pytest.raises(ValueError, match=said):
        works.chosen([name])


def test_peers_are_invited_if_they_are_installed(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match=r"did you mean llama\.cpp"):
        invited(["llamacpp"])
    monkeypatch.setitem(PEERS, "plain", replace(PEERS["plain"], package="no_such_package"))
    here, missing = invited(["plain", "torch.nn"])
    assert list(here) == ["cutaway", "torch.nn"]
    assert missing == ["plain"]


@pytest.mark.parametrize("name", PEERS)
def test_the_table_of_peers_says_what_their_modules_do(name: str):
    peer = PEERS[name]
    module = import_module(f"cutaway.bench.contestants.{peer.module}")
    assert set(module.WORKS) == set(peer.does)
    assert ("prepare" in vars(module)) == (peer.converts or name == "cutaway")
    assert set(peer.variants) <= set(peer.does)


def test_every_work_has_a_peer_to_compare_with():
    for work in works.WORKS.values():
        entries = [e for name, peer in PEERS.items() for e in peer.entries(name, work)]
        assert entries[0] == OURS
        assert len({e.peer for e in entries}) > 1, work
        assert len({e.name for e in entries}) == len(entries)


def test_a_decode_step_is_bound_by_its_weights_and_cache():
    work = works.WORKS["decode-124m"]
    body, head = 12 * (4 * 768**2 + 3 * 768 * 2048), 50_257 * 768
    cache = 12 * 2 * 768 * (32 + 63 / 2)
    assert bounds.bound(work, "fp32") == bounds.Bound("read", 63 * 4 * (body + head + cache))
    assert bounds.bound(work, "int8") == bounds.Bound("read", 63 * (body + head + 2 * cache))
    assert bounds.bound(works.WORKS["import"], "fp32") is None
    assert bounds.bound(works.WORKS["load"], "fp32", 10**9).seconds(LIMITS) == pytest.approx(1 / 8)


def test_products_bind_prefill_and_training():
    prefill, train = works.WORKS["prefill-124m"], works.WORKS["train"]
    body, head = 12 * (4 * 768**2 + 3 * 768 * 2048), 50_257 * 768
    attended = 12 * 4 * 768 * 513 / 2
    assert bounds.bound(prefill, "bf16") == bounds.Bound("bf16", 512 * (2 * body + attended) + 2 * head)
    assert bounds.bound(prefill, "int4").limit == "int8"
    assert bounds.bound(train, "fp32").amount == pytest.approx(3 * 1024 * 2 * 124e6, rel=0.03)


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
def test_a_difference_is_in_standard_deviations(seed: int, size: float):
    random = np.random.default_rng(seed)
    reference = random.standard_normal((2, 500)) * 7 + 3
    found = difference(reference + 7 * size, reference, True)
    assert found.rms == pytest.approx(size * 7 / reference.std(), abs=1e-9)
    assert found.kl == pytest.approx(0.0, abs=1e-9), "a shift of all logits changes no probability"
    assert found.most >= found.rms - 1e-9
    assert difference(random.permutation(reference.T).T, reference, True).kl >= 0


def test_answers_that_are_not_numbers_or_not_the_same_shape_do_not_agree():
    reference = np.ones((1, 4))
    assert not difference(reference * np.nan, reference, False).within("int4")
    with pytest.raises(ValueError, match=r"\[4\], not \[1, 4\]"):
        difference(np.ones(4), reference, False)
    assert TOLERANCE["fp32"] < TOLERANCE["bf16"] < TOLERANCE["int8"] < TOLERANCE["int4"]


def test_ratios_are_taken_round_by_round():
    m = measured()
    assert m.results[1].ratios == [2.0, 2.0, 2.0]
    assert m.of_limit(m.results[0]) == pytest.approx(2 * m.of_limit(m.results[1]))
    assert report.kept(m.results[0]) == 0.5


@pytest.mark.parametrize(
    "wrong", [dict(difference=difference(np.arange(4.0), np.arange(4.0)[::-1], False)), dict(said="failed: gone")]
)
def test_there_is_no_ratio_where_answers_differ(wrong: dict[str, object]):
    m = measured(**wrong)
    assert m.results[1].ratios == []
    assert m.of_limit(m.results[1]) is None
    told = report.row(m, m.results[1])
    assert "differs" in told or "failed: gone" in told
    assert "Cutaway 2x" not in picture.picture([m], report.machine(Settings(1)))


def test_a_report_says_everything():
    m = measured()
    told = json.dumps(report.as_json([m], ["plain"], report.machine(Settings(3))), allow_nan=False)
    found = json.loads(told)
    assert found["about"]["threads"] == 3
    assert found["about"]["versions"]["torch"] == torch.__version__
    assert found["not_installed"] == ["plain"]
    ours, theirs = found["works"][0]["contestants"]
    assert theirs["ratio"] == [2.0, 2.0, 2.0]
    assert theirs["seconds"] == [2.0, 4.0, 6.0]
    assert ours["speed"][1] == 7 / 2.0
    assert report.row(m, m.results[1])[2] == "2x"
    drawn = picture.picture([m], found["about"])
    assert drawn.count('class="ours"') == drawn.count('class="peer"') == 1
    assert "Cutaway 2x" in drawn


def test_groups_are_by_precision_where_memory_is_short(monkeypatch: pytest.MonkeyPatch):
    ours, others = [Entry("cutaway", d) for d in ("fp32", "bf16")], [THEIRS, Entry("ctranslate2", "fp32")]
    assert referee.groups(DECODE, ours + others) == [ours + others]
    need = bounds.weight(DECODE, "fp32")
    monkeypatch.setattr(referee, "available", lambda: 3.1 * need / referee.SHARE)
    assert referee.groups(DECODE, ours + others) == [[ours[0], *others], [ours[1]]]
    monkeypatch.setattr(referee, "available", lambda: 1e9)
    assert referee.groups(DECODE, ours + others) == [[ours[0], others[0]], [ours[0], others[1]], [ours[1]]]


def test_rounds_in_several_groups_are_one_result():
    m, more = measured(), measured(peak=2**22, said="failed: gone")
    for result, other in zip(m.results, more.results, strict=True):
        result.extend(other)
    assert m.results[0].ratios == [1.0] * 6
    assert (m.results[1].peak, m.results[1].ratios, m.results[1].said) == (2**22, [], "failed: gone")


def test_gguf_turns_rotary_pairs_side_by_side():
    rows = torch.arange(8)[:, None]
    assert gguf.interleaved(rows, 2).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert gguf.renamed("model.layers.3.mlp.up_proj.weight") == "blk.3.ffn_up.weight"


def test_gguf_files_hold_what_was_given(tmp_path):
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(5)}
    gguf.write(tmp_path / "x.gguf", {"name": "x", "count": 3, "rate": 0.5}, tensors)
    data = (tmp_path / "x.gguf").read_bytes()
    assert struct.unpack("<4sIQQ", data[:24]) == (b"GGUF", 3, 2, 3)
    assert len(data) % gguf.ALIGN == 0
    assert data[-32:] == np.ones(5, np.float32).tobytes() + bytes(12)
    assert data[-64:-32] == np.arange(6, dtype=np.float32).tobytes() + bytes(8)
