"""Relative indexes: the positions of non-zero values as the number of zeros before each (Han, Mao and Dally 2016).

A gap longer than the code allows is bridged by fillers: stored values that are zero.
"""

from __future__ import annotations

import numpy as np

from ..errors import InternalError


def relative_index(values: np.ndarray, longest: int, *, terminate: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Gaps and values of the non-zeros and fillers, in order.

    Args:
        values: integers of any shape, taken in row-major order.
        longest: largest gap that can be coded.
        terminate: end with a gap that leads to the position behind the last value, so that a decoder needs no count.

    Returns:
        (N,) gaps, 0 to `longest`, and (N,) values, zero for a filler; with `terminate` there is one gap more.
    """
    flat = values.reshape(-1)
    places = np.flatnonzero(flat)
    ends = np.append(places, flat.size) if terminate else places
    whole = np.diff(ends, prepend=-1) - 1
    fillers = whole // (longest + 1)
    last = np.cumsum(fillers + 1) - 1
    gaps = np.full(int((fillers + 1).sum()), longest, np.int64)
    gaps[last] = whole - fillers * (longest + 1)
    coded = np.zeros(len(gaps), np.int64)
    coded[last[: len(places)]] = flat[places]
    return gaps, coded[:-1] if terminate else coded


def from_relative_index(gaps: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """The inverse of `relative_index`: (size,) int64.

    Raises:
        InternalError: a position beyond the end.
    """
    places = np.cumsum(np.asarray(gaps, np.int64) + 1)[: len(values)] - 1
    if places.size and int(places[-1]) >= size:
        raise InternalError("the coded weights end too late")
    flat = np.zeros(size, np.int64)
    flat[places] = values
    return flat


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """(false values skipped, true values taken) by turns; false values at the end are left out."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.asarray(flags, bool), [False]])))
    starts, ends = edges[::2], edges[1::2]
    before = np.concatenate([[0], ends[:-1]])
    return [(int(s - b), int(e - s)) for b, s, e in zip(before, starts, ends, strict=True)] if starts.size else []
