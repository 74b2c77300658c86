"""Tokens written per second: one process whose tokenizer uses all cores, against a pool of processes.

The pool stands for a cluster: each worker writes its own files, and one call makes the index at the end. Usage:
``python benchmarks/shards_by_workers.py [WORKERS] [SHARDS] [TEXTS]``: the folder to write, else a temporary one, and
one to read, else Python's standard library."""

import sys
import tempfile
import time
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from cutaway.data import Encode, Faults, Shards, Source, Stdlib, index, source, write, write_part
from cutaway.text.training import train


def part(folder: Path, worker: int, workers: int, data: Source, encode: Encode) -> list[Path]:
    """What one worker does: its share of the records, into files of its own."""
    records = islice(data.records(Faults()), worker, None, workers)
    return write_part(folder, records, encode, name=f"part-{worker:05d}")


def main(workers: int, folder: Path | None, data: Source) -> None:
    texts = (record["text"] for record in islice(data.records(Faults()), 50))
    encode = Encode(train(texts, "bpe", 4096))
    with tempfile.TemporaryDirectory() as temporary, get_context("spawn").Pool(workers) as pool:
        begin = time.perf_counter()
        alone = write(Path(temporary, "alone"), data, encode)
        report("one process", alone, time.perf_counter() - begin)
        pool.starmap(len, [("ready",)] * workers)
        together = folder or Path(temporary, "together")
        together.mkdir(parents=True, exist_ok=True)
        begin = time.perf_counter()
        paths = pool.starmap(part, [(together, worker, workers, data, encode) for worker in range(workers)])
        shards = index(together, files=sum(map(len, paths)))
        report(f"{workers} processes", shards, time.perf_counter() - begin)
        assert sorted(shards.lengths("input").tolist()) == sorted(alone.lengths("input").tolist())


def report(what: str, shards: Shards, seconds: float) -> None:
    print(f"{what}: {shards}: {shards.total('input') / seconds:,.0f} tokens/s")


if __name__ == "__main__":
    given = dict(enumerate(sys.argv))
    main(
        int(given.get(1, 2)),
        Path(given[2]) if 2 in given else None,
        source(given[3]) if 3 in given else Stdlib(),
    )
