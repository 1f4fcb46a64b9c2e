"""80 % intervals: factors of the estimate, from how far predictions of unseen repositories were off."""

from __future__ import annotations

import math

from .estimate_types import Figure


def interval_of(value: float, factors: tuple[float, float]) -> Figure:
    """The figure as a count with its interval.

    Args:
        value: the estimate, unrounded.
        factors: 10 % and 90 % points of (actual + 1/2) / (estimate + 1/2) over unseen repositories. The half makes
            the ratio of small counts, and of zero, meaningful.
    """
    low, high = factors
    return Figure(
        float(round(value)),
        float(min(round(value), max(0, math.ceil((value + 0.5) * low - 0.5 - 1e-9)))),
        float(max(round(value), math.floor((value + 0.5) * high - 0.5 + 1e-9))),
    )
