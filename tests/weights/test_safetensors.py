"""The format against its own library, both ways; and every way in which a file can lie."""

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from cutaway.weights import read_tensors, write_tensors
from cutaway.weights.safetensors import DTYPES, read_safetensors


def sample() -> dict[str, Tensor]:
    """A tensor of every dtype, a scalar, an empty one, and one that is NaN in places."""
    every = {word.lower(): torch.randn(3, 5).mul(9).abs().to(dtype) for word, dtype in DTYPES.items()}
    return every | {
        "scalar": torch.tensor(1.5),
        "empty": torch.ones(0, 7),
        "nan": torch.tensor([1.0, torch.nan]),
    }


def same(a: Tensor, b: Tensor) -> bool:
    """Equal in dtype, shape and every bit."""
    return a.dtype == b.dtype and a.shape == b.shape and bits(a).tolist() == bits(b).tolist()


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def check_equal(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert same(ours[name], theirs[name]), name


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    tensors = sample()
    write_tensors(tmp_path, tensors, metadata={"format": "pt", "by": "us"})
    check_equal(load_file(tmp_path / "model.safetensors"), tensors)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "by": "us"}


def test_we_read_what_the_library_writes(tmp_path: Path) -> None:
    tensors = sample()
    save_file(tensors, tmp_path / "model.safetensors")
    check_equal(read_tensors(tmp_path), tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_bytes_are_the_librarys(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {name: torch.randn(4, 3).to(dtype) for name in ("b.weight", "a.weight", "a.bias", "é")}
    tensors |= {"wide": torch.randn(2, dtype=torch.float64), "narrow": torch.ones(3, dtype=torch.bool)}
    write_tensors(tmp_path, tensors)
    ours, theirs = (tmp_path / "model.safetensors").read_bytes(), save(tensors, metadata={"format": "pt"})
    length = int.from_bytes(theirs[:8], "little")
    begin = 8 + int.from_bytes(ours[:8], "little")
    assert json.loads(ours[8:begin]) == json.loads(theirs[8 : 8 + length])
    assert ours[begin:] == theirs[8 + length :]
    assert begin % 8 == 0


def test_strided_and_shared_tensors_get_bytes_of_their_own(tmp_path: Path) -> None:
    base = torch.randn(4, 6)
    tensors = {
        "base": base, "same": base, "transposed": base.T, "columns": base[:, ::2], "part": base[1:3],
        "repeated": base[0].expand(3, 6), "parameter": torch.nn.Parameter(base), "one": base[2, 3],
    }  # fmt: skip
    write_tensors(tmp_path, tensors)
    check_equal(load_file(tmp_path / "model.safetensors"), tensors)


@pytest.mark.parametrize(
    ("tensors", "what"),
    [
        ({"a": torch.ones(2, dtype=torch.complex64)}, "'a': safetensors holds no torch.complex64"),
        ({"a": torch.ones(2, device="meta")}, "'a': safetensors holds no .* on meta"),
        ({"a": torch.eye(3).to_sparse()}, "'a': safetensors holds no .*sparse_coo"),
        ({"__metadata__": torch.ones(1)}, "__metadata__ is no name"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path: Path, tensors: dict[str, Tensor], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        write_tensors(tmp_path, tensors)
    assert not list(tmp_path.iterdir())


# ---- files that lie ----------------------------------------------------------------------------------------


def pack(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


TWO = {"a": entry(), "b": entry(offsets=(8, 16))}
LIES = {
    "model.safetensors is empty": b"",
    "truncated: 5 bytes": b"12345",
    "truncated: 8 bytes, and the header alone takes 108": (100).to_bytes(8, "little"),
    "its header claims 2318339424521513328": b"pickle, not safetensors",
    "its header claims 100000000 bytes": pack(b"{}", length=10**8),
    "the header begins with b' {}'": pack(b" {}"),
    "the header begins with b''": pack(b""),
    "header: line 1, column 2": pack(b"{]"),
    "header: nested too deeply": pack(b'{"a":' * 50_000),
    "can't decode byte 0xff": pack(b'{"\xff":1}'),
    "the key 'a' is given twice": pack(b'{"a":' + json.dumps(entry()).encode() + b',"a":1}', bytes(8)),
    "the key 'dtype' is given twice": pack(b'{"a":{"dtype":"F32","dtype":"F16","shape":[],"data_offsets":[0,2]}}'),
    "__metadata__ must map names to strings": pack({"__metadata__": {"a": 1}}),
    "'a': expected dtype, shape and data_offsets, got 3": pack({"a": 3}),
    "got {'dtype': 'F32'}": pack({"a": {"dtype": "F32"}}),
    "'extra': 1": pack({"a": entry() | {"extra": 1}}, bytes(8)),
    "unknown dtype 'F33'": pack({"a": entry("F33")}, bytes(8)),
    "unknown dtype ['F32']": pack({"a": entry(["F32"])}, bytes(8)),
    "got [2.0]": pack({"a": entry(shape=[2.0])}, bytes(8)),
    "got [True, 2]": pack({"a": entry(shape=[True, 2])}, bytes(8)),
    "got [-2, -1]": pack({"a": entry(shape=[-2, -1])}, bytes(8)),
    "got 2": pack({"a": entry(shape=2)}, bytes(8)),
    "got '08'": pack({"a": entry(offsets="08")}, bytes(8)),
    "byte range [0]": pack({"a": entry(shape=[0], offsets=[0])}),
    "65 dimensions": pack({"a": entry(shape=[1] * 65, offsets=(0, 4))}, bytes(4)),
    "shape [3] of F32 does not fill its byte range [0, 8]": pack({"a": entry(shape=[3])}, bytes(8)),
    "does not fill its byte range [8, 0]": pack({"a": entry(offsets=(8, 0))}, bytes(8)),
    "shape [1099511627776, 1099511627776] of F32": pack({"a": entry(shape=[2**40] * 2)}, bytes(8)),
    "shape [0, 1099511627776, 1099511627776] is beyond": pack({"a": entry(shape=[0, 2**40, 2**40], offsets=(0, 0))}),
    "'b' begins at byte 12, expected 8": pack(TWO | {"b": entry(offsets=(12, 20))}, bytes(20)),
    "'b' begins at byte 4, expected 8": pack(TWO | {"b": entry(offsets=(4, 12))}, bytes(12)),
    "'a' begins at byte 4, expected 0": pack({"a": entry(offsets=(4, 12))}, bytes(12)),
    "truncated: ": pack(TWO, bytes(15)),
    "longer than its header says: ": pack(TWO, bytes(17)),
    "expected 1099511627": pack({"a": entry(shape=[2**38], offsets=(0, 2**40))}, bytes(8)),
}


@pytest.mark.parametrize(("what", "data"), LIES.items(), ids=LIES.keys())
def test_a_lie_is_named(tmp_path: Path, what: str, data: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=r"model\.safetensors") as caught:
        read_tensors(tmp_path)
    assert what in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_file_these_lies_start_from_is_good(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(pack(TWO, bytes(16)))
    assert {name: t.tolist() for name, t in read_tensors(tmp_path).items()} == {"a": [0, 0], "b": [0, 0]}


def test_data_out_of_alignment_is_read(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(5), "b": torch.randn(3, dtype=torch.float64), "c": torch.arange(3)}
    for padding in range(8):
        header, data = {}, b""
        for name, word in (("a", "F32"), ("b", "F64"), ("c", "I64")):
            piece = bytes(bits(tensors[name]).tolist())
            header[name] = entry(word, list(tensors[name].shape), [len(data), len(data) + len(piece)])
            data += piece
        text = json.dumps(header).encode()
        (tmp_path / "model.safetensors").write_bytes(pack(text + b" " * ((padding - len(text)) % 8), data))
        found = dict(read_tensors(tmp_path))
        check_equal(found, tensors)
        assert not any(tensor.data_ptr() % tensor.element_size() for tensor in found.values())


def test_an_empty_tensor_may_be_wide(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(pack({"a": entry(shape=[0, 2**40], offsets=(0, 0))}))
    assert read_tensors(tmp_path)["a"].shape == (0, 2**40)


SMALL = {"a": torch.eye(2, 3), "b": torch.arange(4, dtype=torch.int16), "c": torch.zeros(0, 2)}
ORIGINAL = save(SMALL, metadata={"format": "pt"})
BEGIN = 8 + int.from_bytes(ORIGINAL[:8], "little")


def damaged(chance: random.Random) -> bytes:
    """A file with up to three changes of its bytes, most in the header, whose length is often put right."""
    data = bytearray(ORIGINAL)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(BEGIN if chance.random() < 0.9 and len(data) > BEGIN else len(data))
        match chance.randrange(5):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at] = chance.choice(b'0123456789[]{},:" ')
            case 2:
                del data[at + 1 : at + chance.randint(2, 9)]
            case 3:
                data[at:at] = chance.choice([b"0", b"9" * 20, b"-", b"[", b'"a":', b"1e9", b"null", bytes(3)])
            case 4:
                del data[at + 1 :]
    if chance.random() < 0.7:
        data[:8] = max(0, len(data) - (len(ORIGINAL) - BEGIN) - 8).to_bytes(8, "little")
    return bytes(data)


def forged(chance: random.Random) -> bytes:
    """A file whose header is JSON, with a field or two changed."""
    header = json.loads(ORIGINAL[8:BEGIN])
    odd = [
        0,
        1,
        2,
        3,
        4,
        6,
        8,
        24,
        32,
        -1,
        2**31,
        2**63,
        2**64,
        0.5,
        True,
        None,
        "F32",
        "BOOL",
        [],
        [0, 24],
        {},
    ]
    for _ in range(chance.randint(1, 2)):
        name, field = chance.choice("abc"), chance.choice(["dtype", "shape", "data_offsets", "other"])
        match chance.randrange(4):
            case 0:
                header[name] = header[name] | {field: chance.choice(odd)}
            case 1:
                header[name] = header[name] | {field: chance.choices(odd, k=chance.randrange(4))}
            case 2:
                header[name] = header[name] | {"dtype": chance.choice([*DTYPES, "F31"])}
            case 3:
                header[chance.choice([name, "d", "__metadata__"])] = header[chance.choice("abc")]
    return pack(header, ORIGINAL[BEGIN:])


@pytest.mark.parametrize("mutate", [damaged, forged])
def test_a_mutant_is_refused_or_what_the_library_reads(
    tmp_path: Path, mutate: Callable[[random.Random], bytes]
) -> None:
    read = 0
    for seed in range(2500):
        path = tmp_path / str(seed)
        path.write_bytes(mutate(random.Random(seed)))
        try:
            ours = {name: stored.read() for name, stored in read_safetensors(path).items()}
        except ValueError as error:
            reason = str(error)
        else:
            reason = ""
        # What we alone refuse is a key that may mean something to somebody else.
        if reason:
            assert "'other'" in reason or not readable(path), seed
        else:
            read += 1
            check_equal(ours, load_file(path))
        path.unlink()
    assert 30 < read < 500


def readable(path: Path) -> bool:
    try:
        load_file(path)
    except (SafetensorError, KeyError, TypeError, RuntimeError):
        return False
    return True
