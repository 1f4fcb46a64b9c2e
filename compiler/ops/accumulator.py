"""Exact ranges of integer accumulators: every width in boardfit is computed from these, never guessed."""

from __future__ import annotations

import numpy as np

from ..ir.types import Affine, ElementType, FixedPoint


def input_range(element: ElementType) -> tuple[int, int]:
    """Smallest and largest value of (raw - zero_point)."""
    if isinstance(element, FixedPoint):
        return element.minimum, element.maximum
    if isinstance(element, Affine):
        zero = element.zero_point[0]
        return element.minimum - zero, element.maximum - zero
    raise ValueError(f"{element} has no integer range")


def accumulator_range(weights: np.ndarray, bias: np.ndarray | None, element: ElementType) -> tuple[int, int]:
    """Tight bounds of sum(x * w) + bias, also of every partial sum that starts from the bias or from zero.

    Args:
        weights: (out, K) raw weights less their zero point.
        bias: (out,) in accumulator units, or None.
        element: type of the inputs x.

    Returns:
        (low, high): every intermediate and final value lies within, whatever the order of additions.
    """
    low_in, high_in = input_range(element)
    low_in, high_in = min(low_in, 0), max(high_in, 0)
    weights = weights.astype(np.int64)
    positive = np.where(weights > 0, weights, 0).sum(axis=1)
    negative = np.where(weights < 0, weights, 0).sum(axis=1)
    start = np.zeros(len(weights), np.int64) if bias is None else bias.astype(np.int64)
    high = positive * high_in + negative * low_in + np.maximum(start, 0)
    low = positive * low_in + negative * high_in + np.minimum(start, 0)
    return int(low.min(initial=0)), int(high.max(initial=0))


def absolute_bound(weights: np.ndarray, element: ElementType) -> int:
    """Bound on |sum(x * w)| over any subset of the products; decides which exact matmul is used."""
    low, high = input_range(element)
    reach = max(abs(low), abs(high), 1)
    sums = np.abs(weights.astype(np.int64)).sum(axis=1)
    return int(sums.max(initial=1)) * reach
