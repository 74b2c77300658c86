"""How the learning rate moves: a factor of the peak rate for every step, counted from 0."""

import math
from dataclasses import dataclass
from typing import Literal

Shape = Literal["constant", "linear", "cosine", "inverse-sqrt", "wsd"]


@dataclass(frozen=True)
class Schedule:
    """``warmup`` steps up to the peak, then ``shape`` down to ``floor`` of it over the run.

    ``linear`` and ``cosine`` (Loshchilov and Hutter, 2017) fall over all remaining steps; ``inverse-sqrt`` is the
    2017 paper's, ``√(warmup / step)``, and has no end; ``wsd`` stays at the peak and falls over the last ``decay``
    share of the run, by ``1 - √t`` (warm-up, stable, decay: Hu et al., 2024; Hägele et al., 2024)."""

    shape: Shape = "cosine"
    warmup: int = 100
    floor: float = 0.0
    decay: float = 0.2

    def __post_init__(self) -> None:
        if self.warmup < 0 or not 0 <= self.floor <= 1 or not 0 < self.decay <= 1:
            raise ValueError(f"a schedule has warmup >= 0, floor in [0, 1], decay in (0, 1], got {self}")

    @property
    def stable(self) -> float:
        """The share of a run through which the rate does not depend on how long the run is."""
        return 1 - self.decay if self.shape == "wsd" else 1.0 if self.shape in ("constant", "inverse-sqrt") else 0.0

    def __call__(self, step: int, steps: int) -> float:
        """The factor of the peak rate at ``step`` of ``steps``."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, steps - self.warmup))
        match self.shape:
            case "linear":
                fall = 1 - done
            case "cosine":
                fall = (1 + math.cos(math.pi * done)) / 2
            case "wsd":
                fall = 1 - math.sqrt(max(0.0, (step / steps - (1 - self.decay)) / self.decay))
            case "inverse-sqrt":
                fall = math.sqrt(max(1, self.warmup) / (step + 1))
            case "constant":
                fall = 1.0
        return self.floor + (1 - self.floor) * fall
