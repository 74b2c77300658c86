"""Whether two contestants computed the same: their answers compared with those of Cutaway in fp32."""

from dataclasses import dataclass

import numpy as np

from .contestants import Array

# The largest difference (rms, in standard deviations of the fp32 answer) with which speeds are compared. Random weights
# amplify every rounding; answers that have nothing to do with each other differ by 1.4.
TOLERANCE = {"fp32": 5e-3, "bf16": 6e-2, "int8": 0.15, "int4": 1.0}
LOGITS = ("decode", "prefill", "record", "load")


@dataclass(frozen=True)
class Difference:
    """How far an answer is from the reference: root mean square and largest, in standard deviations of the
    reference, and where both are logits KL(reference || answer) in nats, the mean over rows."""

    rms: float
    most: float
    kl: float | None

    def within(self, dtype: str) -> bool:
        return self.rms <= TOLERANCE[dtype]


def log_softmax(x: Array) -> Array:
    x = x - x.max(-1, keepdims=True)
    shifted: Array = x - np.log(np.exp(x).sum(-1, keepdims=True))
    return shifted


def difference(found: Array, reference: Array, logits: bool) -> Difference:
    """Compares two answers. Raises ValueError where their shapes differ."""
    if found.shape != reference.shape:
        raise ValueError(f"the answer is {list(found.shape)}, not {list(reference.shape)}")
    if not reference.size:
        return Difference(0.0, 0.0, None)
    a, b = found.astype(np.float64), reference.astype(np.float64)
    apart, scale = np.abs(a - b), b.std() or 1.0
    p, q = (log_softmax(b), log_softmax(a)) if logits else (None, None)
    kl = float((np.exp(p) * (p - q)).sum(-1).mean()) if p is not None and q is not None else None
    return Difference(float(np.sqrt((apart**2).mean()) / scale), float(apart.max() / scale), kl)
