"""Files of torch.save: read whole, in shards and in the older layout; never run, whatever they ask for."""

import io
import os
import pickle
import random
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cutaway.storage import write_json
from cutaway.weights import read_tensors
from cutaway.weights.pickles import read_pickle


class Runs:
    """Something that, unpickled, makes a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def module() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)).to(torch.bfloat16)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_is_read(tmp_path: Path, zipped: bool) -> None:
    state = OrderedDict(module().state_dict(keep_vars=True)) | {
        "step": torch.tensor(3),
        "none": torch.ones(0, 2),
    }
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    found = read_tensors(tmp_path)
    assert list(found) == list(state)
    for name, tensor in found.items():
        assert torch.equal(tensor, state[name])
        assert found.dtype(name) == state[name].dtype
        assert found.shape(name) == state[name].shape
        assert not tensor.requires_grad


def test_a_change_in_memory_does_not_reach_the_file(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "pytorch_model.bin")
    read_tensors(tmp_path)["a"].zero_()
    assert read_tensors(tmp_path)["a"].tolist() == [1, 1, 1]


def test_shards_are_read(tmp_path: Path) -> None:
    for i, name in enumerate("ab", 1):
        torch.save({name: torch.full((2,), float(i))}, tmp_path / f"pytorch_model-0000{i}-of-00002.bin")
    place = {name: f"pytorch_model-0000{i}-of-00002.bin" for i, name in enumerate("ab", 1)}
    write_json(tmp_path / "pytorch_model.bin.index.json", {"weight_map": place})
    assert {name: t.tolist() for name, t in read_tensors(tmp_path).items()} == {"a": [1, 1], "b": [2, 2]}


def test_nothing_is_run(tmp_path: Path) -> None:
    path, made = tmp_path / "pytorch_model.bin", tmp_path / "made"
    for zipped in (True, False):
        torch.save({"a": torch.ones(1), "b": Runs(made)}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(ValueError, match=r"pytorch_model\.bin would run posix\.mkdir when it is read") as caught:
            read_tensors(tmp_path)
        assert "weights_only" not in str(caught.value), "no advice to read it all the same"
        torch.save({"a": module()}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(ValueError, match=r"would run torch\.nn\.modules\.container\.Sequential"):
            read_tensors(tmp_path)
    path.write_bytes(pickle.dumps({"a": Runs(made)}, protocol=2))
    with pytest.raises(ValueError, match=r"pytorch_model\.bin"):
        read_tensors(tmp_path)
    assert not made.exists()


@pytest.mark.parametrize(
    ("what", "saved"),
    [
        ("expected a dictionary of tensors, got list", [torch.ones(1)]),
        ("expected a dictionary of tensors, got Tensor", torch.ones(1)),
        ("expected names and tensors, got 'model': dict", {"model": {"a": torch.ones(1)}}),
        ("expected names and tensors, got 'epoch': int", {"a": torch.ones(1), "epoch": 3}),
        ("expected names and tensors, got 0: Tensor", {0: torch.ones(1)}),
        ("'a' is no plain tensor: torch.float32, torch.sparse_coo", {"a": torch.eye(2).to_sparse()}),
        ("'a' is no plain tensor: torch.complex64", {"a": torch.ones(2, dtype=torch.complex64)}),
        ("'a' of shape (1099511627776,) needs more than the file's", {"a": torch.ones(1).expand(2**40)}),
    ],
)
def test_what_is_no_state_is_named(tmp_path: Path, what: str, saved: object) -> None:
    torch.save(saved, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin: ") as caught:
        read_tensors(tmp_path)
    assert what in str(caught.value)


def saved() -> bytes:
    file = io.BytesIO()
    torch.save({"a": torch.randn(3, 4), "b": torch.ones(5, dtype=torch.int64)}, file)
    return file.getvalue()


def compressed(original: bytes) -> bytes:
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(original)) as parts,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in parts.infolist():
            new.writestr(part.filename, parts.read(part))
    return file.getvalue()


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("is empty", b""),
        ("corrupted, or no file of torch.save", b"junk" * 9),
        ("corrupted, or no file of torch.save", b"PK\x03\x04" + b"junk" * 9),
        ("corrupted, or no file of torch.save", saved()[:500]),
        ("it has compressed parts", compressed(saved())),
    ],
)
def test_damage_is_named(tmp_path: Path, what: str, data: bytes) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(data)
    with pytest.raises(ValueError, match=r"pytorch_model\.bin") as caught:
        read_tensors(tmp_path)
    assert what in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, zipped: bool) -> None:
    file = io.BytesIO()
    state = {"a": torch.ones(3, 4), "b": torch.ones(5, dtype=torch.int64)}
    torch.save(state, file, _use_new_zipfile_serialization=zipped)
    original = file.getvalue()
    refused = 0
    for seed in range(1000):
        chance, data = random.Random(seed), bytearray(original)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path = tmp_path / str(seed)
        path.write_bytes(data[: chance.randrange(1, len(data))] if chance.random() < 0.1 else data)
        try:
            size = sum(stored.read().clone().nbytes for stored in read_pickle(path).values())
        except ValueError:
            refused += 1
        else:
            assert size <= 2 * len(data)
        path.unlink()
    assert 100 < refused < 1000
