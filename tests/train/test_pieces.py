"""Boxes of tensors in files: any box can be read from any others that cover it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cutaway.train.ranks.pieces import Piece, Reader, assemble, restore, table
from cutaway.weights.safetensors import write_safetensors


def written(folder: Path, parts: list[Piece]) -> Reader:
    files = {}
    for i, part in enumerate(parts):
        path = folder / f"rank_{i:05}.safetensors"
        write_safetensors(path, {"w": part.tensor}, {})
        files[path] = table({"w": part})
    return Reader(files)


def grid(whole: torch.Tensor, rows: list[int], columns: list[int]) -> list[Piece]:
    """The pieces of a matrix cut at these rows and columns."""
    edges = [[0, *sorted(set(cuts)), n] for cuts, n in zip((rows, columns), whole.shape, strict=True)]
    return [
        Piece(whole[a:b, c:d], tuple(whole.shape), (a, c))
        for a, b in zip(edges[0], edges[0][1:], strict=False)
        for c, d in zip(edges[1], edges[1][1:], strict=False)
        if a < b and c < d
    ]


@given(data=st.data())
def test_any_box_from_any_pieces(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    height, width = (data.draw(st.integers(1, 6)) for _ in range(2))
    whole = torch.arange(height * width).view(height, width)
    rows, columns = (data.draw(st.lists(st.integers(0, n), max_size=3)) for n in (height, width))
    reader = written(tmp_path_factory.mktemp("pieces"), grid(whole, rows, columns))
    offset = tuple(data.draw(st.integers(0, n - 1)) for n in (height, width))
    size = tuple(data.draw(st.integers(0, n - first)) for n, first in zip((height, width), offset, strict=True))
    expected = whole[offset[0] : offset[0] + size[0], offset[1] : offset[1] + size[1]]
    assert assemble(reader, "w", (height, width), offset, size).equal(expected)


def test_only_what_overlaps_is_read(tmp_path: Path) -> None:
    whole = torch.arange(8.0).view(4, 2)
    reader = written(tmp_path, grid(whole, [1, 2, 3], []))
    read = [offset for offset, _ in reader.found["w"]]
    assert read == [(0, 0), (1, 0), (2, 0), (3, 0)]
    kept = reader.found["w"][2:]
    reader.found["w"] = kept  # without the files of the upper half, the lower half is still there
    assert assemble(reader, "w", (4, 2), (2, 0), (2, 2)).equal(whole[2:])
    with pytest.raises(ValueError, match=r"w: 4 numbers from \[1, 0\] on are needed, 2 were written"):
        assemble(reader, "w", (4, 2), (1, 0), (2, 2))


def test_numbers_of_no_axis(tmp_path: Path) -> None:
    reader = written(tmp_path, [Piece(torch.tensor(7.0), (), ())])
    assert float(assemble(reader, "w", (), (), ())) == 7.0


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    reader = written(tmp_path, [Piece(torch.zeros(2, 3), (2, 3), (0, 0))])
    with pytest.raises(KeyError, match="no rank wrote v"):
        restore({"v": torch.zeros(2, 3)}, reader)
    with pytest.raises(ValueError, match=r"written as \[2, 3\], expected \[3, 2\]"):
        restore({"w": torch.zeros(3, 2)}, reader)
    with pytest.raises(ValueError, match=r"float32, expected torch\.float64"):
        restore({"w": torch.zeros(2, 3, dtype=torch.float64)}, reader)
    other = tmp_path / "other.safetensors"
    write_safetensors(other, {"w": torch.zeros(1)}, {})
    with pytest.raises(ValueError, match="do not agree on v, w"):
        Reader({other: {"v": {"shape": [1], "offset": [0]}}})
    pieces = [Piece(torch.zeros(1, 3), (2, 3), (0, 0)), Piece(torch.zeros(1, 3), (3, 3), (1, 0))]
    with pytest.raises(ValueError, match=r"a piece of \[3, 3\], others of \[2, 3\]"):
        written(tmp_path, pieces)


def test_one_process_does_not_wait_for_what_splits_models():
    """A second of imports: not with the loop, and not for the norm, the pieces or the result of plain tensors."""
    code = """
import sys, torch, cutaway.train.run
from cutaway.train.ranks import pieces
from cutaway.train.ranks.world import World
plain = {"a": torch.ones(3), "b": torch.nn.Parameter(torch.ones(6))}
assert pieces.norm(plain, World()).item() == 3
assert len(pieces.pieces(plain, World())) == len(pieces.gather(plain, World())) == 2
print([name for name in ("torch.distributed.tensor", "torch.distributed.fsdp", "sympy") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
