"""Rows of tables: JSON lines, CSV (RFC 4180), TSV, Parquet. Readers yield where a row stands, and the row."""

import csv
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .faults import Faults
from .lines import BROKEN, PACKED, blocks, lines, missing

Record = dict[str, str]
# JSON can spell half of a surrogate pair, which is no character.
HALF = re.compile("[\ud800-\udfff]")
Rows = Iterator[tuple[int, Mapping[str, Any]]]


def picked(where: object, rows: Rows, columns: Mapping[str, str], faults: Faults) -> Iterator[Record]:
    """Records of the wanted columns, each under our name for it: ``columns`` maps ours to theirs.

    Numbers and truth values are written out. A column that the first row lacks is a ValueError which shows the
    columns there are; one that a later row lacks, or that holds no text, is a fault."""
    names = [*columns.values()]
    for count, (line, row) in enumerate(rows):
        absent = [name for name in names if name not in row]
        if absent and not count:
            raise ValueError(f"{where}: {no_column(absent[0], list(row))}")
        odd = [name for name in names if name in row and not isinstance(row[name], str | int | float)]
        half = [name for name in names if isinstance(row.get(name), str) and HALF.search(row[name])]
        if absent or odd or half:
            kinds = [f"column {name!r} is {type(row[name]).__name__}, no text" for name in odd]
            kinds += [f"column {name!r} has half of a surrogate pair" for name in half]
            faults.add(where, line, "; ".join([*(f"no column {name!r}" for name in absent), *kinds]))
            continue
        yield {
            ours: value if isinstance(value := row[name], str) else json.dumps(value) for ours, name in columns.items()
        }


def no_column(name: str, there: Sequence[str]) -> str:
    """What to say of a column that is not there."""
    near = get_close_matches(name, there, n=1, cutoff=0.5)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"no column {name!r}; there are {', '.join(map(str, there)) or 'none'}{meant}"


def json_lines(path: Path, names: Sequence[str], faults: Faults) -> Rows:
    """One JSON object a line; empty lines are none."""
    for number, line in lines(path, faults):
        if line is None or not line.strip():
            continue
        try:
            row = json.loads(line)
        except RecursionError:
            faults.add(path, number, "nested too deeply")
        except ValueError as error:
            faults.add(path, number, f"not JSON: {error}")
        else:
            if isinstance(row, dict):
                yield number, row
            else:
                faults.add(path, number, f"a JSON object is expected, not {type(row).__name__}")


def separated(delimiter: str) -> Callable[[Path, Sequence[str], Faults], Rows]:
    """A reader of rows whose first holds the names of the columns."""

    def read(path: Path, names: Sequence[str], faults: Faults) -> Rows:
        texts = (line for _, line in lines(path, faults))
        # A line that cannot be read leaves an empty one, so that line numbers stay right.
        reader = csv.reader(
            (text or "\n" for text in texts),
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE,
            strict=True,
        )
        header: list[str] | None = None
        while True:
            begin = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                upto = f" (lines {begin} to {reader.line_num})" if reader.line_num > begin else ""
                faults.add(path, begin, f"not CSV: {error}{upto}")
                continue
            if not row:
                continue
            if header is None:
                header = row
                if twice := [name for name in row if row.count(name) > 1]:
                    raise ValueError(f"{path}: two columns are named {twice[0]!r}")
            elif len(row) != len(header):
                faults.add(path, begin, f"{len(row)} fields, expected {len(header)}")
            else:
                yield begin, dict(zip(header, row, strict=True))

    return read


def parquet(path: Path, names: Sequence[str], faults: Faults) -> Rows:
    """Rows of a Parquet file, a group at a time, of the wanted columns only."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError as error:
        raise missing("pyarrow", str(path)) from error
    with tempfile.TemporaryFile() as unpacked, open(path, "rb") as packed:
        file: Any = packed
        try:
            if path.suffix.lower() in PACKED:
                for block in blocks(path):
                    unpacked.write(block)
                file = unpacked
            table = ParquetFile(file)
            there = table.schema_arrow.names
            if absent := [name for name in names if name not in there]:
                raise ValueError(f"{path}: {no_column(absent[0], there)}")
            number = 0
            for batch in table.iter_batches(batch_size=1024, columns=list(names)):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except (*BROKEN, ArrowException) as error:
            if isinstance(error, ValueError) and str(path) in str(error):
                raise
            faults.add(path, None, f"the file is broken: {error}")


READERS = {
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".csv": separated(","),
    ".tsv": separated("\t"),
    ".parquet": parquet,
}
