"""What a recipe's data come to: which records are whose, what is made once, what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from train.small import corpus, quiet, recipe

from cutaway.data import Faults
from cutaway.families import vanilla
from cutaway.text import Tokenizer
from cutaway.train import material as module
from cutaway.train.material import Material, material
from cutaway.train.recipes import Batching, Data, Evaluation, Recipe, Tokens


def made(chosen: Recipe, place: Path, tokenizer: Tokenizer | None = None, told: list[str] | None = None) -> Material:
    return material(chosen, place / ".data", tokenizer, quiet if told is None else told.append)


def texts(found: Material, split: str) -> list[str]:
    shards = found.shards(split, quiet)
    return [found.tokenizer.decode(shards[i]["input"].tolist()) for i in range(len(shards))]


@pytest.fixture
def text(tmp_path: Path) -> str:
    return corpus(tmp_path, 100)


def pairs(folder: Path, count: int = 60) -> tuple[str, str]:
    """Words, and the same in capitals, in two files."""
    lines = [f"word {i} of {count}" for i in range(count)]
    for name, content in (("a.txt", lines), ("b.txt", [line.upper() for line in lines])):
        (folder / name).write_text("\n".join(content) + "\n")
    return str(folder / "a.txt"), str(folder / "b.txt")


def translating(where: tuple[str, ...], **more: object) -> Recipe:
    config = vanilla.Config(
        width=16, depth=1, decoder_depth=1, heads=2, decoder_heads=2, hidden=32, decoder_hidden=32, length=64
    )
    return recipe(
        "", model_type="marian", model=config, objective="seq2seq", data=Data(where, parallel=len(where) == 2),
        batch=Batching("bucketed", tokens=256, accumulate=2), **more,
    )  # fmt: skip


def test_every_twentieth_record_is_validation(text: str, tmp_path: Path) -> None:
    found = made(recipe(text), tmp_path)
    lines = Path(text).read_text().splitlines()
    end = found.tokenizer.decode([found.tokenizer.eos_token_id])
    assert [t.removesuffix(end) for t in texts(found, "validation")] == lines[19::20]
    assert [t.removesuffix(end) for t in texts(found, "train")] == [x for i, x in enumerate(lines) if i % 20 != 19]
    assert found.validation_bytes() == sum(map(len, lines[19::20]))


def test_of_one_long_text_the_last_twentieth_is_validation(text: str, tmp_path: Path) -> None:
    found = made(recipe(text, data=Data((text,))), tmp_path)
    (head,), (tail,) = ([r["input"] for r in split.records(Faults())] for split in (found.train, found.validation))
    assert head + tail == Path(text).read_text()
    assert head.endswith("\n")
    assert len(head + tail) / 20 <= len(tail) < len(head + tail) / 20 + 100


def test_few_pairs_are_not_divided(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"name some with --data\.validation"):
        made(translating(pairs(tmp_path, 5)), tmp_path)


def test_validation_of_its_own_takes_nothing_from_training(text: str, tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("one\ntwo\n")
    found = made(recipe(text, data=Data((text,), (str(tmp_path / "v.txt"),), unit="line")), tmp_path)
    assert len(found.shards("train", quiet)) == 100
    assert [r["input"] for r in found.unseen] == ["one", "two"]


def test_shards_are_found_again_unless_something_changed(text: str, tmp_path: Path) -> None:
    times = lambda: {p: p.stat().st_mtime_ns for p in (tmp_path / ".data").rglob("*.safetensors")}
    first = made(recipe(text), tmp_path).shards("train", quiet)
    before = times()
    again = made(recipe(text, steps=99, seed=7), tmp_path).shards("train", quiet)
    assert times() == before
    assert again.about == first.about
    longest = made(recipe(text, data=Data((text,), unit="line", longest=5)), tmp_path).shards("train", quiet)
    assert longest.total("input") < first.total("input")
    with open(text, "a") as file:
        file.write("a new line\n")
    made(recipe(text), tmp_path).shards("train", quiet)
    assert len(times()) == 3


def test_a_tokenizer_is_made_once_from_the_training_share_alone(text: str, tmp_path: Path) -> None:
    lines = Path(text).read_text().splitlines()
    lines[19] = "ξ ξ ξ"
    Path(text).write_text("\n".join(lines) + "\n")
    told: list[str] = []
    chosen = recipe(text, tokens=Tokens("characters", 200))
    found = made(chosen, tmp_path, told=told)
    assert told == ["making a tokenizer (characters, 200 tokens)"]
    made(chosen, tmp_path, told=told)
    assert len(told) == 1
    assert found.tokenizer.encode("q").ids != found.tokenizer.encode("j").ids
    assert found.tokenizer.encode("ξ").ids == found.tokenizer.encode("π").ids, "validation was read"


def test_a_finished_tokenizer_is_used(text: str, tmp_path: Path) -> None:
    Tokenizer.bytes().save(tmp_path / "tokens")
    (tmp_path / "tokens" / "config.json").write_text('{"model_type": "gpt2"}')
    found = made(recipe(text, tokens=Tokens(folder=str(tmp_path / "tokens"))), tmp_path)
    assert found.tokenizer.encode("ab").ids == Tokenizer.bytes().encode("ab").ids
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ValueError, match="none has no tokenizer"):
        made(recipe(text, tokens=Tokens(folder=str(tmp_path / "none"))), tmp_path)


def test_parallel_text(tmp_path: Path) -> None:
    found = made(translating(pairs(tmp_path)), tmp_path)
    shards = found.shards("train", quiet)
    assert len(shards) == 57
    clean = lambda ids: found.tokenizer.decode(ids.tolist(), skip_special=True)
    assert (clean(shards[3]["input"]), clean(shards[3]["target"])) == ("word 3 of 60", "WORD 3 OF 60")
    assert found.unseen[0] == {"input": "word 19 of 60", "target": "WORD 19 OF 60"}


def test_columns_of_tables(tmp_path: Path) -> None:
    rows = [{"body": f"text {i}", "title": "x"} for i in range(40)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    where = str(tmp_path / "t.jsonl")
    found = made(recipe(where, data=Data((where,), columns={"input": "body"})), tmp_path)
    assert [r["input"] for r in found.unseen] == ["text 19", "text 39"]
    with pytest.raises(ValueError, match=r"t\.jsonl: no column 'text'; there are body, title"):
        made(recipe(where, data=Data((where,)), tokens=Tokens("bytes")), tmp_path).shards("train", quiet)


def test_bad_lines_are_counted_once(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"text {i}"}) for i in range(60)]
    lines[7] = lines[30] = '{"text": '
    (tmp_path / "t.jsonl").write_text("\n".join(lines) + "\n")
    where = str(tmp_path / "t.jsonl")
    found = made(recipe(where, data=Data((where,), bad_lines=2)), tmp_path)
    sizes = [len(found.shards(split, quiet)) for split in ("train", "validation")]
    assert sizes == [56, 2]
    assert found.faults.count == 2
    assert str(found.faults.first[0]).startswith(f"{where}, line 8: not JSON")
    for allowed in (0, 1):
        with pytest.raises(ValueError, match=r"t\.jsonl, line (8|31): not JSON"):
            made(recipe(where, data=Data((where,), bad_lines=allowed)), tmp_path / str(allowed)).shards("train", quiet)


@pytest.mark.parametrize(
    ("data", "objective", "said"),
    [
        (Data(("stdlib", "x.txt")), "causal-lm", "stdlib cannot be mixed with other data, got stdlib, x.txt"),
        (Data(("dates", "stdlib")), "causal-lm", "dates cannot be mixed with other data"),
        (Data(("stdlib",)), "seq2seq", "stdlib has no column for 'target'"),
        (Data(("no-such.txt",)), "causal-lm", "no file no-such.txt"),
        (Data(("a.txt",), parallel=True), "seq2seq", "parallel text is two files, input and target, got 1: a.txt"),
        (Data(("stdlib",), ("no-such.txt",)), "causal-lm", "no file no-such.txt"),
    ],
)
def test_what_cannot_be_read_is_refused_before_anything_is_made(
    data: Data, objective: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = replace(recipe("x"), data=data, objective=objective)
    with pytest.raises(ValueError, match=said):
        made(chosen, tmp_path)
    assert not (tmp_path / ".data").exists()


def test_labels_need_shards_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"input": "a", "target": "b"}\n' * 40)
    chosen = replace(recipe(""), data=Data((str(tmp_path / "t.jsonl"),)), objective="sequence-classification")
    with pytest.raises(ValueError, match="needs labels beside the text"):
        made(chosen, tmp_path).shards("train", quiet)


def test_batches_are_of_the_recipes_kind_and_seed(text: str, tmp_path: Path) -> None:
    for kind in ("windows", "packed", "bucketed"):
        found = made(recipe(text, batch=Batching(kind, length=16, rows=2, tokens=64)), tmp_path)
        shards = found.shards("train", quiet)
        drawn = [found.batches("train", shards, seed)[0][0]["input"].tolist() for seed in (0, 1, 0)]
        assert drawn[0] == drawn[2] != drawn[1]
        assert type(found.batches("train", shards)).__name__ == kind.title()


def test_yardsticks_are_measured_once(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(recipe(text), tmp_path)
    told: list[str] = []
    first = found.yardsticks(told.append)
    assert set(first) == {"xz -9", "byte 5-gram"}
    assert len(told) == 1
    monkeypatch.setattr(module, "yardsticks", None)
    assert found.yardsticks(told.append) == first
    assert len(told) == 1


def test_the_unseen_are_as_many_as_are_to_be_written(text: str, tmp_path: Path) -> None:
    found = made(recipe(text, evaluate=Evaluation(exact=3)), tmp_path)
    assert [r["input"] for r in found.unseen] == [r["input"] for r in found.validation.records(Faults())][:3]


@given(st.text(), st.sampled_from(["\n", ""]))
def test_head_and_tail_make_the_text(text, end):
    """Nothing is lost or read twice, and a long text has both."""
    text += end
    head, tail = module.end_of(text, "head"), module.end_of(text, "tail")
    assert head + tail == text
    assert not len(text) >= 40 or (head and tail)


def test_one_long_text_is_divided(tmp_path):
    """A single file has no twentieth record: its end is validation."""
    path = tmp_path / "one.txt"
    path.write_text("".join(f"line {i}\n" for i in range(400)))
    found = made(recipe(str(path), data=Data((str(path),))), tmp_path)
    head, tail = ("".join(r["input"] for r in s.records(Faults())) for s in (found.train, found.validation))
    assert head + tail == path.read_text()
    assert 0.04 < len(tail) / len(head) < 0.06
