"""The activation a linear op can carry: a clamp to a real interval, fused at no cost in integer code."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Activation:
    """y = min(max(x, low), high); (-inf, inf) is none, (0, inf) ReLU, (0, 6) ReLU6."""

    low: float = -math.inf
    high: float = math.inf

    @property
    def is_none(self) -> bool:
        """Whether nothing is clamped."""
        return self.low == -math.inf and self.high == math.inf

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Clamp float32 values."""
        return values if self.is_none else np.clip(values, np.float32(self.low), np.float32(self.high))

    def then(self, other: Activation) -> Activation:
        """This clamp followed by another one, as one clamp."""
        low = min(max(self.low, other.low), other.high)
        high = min(max(self.high, other.low), other.high)
        return Activation(low, high)

    def __str__(self) -> str:
        if self.is_none:
            return "none"
        if (self.low, self.high) == (0.0, math.inf):
            return "relu"
        return f"clamp({self.low:g}, {self.high:g})"


NONE = Activation()
RELU = Activation(0.0)
