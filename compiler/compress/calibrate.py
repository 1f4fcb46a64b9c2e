"""Ranges of the tensors of a float graph, taken from calibration data.

Two passes over the data, each chunk by chunk, so that memory does not grow with the number of samples: the first takes
the extremes, the second (percentile and MSE only) a histogram between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import DataError, InternalError, ModelError
from ..interp import run_chunks
from ..ir.graph import Graph
from ..ir.resized import for_inputs
from ..options import CalibrationMethod

BINS = 4096
"""Bins of a histogram; one bin is 1/16 of an 8-bit step of the full range."""

COVERAGE = 0.99995
"""Part of the values inside a percentile range; the rest is split evenly between both ends."""

CANDIDATES = 100
"""Ends tried on each side by the MSE search."""

CHUNK = 32
"""Samples evaluated at once."""

ROW = 4096
"""Values of a row that a reduction goes through fast."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was seen of one tensor.

    Attributes:
        low, high: smallest and largest value.
        counts: histogram of (low, high) in equal bins, or None if only extremes were collected.
        channel_low, channel_high: extremes for each index of the last axis.
    """

    low: float
    high: float
    channel_low: np.ndarray
    channel_high: np.ndarray
    counts: np.ndarray | None = None

    @property
    def centres(self) -> np.ndarray:
        """Bin centres of the histogram."""
        if self.counts is None:
            raise InternalError("no histogram was collected")
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
        return (edges[:-1] + edges[1:]) / 2


def collect(
    graph: Graph, inputs: Mapping[str, np.ndarray], tensors: Iterable[str], *, histogram: bool = False
) -> dict[str, Statistics]:
    """Run the float graph and record statistics of `tensors`.

    Args:
        inputs: graph input -> real values (raw integers for integer inputs), (S, *shape); images may be of another
            size than the graph's if its layers can take them.

    Raises:
        DataError: no samples.
        ModelError: a tensor becomes NaN or infinite on this data (the node that makes it is named).
    """
    wanted = tuple(dict.fromkeys(tensors))
    if not wanted:
        return {}
    if not inputs or min(len(values) for values in inputs.values()) == 0:
        raise DataError("calibration data has no samples", hint="give at least one, better a few hundred")
    graph = for_inputs(graph, {name: values.shape[1:] for name, values in inputs.items()})
    channels: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    with np.errstate(all="ignore"):  # told by name in _extremes
        for part in run_chunks(graph, inputs, keep=wanted, chunk=CHUNK):
            for name in wanted:
                low, high = _extremes(graph, name, part[name])
                if name in channels:
                    low, high = np.minimum(low, channels[name][0]), np.maximum(high, channels[name][1])
                channels[name] = low, high
    found = {name: Statistics(float(low.min()), float(high.max()), low, high) for name, (low, high) in channels.items()}
    return _with_histograms(graph, inputs, found) if histogram else found


def _extremes(graph: Graph, name: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = channel_extremes(values)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        node = graph.producer(name)
        source = node.source if node is not None else None
        raise ModelError(
            f"tensor '{name}' becomes infinite or not-a-number on the calibration data",
            file=source.model or None if source else None,
            node=source.node if source else None,
            op_type=source.op_type if source else None,
            hint="check the scale of the data (raw pixels or 0..1?) and the model's weights",
        )
    return low.astype(np.float64), high.astype(np.float64)


def channel_extremes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value for each index of the last axis.

    Rows of few channels are taken many at a time: one short row after the other would be several times slower.
    """
    channels = values.shape[-1]
    flat = values.reshape(-1, channels)
    together = min(len(flat), ROW // channels)
    if together > 1:
        whole = len(flat) // together * together
        wide = flat[:whole].reshape(-1, together * channels)
        ends = [end(axis=0).reshape(together, channels) for end in (wide.min, wide.max)]
        flat = np.concatenate([*ends, flat[whole:]])
    return flat.min(axis=0), flat.max(axis=0)


def _with_histograms(
    graph: Graph, inputs: Mapping[str, np.ndarray], found: Mapping[str, Statistics]
) -> dict[str, Statistics]:
    counts = {name: np.zeros(BINS, np.int64) for name in found}
    for part in run_chunks(graph, inputs, keep=tuple(found), chunk=CHUNK):
        for name, seen in found.items():
            if seen.high > seen.low:
                counts[name] += np.histogram(part[name], BINS, (seen.low, seen.high))[0]
    return {
        name: Statistics(seen.low, seen.high, seen.channel_low, seen.channel_high, counts[name])
        for name, seen in found.items()
    }


def calibrated_range(statistics: Statistics, method: CalibrationMethod, width: int = 8) -> tuple[float, float]:
    """The range (low, high) a type of `width` bits should cover, by the given method; contains zero.

    min-max: the extremes. percentile: the interval that holds `COVERAGE` of the values. mse: the interval with the
    least mean squared error of rounding and saturation together, over the histogram.
    """
    low, high = min(statistics.low, 0.0), max(statistics.high, 0.0)
    if method is CalibrationMethod.MIN_MAX or statistics.high <= statistics.low:
        return low, high
    if method is CalibrationMethod.PERCENTILE:
        return _percentile(statistics)
    return _least_squares(statistics, low, high, width)


def _percentile(statistics: Statistics) -> tuple[float, float]:
    if statistics.counts is None:
        raise InternalError("no histogram was collected")
    shares = np.cumsum(statistics.counts) / statistics.counts.sum()
    edges = np.linspace(statistics.low, statistics.high, len(shares) + 1)
    outside = (1.0 - COVERAGE) / 2
    low = edges[int(np.searchsorted(shares, outside, side="right"))]
    high = edges[int(np.searchsorted(shares, 1.0 - outside, side="left")) + 1]
    return min(float(low), 0.0), max(float(high), 0.0)


def _least_squares(statistics: Statistics, low: float, high: float, width: int) -> tuple[float, float]:
    """Shrink each end in turn to its best candidate, twice (the ends influence each other through the scale)."""
    values = statistics.centres
    weights = np.asarray(statistics.counts, np.float64)
    values, weights = values[weights > 0], weights[weights > 0]
    shrink = np.linspace(1.0 / CANDIDATES, 1.0, CANDIDATES)
    for _ in range(2):
        high = _best_end(values, weights, [(low, high_end) for high_end in high * shrink], width)[1]
        low = _best_end(values, weights, [(low_end, high) for low_end in low * shrink], width)[0]
    return low, high


def _best_end(
    values: np.ndarray, weights: np.ndarray, candidates: list[tuple[float, float]], width: int
) -> tuple[float, float]:
    errors: list[float] = []
    for low, high in candidates:
        step = (high - low) / ((1 << width) - 1)
        if step <= 0.0:
            errors.append(np.inf)
            continue
        rounded = np.clip(np.rint(values / step) * step, low, high)
        errors.append(float(((rounded - values) ** 2 * weights).sum()))
    return candidates[int(np.argmin(errors))]
