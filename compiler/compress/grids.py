"""Integer grids for weights, and the scales that fit them best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ..errors import UsageError
from ..ir.affine import TINY
from ..ir.types import Affine
from .layers import pick

CANDIDATES = 80
"""Scales tried for a channel before the best one is refined."""

SMALLEST = 0.2
"""Smallest scale tried, as a part of the one that represents the largest weight."""

REFINEMENTS = 4
"""Rounds of: assign, then the least-squares scale."""


class GridKind(str, Enum):
    """Which raw integers weights may take."""

    UNIFORM = "uniform"  # all of a width; without the most negative one at 8 bits
    POWER_OF_TWO = "power-of-two"  # zero and plus or minus 2**k: products are shifts
    TERNARY = "ternary"  # -1, 0, 1
    BINARY = "binary"  # -1, 1


@dataclass(frozen=True, slots=True)
class Grid:
    """The raw values weights may take.

    Attributes:
        kind: family of values.
        width: bits: of the raw values (uniform, 2 to 8), or of the code: sign and exponent (power of two, 2 to 4).
    """

    kind: GridKind = GridKind.UNIFORM
    width: int = 8

    def __post_init__(self) -> None:
        low, high = (2, 4) if self.kind is GridKind.POWER_OF_TWO else (2, 8)
        if not low <= self.width <= high:
            raise UsageError(
                f"weights of {self.width} bits on a {self.kind.value} grid", hint=f"widths are {low} to {high}"
            )

    @property
    def levels(self) -> np.ndarray:
        """Raw values, ascending, int64."""
        if self.kind is GridKind.TERNARY:
            return np.array([-1, 0, 1])
        if self.kind is GridKind.BINARY:
            return np.array([-1, 1])
        if self.kind is GridKind.POWER_OF_TWO:
            powers = 1 << np.arange((1 << (self.width - 1)) - 1)
            return np.concatenate([-powers[::-1], [0], powers])
        half = 1 << (self.width - 1)
        return np.arange(1 - half if self.width == 8 else -half, half)

    @property
    def storage(self) -> int:
        """Width of the integer type that holds the raw values."""
        if self.kind is GridKind.POWER_OF_TWO:
            return 8
        return self.width if self.kind is GridKind.UNIFORM else 2

    @property
    def clusters(self) -> int | None:
        """Distinct values, where they are fewer than the width says."""
        return None if self.kind is GridKind.UNIFORM else len(self.levels)

    @property
    def has_zero(self) -> bool:
        """Whether a pruned weight can stay zero."""
        return self.kind is not GridKind.BINARY

    def element(self, scales: np.ndarray) -> Affine:
        """The type with these scales: (out,), or one for the whole tensor."""
        single = np.asarray(scales, np.float32).reshape(-1)
        narrow = int(self.levels[0]) > -(1 << (self.storage - 1))
        axis = 0 if np.ndim(scales) else None
        return Affine(True, self.storage, tuple(map(float, single)), (0,) * len(single), axis, narrow=narrow)

    def round(self, ratios: np.ndarray) -> np.ndarray:
        """The nearest level of each real number, int64."""
        levels = self.levels
        if self.kind is GridKind.UNIFORM:
            return np.clip(np.rint(ratios), levels[0], levels[-1]).astype(np.int64)
        return levels[np.searchsorted((levels[:-1] + levels[1:]) / 2, ratios)]


Grids = Grid | int | Mapping[str, Grid | int]
"""A grid or a width for all layers, or by layer name or pattern; layers that are not named stay as they are."""


def pick_grid(grids: Grids, layer: str) -> Grid | None:
    """The grid chosen for a layer, or None to leave it as it is."""
    found = pick(grids, layer) if isinstance(grids, Mapping) else grids
    return Grid(width=found) if isinstance(found, int) else found


def min_max_scales(matrix: np.ndarray, grid: Grid) -> np.ndarray:
    """Scales that represent the largest weight of each row exactly, (out,)."""
    largest = np.abs(matrix).max(axis=1, initial=0.0)
    return np.where(largest < TINY, 1.0, largest / float(grid.levels[-1]))


def best_scales(matrix: np.ndarray, grid: Grid, importance: np.ndarray | None = None) -> np.ndarray:
    """The scale of each row with the least weighted squared rounding error.

    A search over clipping ranges, then alternately the nearest levels and the least-squares scale for them.

    Args:
        matrix: (rows, K) real weights.
        importance: (rows, K) weight of each squared error; None counts all alike.

    Returns:
        (rows,) positive scales.
    """
    weight = np.ones_like(matrix) if importance is None else np.maximum(importance, 1e-12 * importance.max(initial=1.0))
    top = min_max_scales(matrix, grid)
    best, least = top, _error(matrix, top, grid, weight)
    for part in np.linspace(SMALLEST, 1.0, CANDIDATES, endpoint=False):
        best, least = _better(matrix, top * part, grid, weight, best, least)
    for _ in range(REFINEMENTS):
        raw = grid.round(matrix / best[:, None])
        power = (weight * raw * raw).sum(axis=1)
        fitted = np.divide((weight * raw * matrix).sum(axis=1), power, out=best.copy(), where=power > 0)
        best, least = _better(matrix, np.where(fitted > TINY, fitted, best), grid, weight, best, least)
    return best


def _better(
    matrix: np.ndarray, scales: np.ndarray, grid: Grid, weight: np.ndarray, best: np.ndarray, least: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    errors = _error(matrix, scales, grid, weight)
    return np.where(errors < least, scales, best), np.minimum(errors, least)


def _error(matrix: np.ndarray, scales: np.ndarray, grid: Grid, weight: np.ndarray) -> np.ndarray:
    column = scales[:, None]
    return (weight * (grid.round(matrix / column) * column - matrix) ** 2).sum(axis=1)
