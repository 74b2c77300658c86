"""Shards: what was written is read, only whole files count, and they are written again when something changed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from data.corpora import Given, Numbers, shards, spelled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from cutaway.data import Dates, Encode, Faults, Ragged, Shards, index, source, write, write_part, write_shard
from cutaway.text import Tokenizer
from cutaway.text.training import train

FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
ROWS = st.lists(st.lists(st.integers(0, 59_999), max_size=12), min_size=1, max_size=40)


@given(rows=ROWS, tokens=st.integers(1, 60), data=st.data())
@FOLDER
def test_what_is_written_is_read(tmp_path: Path, rows: list[list[int]], tokens: int, data: st.DataObject):
    found = write(tmp_path / "s", Given(spelled(rows)), Numbers(), tokens=tokens)
    assert len(found) == len(rows)
    assert [found[i]["input"].tolist() for i in range(len(rows))] == rows
    assert found.lengths("input").tolist() == [len(row) for row in rows]
    flat = [number for row in rows for number in row]
    assert found.total("input") == len(flat)
    start = data.draw(st.integers(0, len(flat)))
    stop = data.draw(st.integers(start, len(flat)))
    assert found.span("input", start, stop).tolist() == flat[start:stop]
    found.verify()


def test_documents_are_spread_over_shards(tmp_path: Path):
    found = write(tmp_path, Given(spelled([[n] * 10 for n in range(3000)])), Numbers(), tokens=5_000)
    assert len(found.about["files"]) == 3
    assert found.span("input", 10_235, 10_245).tolist() == [1023] * 5 + [1024] * 5


def test_a_shard_is_a_safetensors_file(tmp_path: Path):
    shards(tmp_path, [2, 0, 3])
    found = load_file(tmp_path / "shard-00000.safetensors")
    assert {name: (tensor.dtype, tensor.tolist()) for name, tensor in found.items()} == {
        "input.values": (torch.uint16, [1, 2, 3, 4, 5]),
        "input.offsets": (torch.int64, [0, 2, 2, 5]),
    }
    about = json.loads((tmp_path / "shards.json").read_text())
    assert about["files"][0]["documents"] == 3
    assert about["files"][0]["tokens"] == {"input": 5}


@pytest.mark.parametrize(("vocab", "dtype"), [(65_535, torch.uint16), (65_536, torch.uint32), (2**31, torch.uint32)])
def test_large_vocabularies_take_four_bytes(tmp_path: Path, vocab: int, dtype: torch.dtype):
    found = write(tmp_path, Given(spelled([[0, vocab - 1]])), Numbers(vocab))
    assert load_file(tmp_path / "shard-00000.safetensors")["input.values"].dtype == dtype
    assert found[0]["input"].tolist() == [0, vocab - 1]


def test_a_number_beyond_the_vocabulary_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="column 'input' has the number 7; its vocabulary has 7"):
        write(tmp_path, Given(spelled([[1, 7]])), Numbers(7))
    assert not [*tmp_path.iterdir()]


def test_nothing_to_write_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="there is no record; no bad lines"):
        write(tmp_path, Given([]), Numbers())


def test_places_that_there_are_not(tmp_path: Path):
    found = shards(tmp_path, [3, 4])
    with pytest.raises(IndexError, match="no document 2; there are 2"):
        found[2]
    with pytest.raises(IndexError, match="no span 5 to 8"):
        found.span("input", 5, 8)
    with pytest.raises(ValueError, match="no column 'target'; there are input"):
        found.total("target")


def test_shards_stay_as_long_as_nothing_changed(tmp_path: Path):
    records = Given(spelled([[1, 2], [3]]))
    write(tmp_path, records, Numbers())
    stamp = (tmp_path / "shard-00000.safetensors").stat().st_mtime_ns
    assert len(write(tmp_path, records, Numbers())) == 2
    assert (records.asked, (tmp_path / "shard-00000.safetensors").stat().st_mtime_ns) == (1, stamp)
    assert write(tmp_path, Given(spelled([[1, 2], [4]])), Numbers())[1]["input"].tolist() == [4]
    write(tmp_path, records, Numbers(70_000))
    assert load_file(tmp_path / "shard-00000.safetensors")["input.values"].dtype == torch.uint32
    write(tmp_path, Given(spelled([[1]] * 1100)), Numbers(), tokens=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "shard-00000.safetensors", "shard-00001.safetensors", "shards.json",
    ]  # fmt: skip
    write(tmp_path, records, Numbers())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shard-00000.safetensors", "shards.json"]


def test_files_settings_and_tokenizer_are_what_shards_are_made_from(tmp_path: Path):
    (tmp_path / "a.txt").write_text("one two\n")
    asked = []
    tokenizers = [train(["one two"], "bpe", 262), train(["one two"] * 9, "bpe", 265)]

    def written(**settings: object) -> int:
        encode = Encode(**{"tokenizer": tokenizers[0]} | settings)
        write(tmp_path / "s", source(str(tmp_path / "a.txt")), encode, progress=lambda *done: asked.append(done))
        return len(asked)

    assert (written(), written()) == (1, 1)
    assert written(tokenizer=tokenizers[1]) == 2
    assert written(tokenizer=tokenizers[1], longest=3) == 3
    assert written(tokenizer=tokenizers[1], longest=3, end=False) == 4
    os.utime(tmp_path / "a.txt", ns=(5, 5))
    assert written(tokenizer=tokenizers[1], longest=3, end=False) == 5


def test_damage_is_found(tmp_path: Path):
    shards(tmp_path, [30, 30, 30])
    path = tmp_path / "shard-00000.safetensors"
    blob = path.read_bytes()
    path.write_bytes(blob[:-1] + bytes([blob[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"shard-00000\.safetensors is damaged: its sha256 differs"):
        Shards(tmp_path).verify()
    path.write_bytes(blob[:-2])
    with pytest.raises(ValueError, match=rf"shard-00000\.safetensors: {len(blob) - 2} bytes, expected {len(blob)}"):
        Shards(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"shard-00000\.safetensors is missing; shards\.json names it"):
        Shards(tmp_path)
    (tmp_path / "shards.json").unlink()
    with pytest.raises(ValueError, match=r"has no shards\.json: its shards were never finished"):
        Shards(tmp_path)


def test_an_index_of_another_format_is_refused(tmp_path: Path):
    shards(tmp_path, [3])
    (tmp_path / "shards.json").write_text('{"format": "cutaway shards 9"}')
    with pytest.raises(ValueError, match="format is 'cutaway shards 9', expected 'cutaway shards 1'"):
        Shards(tmp_path)


@pytest.mark.parametrize("when", range(8))
def test_writing_that_fails_leaves_no_whole(tmp_path: Path, when: int, monkeypatch: pytest.MonkeyPatch):
    """The disk fails at each call that makes things last; what was there before is not taken for what was wanted."""
    wanted = Given(spelled([[n] * 30 for n in range(1200)]))
    write(tmp_path, Given(spelled([[5]])), Numbers())
    calls = iter(range(100))

    def failing(real: object) -> object:
        def call(*arguments: object) -> object:
            if next(calls) == when:
                raise OSError(28, "No space left on device")
            return real(*arguments)

        return call

    monkeypatch.setattr(os, "fsync", failing(os.fsync))
    monkeypatch.setattr(os, "replace", failing(os.replace))
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, wanted, Numbers(), tokens=20_000)
    monkeypatch.undo()
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".new"]
    with pytest.raises(ValueError, match="never finished"):
        Shards(tmp_path)
    assert len(write(tmp_path, wanted, Numbers(), tokens=20_000)) == 1200


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from data.corpora import Given, Numbers, spelled
from cutaway.data import write
print("ready", flush=True)
write({folder!r}, Given(spelled([[n] * 40 for n in range(20_000)])), Numbers(), tokens=20_000)
"""


def test_a_killed_writer_leaves_no_whole(tmp_path: Path):
    code = KILLED.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    while not (some := sorted(tmp_path.glob("*.safetensors"))) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert some
    with pytest.raises(ValueError, match="never finished"):
        Shards(tmp_path)
    assert len(shards(tmp_path, [3, 4])) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shard-00000.safetensors", "shards.json"]


def test_workers_write_their_own_files(tmp_path: Path):
    rows = [[n, n + 1] for n in range(10)]
    for worker in (1, 0):
        write_part(tmp_path, spelled(rows[worker::2]), Numbers(), name=f"part-{worker}", tokens=6)
    with pytest.raises(ValueError, match="never finished"):
        Shards(tmp_path)
    with pytest.raises(ValueError, match=r"has 2 shards .*, expected 3"):
        index(tmp_path, files=3)
    found = index(tmp_path, files=2)
    assert [found[i]["input"].tolist() for i in range(10)] == rows[::2] + rows[1::2]
    write_part(tmp_path, spelled(rows[1::2]), Numbers(), name="part-1", tokens=6)
    found.verify()


def test_shards_of_another_engine_are_checked(tmp_path: Path):
    good = {"input.values": torch.arange(5, dtype=torch.int32), "input.offsets": torch.tensor([0, 2, 5])}
    save_file(good, tmp_path / "a.safetensors")
    assert index(tmp_path)[1]["input"].tolist() == [2, 3, 4]
    for wrong in ([0, 2, 4], [1, 5], [0, 3, 2, 5], []):
        save_file(good | {"input.offsets": torch.tensor(wrong, dtype=torch.int64)}, tmp_path / "a.safetensors")
        with pytest.raises(ValueError, match="offsets of 'input' must be int64, from 0 up"):
            index(tmp_path)
    save_file({"weight": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"a\.safetensors is no shard: it has weight"):
        index(tmp_path)
    save_file(good, tmp_path / "a.safetensors")
    two = {
        f"target.{name}": tensor for name, tensor in (("values", torch.arange(3)), ("offsets", torch.tensor([0, 3])))
    }
    save_file(good | two, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="different numbers of documents"):
        index(tmp_path)
    save_file(two, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=r"has the columns target, but a\.safetensors has input"):
        index(tmp_path)


def test_bad_lines_are_kept_in_the_index(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"text": "1 2"}\n{\n')
    encode = Encode(Tokenizer.bytes())
    with pytest.raises(ValueError, match="line 2: not JSON"):
        write(tmp_path / "s", source(str(tmp_path / "a.jsonl")), encode)
    found = write(tmp_path / "s", source(str(tmp_path / "a.jsonl")), encode, Faults())
    assert found.about["left_out"] == 1
    assert "a.jsonl, line 2: not JSON" in found.about["first_left_out"][0]


def test_encoding(tmp_path: Path):
    tokenizer = train(["one two"], "characters", special={"eos_token": "<eos>"})
    records = [{"text": "one", "label": "bad"}, {"text": "two", "label": "good"}, {"text": "", "label": "bad"}]
    encode = Encode(tokenizer, classes={"label": ("good", "bad")}, longest=3)
    found = write(tmp_path, Given(records), encode)
    assert [tokenizer.decode(found[i]["input"].tolist(), skip_special=False) for i in range(3)] == [
        "on<eos>", "tw<eos>", "<eos>",
    ]  # fmt: skip
    assert [found[i]["label"].tolist() for i in range(3)] == [[1], [0], [1]]
    with pytest.raises(ValueError, match="column 'label' has the label 'ugly'; its labels are good, bad"):
        encode([{"text": "one", "label": "ugly"}])


def test_encoding_with_the_tokenizer_s_own_special_tokens():
    tokenizer = train(["one two"] * 3, "wordpiece", 60)
    encode = Encode(tokenizer, end=False, special=True, longest=3)
    found = encode([{"text": "one two"}])["input"]
    assert tokenizer.tokens(found.values.tolist()) == ["[CLS]", "one", "[SEP]"]
    fast = Encode(tokenizer, end=False)([{"text": "one two"}, {"text": "two"}])["input"]
    assert tokenizer.tokens(fast.values.tolist()) == ["one", "two", "two"]
    with pytest.raises(ValueError, match="no end token to put after a text"):
        Encode(tokenizer)


@pytest.mark.parametrize(
    ("settings", "words"), [({"longest": 1}, "leaves no room"), ({"target": ("out",)}, "target names out")]
)
def test_settings_that_contradict_are_refused(settings: dict, words: str):
    with pytest.raises(ValueError, match=words):
        Encode(Tokenizer.bytes(), **settings)


def test_progress_is_told(tmp_path: Path):
    told: list[tuple[int, int]] = []
    encode = Encode(Tokenizer.bytes(), {"input": "input", "target": "target"})
    found = write(tmp_path, Dates(count=2500), encode, progress=lambda *done: told.append(done))
    assert [documents for documents, _ in told] == [1024, 2048, 2500]
    assert told[-1][1] == found.total("input") + found.total("target")
    assert found[0]["target"].tolist()[-1] == Tokenizer.bytes().eos_token_id


def test_reading_maps_the_files(tmp_path: Path):
    """A corpus of 160 MB is opened and read at places without being copied into memory."""
    values = np.tile(np.arange(50_000, dtype=np.int32), 800)
    column = Ragged(values, np.arange(0, len(values) + 1, 1000))
    for name in "ab":
        write_shard(tmp_path / f"{name}.safetensors", {"input": column}, {"input": 50_000})
    index(tmp_path)
    shards(tmp_path / "small", [30])
    code = f"""
from cutaway.data import Shards
def held():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) * 1024
Shards({str(tmp_path / "small")!r}).span("input", 3, 20)
before = held()
found = Shards({str(tmp_path)!r})
got = [found.span("input", at, at + 10).tolist() for at in range(0, found.total("input") - 10, 4_000_007)]
assert got[1] == [4_000_007 % 50_000 + n for n in range(10)]
assert found[79_999]["input"].tolist() == list(range(49_000, 50_000))
print(held() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 5_000_000
