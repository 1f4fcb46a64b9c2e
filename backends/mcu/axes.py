"""Strided walks: axes merged as far as possible, and the jumps of a walk with one inner loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WALK_AXES = 5
"""Axes a generated walk can have before its innermost one (after merging)."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Axes outer to inner, with one tuple of strides for each operand."""

    sizes: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.sizes)

    @property
    def inner(self) -> tuple[int, tuple[int, ...]]:
        """Length of the last axis and each operand's stride along it."""
        if not self.sizes:
            return 1, tuple(0 for _ in self.strides)
        return self.sizes[-1], tuple(strides[-1] for strides in self.strides)

    def jumps(self, operand: int) -> tuple[int, ...]:
        """For each axis before the last: from the end of the last axis to the start of the next row there.

        After the inner loop an operand's pointer has advanced by size * stride of the last axis; when axis `a` moves
        on, the axes between it and the last start again.
        """
        strides = self.strides[operand]
        found = []
        for axis in range(self.rank - 1):
            back = sum((self.sizes[i] - 1) * strides[i] for i in range(axis + 1, self.rank - 1))
            found.append(strides[axis] - back - self.sizes[-1] * strides[-1])
        return tuple(found)

    def steps(self, operand: int) -> tuple[int, ...]:
        """For each axis: from the last position of the axes after it to the first one of its next entry."""
        strides = self.strides[operand]
        return tuple(
            strides[axis] - sum((self.sizes[i] - 1) * strides[i] for i in range(axis + 1, self.rank))
            for axis in range(self.rank)
        )


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides in elements."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def broadcast_strides(shape: Sequence[int], target: Sequence[int]) -> tuple[int, ...]:
    """Strides of an operand of `shape` walked in the broadcast shape `target`: 0 where it repeats."""
    padded = (1,) * (len(target) - len(shape)) + tuple(shape)
    own = contiguous(padded)
    return tuple(
        0 if size == 1 and wanted != 1 else stride for size, wanted, stride in zip(padded, target, own, strict=True)
    )


def merged(sizes: Sequence[int], *strides: Sequence[int]) -> Walk:
    """The same walk with axes of length 1 dropped and neighbours merged where every operand allows it."""
    kept: list[int] = []
    columns: list[tuple[int, ...]] = []
    for size, *column in zip(sizes, *strides, strict=True):
        if size == 1:
            continue
        if kept and all(outer == inner * size for outer, inner in zip(columns[-1], column, strict=True)):
            kept[-1] *= size
            columns[-1] = tuple(column)
        else:
            kept.append(size)
            columns.append(tuple(column))
    by_operand = tuple(tuple(column[i] for column in columns) for i in range(len(strides)))
    return Walk(tuple(kept), by_operand)
