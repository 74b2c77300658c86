"""The benchmark: contestants are loaded, asked for an answer, and then take turns, so that noise meets all alike."""

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import bounds
from .agreement import LOGITS, difference
from .children import Busy, Child, FailedError
from .contestants import Array, Job
from .peers import Entry, Peer, invited, ours
from .results import Measured, Result
from .works import DTYPES, Work, chosen

LIMITS = ("fp32", "bf16", "int8", "read", "file")
REST = 0.25  # seconds between turns: thread pools go on spinning for a while
SHARE = 0.7  # of the free memory that contestants may fill together
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """How to measure: threads of every contestant, where, how many rounds after a first one that does not count."""

    threads: int
    device: str = "cpu"
    repeats: int = 5
    beside: bool = False
    rest: float = REST
    side: int = 1536  # of the matrices whose products are the limit


def free_memory() -> float:
    return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def available() -> float:
    """Bytes that processes can have: free ones, and those that files are only kept in."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return free_memory()
    line = next(line for line in info.read_text().splitlines() if line.startswith("MemAvailable"))
    return float(line.split()[1]) * 1024


def groups(work: Work, entries: Sequence[Entry]) -> list[list[Entry]]:
    """Who takes turns with whom: all with all if there is memory for it.

    Else each precision for itself, as many as there is memory for, and Cutaway with each of them."""
    need = {entry: bounds.weight(work, entry.dtype) for entry in entries}
    room, found = SHARE * available(), []
    if sum(need.values()) <= room:
        return [list(entries)]
    for dtype in DTYPES:
        base = [entry for entry in entries if entry == ours(dtype)]
        some = list(base)
        for entry in entries:
            if entry.dtype == dtype and entry not in base:
                if len(some) > len(base) and sum(need[e] for e in some) + need[entry] > room:
                    found.append(some)
                    some = list(base)
                some.append(entry)
        found += [some] if some else []
    return found


@contextmanager
def workshop(cache: Path | None) -> Iterator[Path]:
    """Where checkpoints lie: in ``cache``, to be used again, or in a folder that vanishes."""
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        yield cache
    else:
        with tempfile.TemporaryDirectory(prefix="cutaway-bench-") as folder:
            yield Path(folder)


def prepare(job: Job) -> None:
    """Files that a contestant needs, written by a process of its own: its memory must not count."""
    with Child(job) as child:
        child.ask("prepare")


def take(child: Child, result: Result, work: Work, into: list[float]) -> None:
    """One turn."""
    seconds, marks = child.ask("turn")
    if work.kind == "decode":
        if len(marks) != work.new:
            raise FailedError(f"made {len(marks)} tokens, not {work.new}")
        result.first.append(marks[0])
        seconds = marks[-1] - marks[0]
    into.append(seconds)


def rounds(
    work: Work, children: Mapping[str, tuple[Child, Result]], limits: Child, busy: Busy | None, s: Settings
) -> list[dict[str, float]]:
    """Turns for all, in another order each round; the first round does not count. The limits of each round."""
    order, found = list(children), []
    shuffle = random.Random(0).shuffle
    for number in range(s.repeats + 1):
        shuffle(order)
        rates = zip(LIMITS, limits.ask("answer").tolist(), strict=True)
        found.append({limit: rate for limit, rate in rates if rate})
        for name in order:
            child, result = children[name]
            if result.said:
                continue
            try:
                time.sleep(s.rest)
                take(child, result, work, result.seconds)
                if busy is not None:
                    with busy.going():
                        time.sleep(s.rest)
                        take(child, result, work, result.beside)
            except FailedError as error:
                result.said = f"failed: {error}"
        if number == 0:
            for _, result in children.values():
                del result.seconds[:], result.first[:], result.beside[:]
    return found[1:]


def answers(children: Mapping[str, tuple[Child, Result]], told: str) -> Iterator[tuple[Result, Any]]:
    """What all say to a word, told to all at once; who fails says why in its result."""
    for child, result in children.values():
        if not result.said:
            with failing(result):
                child.tell(told)
    for child, result in children.values():
        if not result.said:
            with failing(result):
                yield result, child.hear()


@contextmanager
def failing(result: Result) -> Iterator[None]:
    try:
        yield
    except (FailedError, ValueError) as error:
        result.said = f"failed: {error}"


def judge(children: Mapping[str, tuple[Child, Result]], reference: Array | None, work: Work) -> Array:
    """Compares all answers with the reference, which is the first one's answer if there is none yet, and returns it.

    Raises :class:`FailedError` if there is to be none."""
    for child, result in children.values():
        if not result.said:
            with failing(result):
                found: Array = child.ask("answer")
                reference = found if reference is None else reference
                result.difference = difference(found, reference, work.kind in LOGITS)
        if reference is None:
            raise FailedError(f"{work.name}: {result.entry.name}, which all are compared with, {result.said}")
    assert reference is not None
    return reference


def race(
    jobs: Sequence[Job], reference: Array | None, s: Settings
) -> tuple[list[Result], list[dict[str, float]], Array]:
    """All contestants of one group through all rounds: results, limits, and the reference."""
    with ExitStack() as stack:
        children = {job.entry.name: (stack.enter_context(Child(job)), Result(job.entry)) for job in jobs}
        machine = Job(Work("limits", "limits", length=s.side), Entry("limits", ""), jobs[0].folder, s.threads, s.device)
        limits = stack.enter_context(Child(machine))
        limits.tell("load")
        for _ in answers(children, "load"):
            continue
        reference = judge(children, reference, jobs[0].work)
        limits.hear()
        busy = stack.enter_context(Busy()) if s.beside else None
        found = rounds(jobs[0].work, children, limits, busy, s)
        for result, peak in answers(children, "peak"):
            result.peak = peak
    for _, result in children.values():
        base = children.get(ours(result.entry.dtype).name)
        result.against = list(base[1].seconds) if base and base[1].comparable else []
    return [result for _, result in children.values()], found, reference


def measure(work: Work, here: Mapping[str, Peer], folder: Path, s: Settings) -> Measured:
    """One work: files made, contestants raced, in as many groups as memory asks for."""
    where = folder / (work.shape.name if work.shape else "nothing")
    entries = [entry for name, peer in here.items() for entry in peer.entries(name, work)]
    jobs = [Job(work, entry, where, s.threads, s.device) for entry in entries]
    found = Measured(work, [], [])
    if work.shape is not None and not where.exists():
        prepare(Job(work, ours("fp32"), where, s.threads, s.device))
    found.stored = sum(file.stat().st_size for file in where.glob("*.safetensors"))
    ready = []
    for job in jobs:
        result = Result(job.entry)
        if here[job.entry.peer].converts and work.shape is not None:
            with failing(result):
                prepare(job)
        if result.said:
            found.results.append(result)
        else:
            ready.append(job)
    reference: Array | None = None
    for group in groups(work, [job.entry for job in ready]):
        results, limits, reference = race([job for job in ready if job.entry in group], reference, s)
        for result in results:
            if (before := next((r for r in found.results if r.entry == result.entry), None)) is None:
                found.results.append(result)
            else:
                before.extend(result)
        found.limits += limits
    order = {entry: i for i, entry in enumerate(entries)}
    found.results.sort(key=lambda result: order[result.entry])
    return found


def run(
    works: Sequence[str] = (),
    peers: Sequence[str] = (),
    settings: Settings | None = None,
    *,
    quick: bool = False,
    cache: Path | None = None,
    tell: Tell = lambda text: None,
    done: Callable[[list[Measured], list[str]], None] = lambda found, missing: None,
) -> tuple[list[Measured], list[str]]:
    """Measures these works with these peers (all, if none are named); also the peers that are not installed.

    ``done`` is called after every work with what there is so far.

    Checkpoints are written to ``cache``, gigabytes for the large shapes, and used again from there; without it they
    vanish. Raises ValueError for a name that is not known, :class:`FailedError` when Cutaway itself fails."""
    wanted = chosen(works, quick)
    here, missing = invited(peers)
    s = settings or Settings(os.cpu_count() or 1)
    found = []
    with workshop(cache) as folder:
        for i, work in enumerate(wanted, 1):
            tell(f"{i} of {len(wanted)}: {work}")
            found.append(measure(work, here, folder, s))
            done(found, missing)
    return found, missing
