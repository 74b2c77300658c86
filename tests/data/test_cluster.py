"""Shards made by many workers: the script that does it with processes, and data sets of the `datasets` library."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset

from cutaway.data import Encode, Shards, index, write_part
from cutaway.text import Tokenizer
from cutaway.text.training import train

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "shards_by_workers.py"


def test_a_pool_of_processes_writes_what_one_does(tmp_path: Path):
    """The script compares the documents of both itself."""
    folder = tmp_path / "shards"
    for number in range(5):
        (tmp_path / "texts" / f"{number}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / "texts" / f"{number}.txt").write_text(f"text {number} " * 30 * number)
    command = [sys.executable, str(SCRIPT), "2", str(folder), str(tmp_path / "texts")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["one process", "2 processes"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "part-00000-00000.safetensors", "part-00001-00000.safetensors", "shards.json",
    ]  # fmt: skip
    Shards(folder).verify()


def test_a_data_set_is_written_in_parts(tmp_path: Path):
    rows = Dataset.from_dict({"body": [f"text {number}" for number in range(25)]})
    encode = Encode(Tokenizer.bytes(), {"input": "body"})
    for worker in range(4):
        write_part(tmp_path, rows.shard(num_shards=4, index=worker), encode, name=f"part-{worker:05d}")
    found = index(tmp_path, files=4)
    assert [Tokenizer.bytes().decode(found[i]["input"].tolist()) for i in range(25)] == rows["body"][:]


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "characters", "bytes"])
def test_an_encoder_travels_to_its_workers(kind: str):
    encode = Encode(train(["one two three"] * 5, kind), end=kind != "wordpiece", special=kind == "wordpiece")
    again = pickle.loads(pickle.dumps(encode))
    records = [{"text": "one three"}, {"text": "two"}]
    assert again(records)["input"].values.tolist() == encode(records)["input"].values.tolist()
    assert again.key() == encode.key()
