"""Damaged text and what repairs it: span corruption (Raffel et al., 2020), infilling (Lewis et al., 2020)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from ...output import IGNORED
from .batch import Batch, Objective, Rows, bare, bounded, column, padded, read, real, to_write


@dataclass(frozen=True)
class SpanCorruption(Objective):
    """T5: spans of column ``input`` give way to sentinels; the target lists each sentinel and what it stands for.

    A ``share`` of the tokens goes, in spans of ``mean`` tokens on average; text comes first, and a span last. The
    sentinels are ``sentinel``, ``sentinel - 1``, ..., ``sentinels`` of them. Both sides end with ``eos``, as in the
    paper's code (its figure has one more sentinel there)."""

    sentinel: int
    start: int | None
    eos: int | None
    pad: int = 0
    sentinels: int = 100
    share: float = 0.15
    mean: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or self.mean < 1:
            raise ValueError(f"share lies between 0 and 1, and mean is at least 1, got {self}")

    def batch(self, rows: Rows, random: torch.Generator) -> Batch:
        pieces = bare(column(rows, "input"), None, self.eos)
        ids, keep = padded(pieces, self.pad), real(pieces)
        lengths = keep.sum(1)
        gone = (lengths * self.share).round().long().clamp(min=1).minimum(lengths - 1).clamp(min=0)
        spans = (gone / self.mean).round().long().clamp(min=1).minimum(gone).minimum(lengths - gone)
        if spans.max() > self.sentinels:
            raise ValueError(f"{int(spans.max())} spans need as many sentinels, but there are {self.sentinels}")
        text, noise = composition(lengths - gone, spans, random), composition(gone, spans, random)
        ends = torch.stack([text, noise], 2).flatten(1).cumsum(1)
        part = torch.searchsorted(ends, torch.arange(ids.shape[1]).expand(ids.shape).contiguous(), right=True)
        hidden, first = part % 2 == 1, part != F.pad(part, (1, 0), value=-1)[:, :-1]
        mark, told = self.sentinel - part // 2, part // 2 < spans[:, None]  # a single token hides nothing
        source = bounded(torch.where(hidden, mark, ids), keep & (~hidden | first), None, self.eos, self.pad)
        target = bounded(torch.where(hidden, ids, mark), keep & (hidden | first) & told, None, self.eos, IGNORED)
        return to_write(read(*source), target[0], self.pad, self.start)


def composition(total: Int[Tensor, " B"], parts: Int[Tensor, " B"], random: torch.Generator) -> Int[Tensor, "B S"]:
    """Each total as a sum of ``parts`` numbers of at least 1, every such sum equally likely; zeros behind."""
    items = torch.arange(int(total.max()))
    drawn = torch.rand(len(total), len(items), generator=random)
    drawn = drawn.masked_fill(items == 0, -1.0).masked_fill(items >= total[:, None], 2.0)
    begins = drawn.argsort(1).argsort(1) < parts[:, None]
    begins &= items < total[:, None]
    found = torch.zeros(len(total), max(1, int(parts.max())), dtype=torch.long)
    return found.scatter_add(1, (begins.cumsum(1) - 1).clamp(min=0), (items < total[:, None]).long())


@dataclass(frozen=True)
class Infilling(Objective):
    """BART: spans of column ``input`` become one mask each, the sentences trade places; the target is the text.

    Spans have Poisson(``mean``) tokens, one of none puts in a mask; together they take a ``share``. A sentence ends
    with the last of adjacent ``borders`` (none: the order stays). ``bos`` and ``eos``, where given, stand around both
    sides and are never masked."""

    mask: int
    start: int | None
    eos: int | None
    bos: int | None = None
    pad: int = 0
    borders: tuple[int, ...] = ()
    share: float = 0.3
    mean: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1 or self.mean <= 0:
            raise ValueError(f"share lies between 0 and 1, and mean is above 0, got {self}")

    def batch(self, rows: Rows, random: torch.Generator) -> Batch:
        pieces = bare(column(rows, "input"), self.bos, self.eos)
        ids, keep = padded(pieces, self.pad), real(pieces)
        targets = bounded(ids, keep, self.bos, self.eos, IGNORED)[0]
        damaged = self.fill(self.permute(ids, keep, random), keep.sum(1), random)
        source = bounded(*damaged, self.bos, self.eos, self.pad)
        return to_write(read(*source), targets, self.pad, self.start)

    def permute(
        self, ids: Int[Tensor, "B N"], keep: Bool[Tensor, "B N"], random: torch.Generator
    ) -> Int[Tensor, "B N"]:
        """Every row's sentences in any order."""
        border = torch.isin(ids, torch.tensor(self.borders, dtype=torch.long)) & keep
        first = F.pad(border[:, :-1] & ~border[:, 1:], (1, 0))
        drawn = torch.rand(ids.shape, generator=random).gather(1, first.cumsum(1))
        return ids.gather(1, drawn.masked_fill(~keep, 2.0).argsort(dim=1, stable=True))

    def fill(
        self, ids: Int[Tensor, "B N"], lengths: Int[Tensor, " B"], random: torch.Generator
    ) -> tuple[Int[Tensor, "B M"], Bool[Tensor, "B M"]]:
        """The rows with their masks, and which of that is real.

        Spans are dropped into the gaps of the text that stays, all gaps alike: so they cannot overlap, and what
        stands before token j of that text is known from how many spans lie before it."""
        gone = (lengths * self.share).round().long()
        stays = lengths - gone
        room = int(gone.max()) + 16
        spans = torch.poisson(torch.full((len(ids), room), self.mean), generator=random).long()
        before = spans.cumsum(1) - spans
        used = before < gone[:, None]
        spans = spans.minimum(gone[:, None] - before).clamp(min=0)
        gaps = (torch.rand(spans.shape, generator=random) * (stays[:, None] + 1)).long()
        gaps = gaps.masked_fill(~used, ids.shape[1] + 1).sort(1).values
        text = torch.arange(ids.shape[1]).expand(ids.shape).contiguous()
        passed = torch.searchsorted(gaps, text, right=True)
        source = text + F.pad(spans.cumsum(1), (1, 0)).gather(1, passed)
        there = text < stays[:, None]
        width = int((stays + used.sum(1)).max())
        found = ids.new_zeros(len(ids), width + 1)  # what is not there goes to the last column
        found.scatter_(1, torch.where(there, text + passed, width), ids.gather(1, source.clamp(max=ids.shape[1] - 1)))
        found.scatter_(1, torch.where(used, gaps + torch.arange(room), width), self.mask)
        return found[:, :-1], torch.arange(width) < (stays + used.sum(1))[:, None]
