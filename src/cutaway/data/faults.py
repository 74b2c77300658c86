"""What is wrong in the data: counted, and kept with file and line, never dropped unsaid."""

from dataclasses import dataclass

KEPT = 100


@dataclass(frozen=True)
class Fault:
    """A place that could not be used, and why; ``line`` is None for a whole file, a row's number in Parquet."""

    path: str
    line: int | None
    what: str

    def __str__(self) -> str:
        return f"{self.path}{'' if self.line is None else f', line {self.line}'}: {self.what}"


class Faults:
    """Counts what is left out and keeps the first 100 places; beyond ``allowed`` of them it is a ValueError.

    ``Faults()`` allows any number, ``Faults(0)`` none."""

    def __init__(self, allowed: int | None = None):
        self.allowed = allowed
        self.count = 0
        self.first: list[Fault] = []

    def add(self, path: object, line: int | None, what: str) -> None:
        """Count a place that is left out."""
        fault = Fault(str(path), line, what)
        self.count += 1
        if len(self.first) < KEPT:
            self.first.append(fault)
        if self.allowed is not None and self.count > self.allowed:
            many = f" (bad line number {self.count}; {self.allowed} are allowed)" if self.allowed else ""
            raise ValueError(f"{fault}{many}")

    def __str__(self) -> str:
        if not self.count:
            return "no bad lines"
        more = [f"and {self.count - len(self.first)} more"] if self.count > len(self.first) else []
        return "\n".join([f"left out {self.count}:", *map(str, self.first), *more])
