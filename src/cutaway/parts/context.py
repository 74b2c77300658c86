"""What a forward pass carries beside the residual stream, and the cache of keys, values and states."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..scores import INF, OPEN, Mask, Rule, as_rule

Heads = Float[Tensor, "B G K d"]
Run = Callable[[Sequence[nn.Module], Sequence["Context"], Tensor], Tensor]


class Slots:
    """Keys and values of one attention for the slots ``start .. stop``, in buffers that are reused."""

    def __init__(self, capacity: int, back: int = 0):
        self.capacity, self.back, self.start, self.stop = capacity, back, 0, 0
        self.buffers: tuple[Tensor, ...] = ()

    def put(self, new: tuple[Tensor, Tensor], at: int, reach: float) -> tuple[Tensor, Tensor, int]:
        """Append ``new`` at slot ``at``; returns all keys and values that may still be seen, and their first slot."""
        first = self.claim(new, at, reach)
        for buffer, piece in zip(self.buffers, new, strict=True):
            buffer[:, :, at - self.start : self.stop - self.start] = piece
        k, v = (buffer[:, :, first - self.start : self.stop - self.start] for buffer in self.buffers)
        if reach < INF and self.buffers[0].shape[2] > 4 * (reach + self.back + 1):  # a long prompt leaves its window
            kept = int(reach) + self.back
            self.move(new, max(self.start, self.stop - kept), 2 * (kept + 1))
        return k, v, first

    def claim(self, like: tuple[Tensor, Tensor], at: int, reach: float) -> int:
        """Room in the buffers for new keys and values like these from slot ``at`` on; the first slot that is seen."""
        if at != self.stop:
            raise ValueError(f"the cache holds slots up to {self.stop}, so the next is {self.stop}, not {at}")
        stop = at + like[0].shape[2]
        first = self.start if reach == INF else max(self.start, at - int(reach))
        if not self.buffers or stop - self.start > self.buffers[0].shape[2]:
            kept = max(self.start, first - self.back)
            self.move(like, kept, max(self.capacity, 2 * (stop - kept)))
        self.stop = stop
        return first

    def reorder(self, rows: Int[Tensor, " R"]) -> None:
        """Row ``i`` becomes row ``rows[i]``, in the same buffers if there are as many."""
        if len(rows) != len(self.buffers[0]):
            self.buffers = tuple(b.index_select(0, rows) for b in self.buffers)
            return
        for buffer in self.buffers:
            used = buffer[:, :, : self.stop - self.start]
            used.copy_(used.index_select(0, rows))

    def move(self, like: tuple[Tensor, Tensor], first: int, room: int) -> None:
        """Fresh buffers of ``room`` slots that hold what there is from slot ``first`` on."""
        kept = [b[:, :, first - self.start : self.stop - self.start] for b in self.buffers]
        self.buffers = tuple(t.new_empty(*t.shape[:2], room, t.shape[3]) for t in like)
        for buffer, piece in zip(self.buffers, kept, strict=False):
            buffer[:, :, : piece.shape[2]] = piece
        self.start = first


def plainly(blocks: Sequence[nn.Module], contexts: Sequence["Context"], x: Tensor) -> Tensor:
    """One block after the other."""
    for block, ctx in zip(blocks, contexts, strict=True):
        x = block(x, ctx)
    return x


class Cache:
    """Keys and values of every attention, keyed by the module itself: preallocated, rolling under a window.

    ``capacity`` is how many slots to expect; more are taken when they come. A window keeps ``back`` slots more than
    it reaches, so that as many can be forgotten. Cross-attention's are made once.
    Recurrent modules keep their state instead. ``moves`` are the reorderings so far: whose past a row goes on from.
    ``run`` is how stacks run their blocks while this is filled."""

    def __init__(self, capacity: int = 0, back: int = 0, run: Run = plainly):
        self.capacity, self.back, self.length, self.run = capacity, back, 0, run
        self.slots: dict[Hashable, Slots] = {}
        self.memory: dict[Hashable, tuple[Tensor, Tensor]] = {}
        self.states: dict[Hashable, tuple[Tensor, ...]] = {}
        self.moves: list[Tensor] = []

    def put(self, owner: Hashable, k: Heads, v: Heads, at: int, reach: float) -> tuple[Tensor, Tensor, int]:
        """Keys, values [B, G, K, d] that ``owner`` may see from slot ``at`` on, and the slot of the first of them."""
        slots = self.of(owner, reach)
        k, v, first = slots.put((k, v), at, reach)
        self.length = slots.stop
        return k, v, first

    def claim(
        self, owner: Hashable, like: tuple[Heads, Heads], at: int, reach: float
    ) -> tuple[tuple[Tensor, ...], int, int]:
        """Buffers with room for new keys and values of ``owner``, the slot where they begin, and the first seen."""
        slots = self.of(owner, reach)
        first = slots.claim(like, at, reach)
        self.length = slots.stop
        return slots.buffers, slots.start, first

    def of(self, owner: Hashable, reach: float) -> Slots:
        """The slots of one attention."""
        if owner not in self.slots:
            window = self.capacity if reach == INF else 2 * (int(reach) + self.back + 1)
            self.slots[owner] = Slots(min(self.capacity, window), self.back)
        return self.slots[owner]

    def once(self, owner: Hashable, make: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """The keys and values of a memory that does not change, made at the first call."""
        if owner not in self.memory:
            self.memory[owner] = make()
        return self.memory[owner]

    def keep(self, owner: Hashable, state: tuple[Tensor, ...], length: int) -> None:
        """What a recurrent ``owner`` goes on from after ``length`` slots: tensors whose first axis are the rows."""
        self.states[owner], self.length = state, length

    def reorder(self, rows: Int[Tensor, " R"], memory: bool = True) -> None:
        """Row ``i`` becomes a copy of row ``rows[i]``: beams that fork, sequences that end.

        ``memory=False`` leaves cross-attention as it is, for rows that trade places over one source."""
        self.moves.append(rows)
        for slots in self.slots.values():
            slots.reorder(rows)
        self.states = {o: tuple(t.index_select(0, rows) for t in state) for o, state in self.states.items()}
        if memory:
            self.memory = {o: (k[rows], v[rows]) for o, (k, v) in self.memory.items()}

    def cut(self, length: int) -> None:
        """Forget the slots from ``length`` on (rejected drafts). Raises ValueError for what has rolled away."""
        if self.states and length < self.length:
            raise ValueError(f"a recurrent state is that after {self.length} slots only, cannot go back to {length}")
        for slots in self.slots.values():
            if slots.start and slots.stop - length > self.back:
                raise ValueError(f"slots before {slots.start} have left the window, cannot go back to {length}")
            slots.stop = min(slots.stop, length)
        self.length = min(self.length, length)

    @property
    def bytes(self) -> int:
        """Bytes allocated."""
        kept = (*(s.buffers for s in self.slots.values()), *self.memory.values(), *self.states.values())
        tensors = [t for several in kept for t in several]
        return sum(t.numel() * t.element_size() for t in tensors)


@dataclass
class Context:
    """What a forward pass carries beside the residual stream.

    ``rule`` bounds self-attention, ``at`` is the slot of the first of the N tokens, ``positions`` [B, N] say where
    they stand (None: at their slots), ``placing`` [B, K] where all slots do, for masks that read positions.
    ``memory`` [B, M, D] is what cross-attention reads under ``memory_rule``, ``side`` holds a family's named extra
    tensors, ``memo`` what is the same for all layers of one pass."""

    rule: Rule
    positions: Int[Tensor, "_ N"] | None = None
    placing: Int[Tensor, "_ K"] | None = None
    at: int = 0
    memory: Float[Tensor, "B M D"] | None = None
    memory_rule: Rule | None = None  # None: all of it
    cache: Cache | None = None
    side: dict[str, Tensor] | None = None
    memo: dict[Hashable, tuple[Any, ...]] | None = None

    @classmethod
    def of(cls, rule: Rule | Mask = OPEN) -> "Context":
        """A context with nothing but a rule: ``attend(x, Context.of(CAUSAL))``."""
        return cls(as_rule(rule))

    def places(self, x: Tensor) -> Int[Tensor, "_ N"]:
        """The positions of the N tokens of ``x`` [B, N, ...]."""
        if self.positions is not None:
            return self.positions
        return torch.arange(self.at, self.at + x.shape[1], device=x.device)[None]

    def once(self, key: Hashable, make: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        """A value that all layers share, made by the first that asks."""
        if self.memo is None:
            return make()
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]
