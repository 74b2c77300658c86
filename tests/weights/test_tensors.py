"""A folder's weights: lazily read, whole or in shards, each missing piece named; a full disk; NaN."""

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file, save_file
from saving import CONFIG, python
from torch import Tensor

from cutaway.storage import write_folder, write_json
from cutaway.weights import nan_report, read_tensors, write_tensors

INDEX = "model.safetensors.index.json"


def numbered(count: int = 6, size: int = 100) -> dict[str, Tensor]:
    return {f"layer.{i}.weight": torch.full((size,), float(i)) for i in range(count)}


def equal(ours: Any, theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


# ---- reading -----------------------------------------------------------------------------------------------


def test_tensors_are_a_mapping(tmp_path: Path) -> None:
    write_tensors(tmp_path, {"a": torch.ones(2, 3), "b": torch.arange(4)})
    tensors = read_tensors(tmp_path)
    assert list(tensors) == ["b", "a"]
    assert len(tensors) == 2
    assert "a" in tensors
    assert "c" not in tensors
    assert (tensors.shape("a"), tensors.dtype("b")) == ((2, 3), torch.int64)
    for wrong in (tensors.__getitem__, tensors.shape, tensors.dtype):
        with pytest.raises(KeyError, match="'c'"):
            wrong("c")


def test_another_device_gets_the_tensors(tmp_path: Path) -> None:
    write_tensors(tmp_path, {"a": torch.ones(2, 3, dtype=torch.bfloat16)})
    tensor = read_tensors(tmp_path, device="meta")["a"]
    assert (tensor.is_meta, tensor.shape, tensor.dtype) == (True, (2, 3), torch.bfloat16)


def test_nothing_is_read_before_it_is_used(tmp_path: Path) -> None:
    """A file with a hole of 256 GB: most machines have less memory, and none reads it in a moment."""
    header = {"hole": {"dtype": "F32", "shape": [2**36], "data_offsets": [0, 2**38]}}
    header |= {"end": {"dtype": "U8", "shape": [3], "data_offsets": [2**38, 2**38 + 3]}}
    text = json.dumps(header).ljust(256).encode()
    with open(tmp_path / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.seek(2**38, os.SEEK_CUR)
        file.write(bytes([1, 2, 3]))
    tensors = read_tensors(tmp_path)
    assert tensors.shape("hole") == (2**36,)
    assert tensors["hole"][2**35] == 0
    assert tensors["end"].tolist() == [1, 2, 3]


def test_a_tensor_is_a_view_with_a_storage_of_its_own_size(tmp_path: Path) -> None:
    write_tensors(tmp_path, numbered())
    tensors = read_tensors(tmp_path)
    first, again = tensors["layer.1.weight"], tensors["layer.1.weight"]
    assert first.data_ptr() == again.data_ptr()
    assert first.untyped_storage().nbytes() == 400, "a copy or a pickle of it must not take the whole file along"
    first.fill_(7)
    assert again[0] == 7
    assert read_tensors(tmp_path)["layer.1.weight"][0] == 1, "the file must not change"


def test_a_mapped_folder_may_be_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "ckpt"
    for step in (1, 2):
        tensors = numbered() if step == 1 else {n: t + 1 for n, t in read_tensors(folder).items()}
        mapped = read_tensors(folder) if step == 2 else numbered()
        with write_folder(folder) as new:
            write_json(new / "config.json", CONFIG)
            write_tensors(new, tensors)
        assert equal(mapped, numbered())
    assert equal(read_tensors(folder), {n: t + 1 for n, t in numbered().items()})


def test_the_order_of_formats(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no weights: expected .*; it holds nothing"):
        read_tensors(tmp_path)
    (tmp_path / "tf_model.h5").touch()
    with pytest.raises(FileNotFoundError, match=r"it holds tf_model\.h5"):
        read_tensors(tmp_path)
    torch.save({"x": torch.zeros(1)}, tmp_path / "shard.bin")
    write_json(tmp_path / "pytorch_model.bin.index.json", {"weight_map": {"x": "shard.bin"}})
    assert list(read_tensors(tmp_path)) == ["x"]
    torch.save({"y": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    assert list(read_tensors(tmp_path)) == ["y"]
    save_file({"z": torch.zeros(1)}, tmp_path / "shard.safetensors")
    write_json(tmp_path / INDEX, {"weight_map": {"z": "shard.safetensors"}})
    assert list(read_tensors(tmp_path)) == ["z"]
    write_tensors(tmp_path, {"w": torch.zeros(1)})
    assert list(read_tensors(tmp_path)) == ["w"]


def test_links_are_followed_and_dead_ones_named(tmp_path: Path) -> None:
    """A hub's cache: the snapshot holds links to blobs elsewhere."""
    snapshot, blob = tmp_path / "snapshots" / "c0ffee", tmp_path / "blobs" / "1234"
    snapshot.mkdir(parents=True)
    blob.parent.mkdir()
    write_tensors(tmp_path, numbered())
    (tmp_path / "model.safetensors").rename(blob)
    (snapshot / "model.safetensors").symlink_to("../../blobs/1234")
    assert equal(read_tensors(snapshot), numbered())
    blob.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is a link to \.\./\.\./blobs/1234"):
        read_tensors(snapshot)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is no file"):
        read_tensors(tmp_path)


# ---- shards ------------------------------------------------------------------------------------------------


def test_shards_and_index_are_the_librarys(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    tensors = numbered() | {"last": torch.ones(3)}
    write_tensors(ours, tensors, shard_bytes=1000)
    save_torch_state_dict(tensors, theirs, max_shard_size=1000)
    assert sorted(os.listdir(ours)) == sorted(os.listdir(theirs))
    index = json.loads((ours / INDEX).read_text())
    expected = json.loads((theirs / INDEX).read_text())
    assert index["metadata"]["total_size"] == expected["metadata"]["total_size"] == 4 * 603
    assert set(index["weight_map"]) == set(expected["weight_map"])
    assert equal(read_tensors(ours), tensors)
    assert equal(read_tensors(theirs), tensors)
    held = {name: shard for shard in os.listdir(ours) if shard != INDEX for name in load_file(ours / shard)}
    assert held == index["weight_map"]


@pytest.mark.parametrize(("limit", "count"), [(399, 6), (400, 6), (799, 6), (800, 3), (2399, 2), (2400, 1)])
def test_a_shard_is_filled_to_its_limit(tmp_path: Path, limit: int, count: int) -> None:
    write_tensors(tmp_path, numbered(), shard_bytes=limit)
    assert len(list(tmp_path.glob("*.safetensors"))) == count
    assert (tmp_path / INDEX).exists() == (count > 1)
    assert equal(read_tensors(tmp_path), numbered())


def test_no_tensors_at_all(tmp_path: Path) -> None:
    write_tensors(tmp_path, {})
    assert dict(read_tensors(tmp_path)) == {}


SHARD = "model-00002-of-00003.safetensors"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    write_tensors(tmp_path, numbered(), shard_bytes=800)
    return tmp_path


def test_a_missing_shard_is_named_with_what_it_held(sharded: Path) -> None:
    (sharded / SHARD).unlink()
    expected = f"{SHARD} is missing; {INDEX} expects it to hold layer.2.weight, layer.3.weight"
    with pytest.raises(FileNotFoundError, match=expected):
        read_tensors(sharded)
    write_json(sharded / INDEX, {"weight_map": {f"w{i}": "gone" for i in range(9)}})
    with pytest.raises(FileNotFoundError, match=r"gone is missing; .* expects it to hold w0, w1, w2 and 6 more"):
        read_tensors(sharded)


def test_a_shard_without_an_expected_tensor_is_named(sharded: Path) -> None:
    save_file({"layer.2.weight": torch.zeros(100)}, sharded / SHARD)
    with pytest.raises(ValueError, match=rf"{SHARD} lacks layer\.3\.weight; {INDEX} expects it there"):
        read_tensors(sharded)


def test_a_tensor_in_two_shards_is_named_with_both(sharded: Path) -> None:
    both = load_file(sharded / SHARD) | {"layer.0.weight": torch.zeros(100)}
    save_file(both, sharded / SHARD)
    first = SHARD.replace("2-of", "1-of")
    with pytest.raises(ValueError, match=rf"{SHARD} and {first} both hold layer\.0\.weight"):
        read_tensors(sharded)


def test_a_tensor_that_the_index_forgot_is_not_lost(sharded: Path) -> None:
    save_file(load_file(sharded / SHARD) | {"more": torch.ones(1)}, sharded / SHARD)
    assert equal(read_tensors(sharded), numbered() | {"more": torch.ones(1)})


def test_a_damaged_shard_is_named(sharded: Path) -> None:
    os.truncate(sharded / SHARD, 500)
    with pytest.raises(ValueError, match=f"{SHARD}: truncated: 500 bytes"):
        read_tensors(sharded)


@pytest.mark.parametrize(
    "shard", ["../x", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "..\\x", "nul\0", 3, None, ["a"]]
)
def test_a_shard_lies_in_the_folder(sharded: Path, shard: object) -> None:
    write_json(sharded / INDEX, {"weight_map": {"a": shard}})
    with pytest.raises(ValueError, match=rf"{INDEX}: 'a' lies in .*, which is no file name in the same folder"):
        read_tensors(sharded)


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": ["a"]}, {"weight_map": None}])
def test_an_index_needs_a_map(sharded: Path, index: dict[str, Any]) -> None:
    write_json(sharded / INDEX, index)
    with pytest.raises(ValueError, match=f"{INDEX}: weight_map must be an object"):
        read_tensors(sharded)


# ---- writing, measuring, checking --------------------------------------------------------------------------


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow beyond 100,000 bytes: the kernel refuses the write, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("shard_bytes", [2**30, 200_000])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, small_disk: None, shard_bytes: int) -> None:
    folder = tmp_path / "ckpt"

    def save(size: int) -> None:
        with write_folder(folder) as new:
            write_json(new / "config.json", CONFIG)
            write_tensors(new, numbered(size=size), shard_bytes=shard_bytes)

    save(100)
    with pytest.raises(OSError, match="File too large; the weights need 960000 bytes") as caught:
        save(40_000)
    assert f"{folder} was not saved and is as it was before" in str(caught.value)
    assert ".safetensors)" in str(caught.value)
    assert os.listdir(tmp_path) == ["ckpt"]
    assert equal(read_tensors(folder), numbered())


MEMORY = """
import sys
from cutaway.weights import nan_report, read_tensors

def memory(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

assert nan_report(dict(read_tensors(sys.argv[1]))) == []
open("/proc/self/clear_refs", "w").write("5")
before = memory("VmRSS")
tensors = dict(read_tensors(sys.argv[2]))
opened = memory("VmHWM") - before
assert nan_report(tensors) == []
size = sum(tensor.nbytes for tensor in tensors.values())
print(opened / size, (memory("VmHWM") - before) / size)
"""


@pytest.mark.parametrize("pickled", [False, True])
def test_the_peak_of_memory_is_the_weights(tmp_path: Path, pickled: bool) -> None:
    """128 MB opened, then read, in a process that has done the same with a few bytes."""
    for name, size in (("small", 8), ("large", 2**23)):
        (tmp_path / name).mkdir()
        tensors = {f"{i}": torch.full((size,), float(i)) for i in range(4)}
        if pickled:
            torch.save(tensors, tmp_path / name / "pytorch_model.bin")
        else:
            write_tensors(tmp_path / name, tensors)
    output = python("-c", MEMORY, tmp_path / "small", tmp_path / "large", OMP_NUM_THREADS="1")
    opened, read = map(float, output.split())
    assert opened < 0.1
    assert 0.9 < read < 1.15


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_reported(dtype: torch.dtype, value: float) -> None:
    limit = torch.finfo(dtype)
    good = {
        "ones": torch.ones(33),
        "large": torch.tensor([limit.max, limit.min], dtype=torch.float64),
        "empty": torch.ones(0),
    }
    tensors = {name: tensor.to(dtype) for name, tensor in good.items()} | {"whole": torch.arange(3)}
    assert nan_report(tensors) == []
    for at in (0, 16, 32):
        bad = torch.ones(33)
        bad[at] = value
        assert nan_report(tensors | {"bad": bad.to(dtype)}) == ["bad"]
        assert nan_report(tensors | {"bad": torch.nn.Parameter(bad.to(dtype).view(3, 11).T)}) == ["bad"]


def test_nan_is_reported_in_a_narrow_float_without_infinity() -> None:
    assert nan_report({"a": torch.tensor([1.0, torch.nan]).to(torch.float8_e4m3fn)}) == ["a"]
    assert nan_report({"a": torch.tensor([1.0, 448.0]).to(torch.float8_e4m3fn)}) == []
