"""What the raw values of a layer's weights allow to be stored: a grid of few bits, a codebook, zeros left out.

Weights are (outputs, depth) int64, less their zero point, as they enter the sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CODEBOOK = 16
BLOCK = 4


@dataclass(frozen=True, slots=True)
class Grid:
    """Weights low + step * n with 0 <= n < 2**bits."""

    low: int
    step: int
    bits: int

    def numbers(self, weights: np.ndarray) -> np.ndarray:
        """The n of every weight."""
        found: np.ndarray = (weights - self.low) // self.step
        return found


def grid(weights: np.ndarray) -> Grid:
    """The coarsest grid that all weights lie on, with the fewest bits."""
    values = np.unique(weights)
    low = int(values[0])
    step = int(np.gcd.reduce(np.diff(values))) if len(values) > 1 else 1
    steps = (int(values[-1]) - low) // step
    return Grid(low, step, max(1, steps.bit_length()))


def density(weights: np.ndarray, block: int = 1) -> float:
    """Share of aligned runs of `block` inputs that are not all zero; a last, shorter run counts as a whole one."""
    return float(occupied(weights, block).mean()) if weights.size else 0.0


def occupied(weights: np.ndarray, block: int) -> np.ndarray:
    """(outputs, ceil(depth / block)) bool: which runs of `block` inputs are not all zero."""
    outputs, depth = weights.shape
    padded = np.pad(weights, ((0, 0), (0, -depth % block)))
    return np.asarray(padded.reshape(outputs, -1, block).any(axis=2))


def refuse_grid(weights: np.ndarray, bits: int) -> str | None:
    """Why weights are not numbers of so few bits, or None."""
    needed = grid(weights).bits
    return None if needed <= bits else f"its weights need {needed} bits, not {bits}"


def refuse_ternary(weights: np.ndarray) -> str | None:
    """Why weights are not -t, 0 and t for some t, or None."""
    values = np.unique(np.abs(weights))
    return None if len(values[values > 0]) <= 1 else "its weights are not -t, 0 and t alone"


def refuse_values(weights: np.ndarray, most: int) -> str | None:
    """Why weights are not of so few values, or None."""
    values = len(np.unique(weights))
    return None if values <= most else f"its weights have {values} values, more than {most}"


def refuse_zeros(weights: np.ndarray, most: float, what: str, block: int = 1) -> str | None:
    """Why leaving out zeros would save nothing, or None; `most`: density where the stored form is as large as int8."""
    share = density(weights, block)
    return None if share < most else f"{share:.0%} of its {what} are not zero, and nothing is saved from {most:.0%} on"


def gaps(places: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances of increasing places, each from one past the previous one.

    A distance above `most` takes entries that stand for no place. Returns the distances, and which entries are real.
    """
    distances: list[int] = []
    real: list[bool] = []
    at = 0
    for place in places.tolist():
        while place - at > most:
            distances.append(most)
            real.append(False)
            at += most + 1
        distances.append(place - at)
        real.append(True)
        at = place + 1
    return np.array(distances, np.int64), np.array(real, bool)
