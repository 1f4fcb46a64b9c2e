"""The 80 % intervals: how far predictions of left-out repositories were off, and how much of each tail is cut off.

An interval is a pair of factors around the estimate, the tails of (actual + 1/2) / (predicted + 1/2). Errors of one
repository are alike, so the tail that covers 80 % of the rows of a repository nobody has seen is not 10 %: it is chosen
for each figure by leaving the repositories out once more. Repositories weigh as the square root of their rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from boardfit.estimate.fpga.model import spread_key

from .corpus import Sample

COVERAGE = 0.8
TAILS = np.round(np.arange(0.02, 0.2525, 0.005), 3)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One figure of a left-out design or layer beside the real one.

    `key` is the class that shares factors, `figure` the figure that shares a tail, `project` whether a design has
    several layers: tails of designs are chosen on those, as a sweep of single layers would outvote all projects.
    """

    key: str
    figure: str
    repository: str
    predicted: float
    actual: float
    project: bool

    @property
    def ratio(self) -> float:
        """Real figure over prediction; the halves make it meaningful for small counts and zero."""
        return (self.actual + 0.5) / (self.predicted + 0.5)


def key_of(sample: Sample, name: str) -> str:
    """Class of a sample's figure."""
    return spread_key(sample.analysis, sample.stage, name, layer=0 if sample.level == "layer" else None)


def outcomes(held_out: Iterable[tuple[Sample, Mapping[str, float]]]) -> list[Outcome]:
    """Every figure of every design and layer; cycles are the same at both stages and are taken from HLS reports."""
    found: list[Outcome] = []
    for sample, predicted in held_out:
        for name, actual in sample.actual.items():
            if name in ("latency", "ii") and sample.stage != "hls":
                continue
            key = key_of(sample, name)
            project = sample.level == "layer" or len(sample.analysis.design.layers) > 1
            figure = key if sample.level == "layer" else f"{sample.stage}.{name}"
            found.append(Outcome(key, figure, sample.repository, predicted[name], actual, project))
    return found


def _cut(rows: Sequence[Outcome]) -> np.ndarray:
    """(2, tails) factors of one class for every tail."""
    count = Counter(row.repository for row in rows)
    ordered = sorted(rows, key=lambda row: row.ratio)
    weights = np.array([count[row.repository] ** -0.5 for row in ordered])
    ratios = np.array([row.ratio for row in ordered])
    mass = (np.cumsum(weights) - 0.5 * weights) / weights.sum()
    return np.stack(
        [np.minimum(1.0, np.interp(TAILS, mass, ratios)), np.maximum(1.0, np.interp(1 - TAILS, mass, ratios))]
    )


def _held(rows: Sequence[Outcome], factors: np.ndarray) -> np.ndarray:
    """How many rows `boardfit.estimate.fpga.intervals.interval_of` holds, with each of the (2, tails) factors."""
    predicted = np.array([[row.predicted] for row in rows])
    actual = np.array([[row.actual] for row in rows])
    low, high = factors
    value = np.rint(predicted)
    lowest = np.minimum(value, np.maximum(0, np.ceil((predicted + 0.5) * low - 0.5 - 1e-9)))
    highest = np.maximum(value, np.floor((predicted + 0.5) * high - 0.5 + 1e-9))
    return np.asarray(((lowest <= actual) & (actual <= highest)).sum(axis=0))


def _by_key(rows: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    ordered = sorted(rows, key=lambda row: row.key)
    return {key: list(group) for key, group in groupby(ordered, key=lambda row: row.key)}


def _chosen_tail(rows: Sequence[Outcome]) -> int:
    """Index of the tail (narrowest of equals) whose intervals hold nearest to 80 % of the projects' rows."""
    inside = np.zeros(len(TAILS))
    judged = 0
    for repository in sorted({row.repository for row in rows}):
        factors = {key: _cut(group) for key, group in _by_key(r for r in rows if r.repository != repository).items()}
        left_out = (row for row in rows if row.repository == repository and row.project)
        for key, group in _by_key(left_out).items():
            if key in factors:
                judged += len(group)
                inside += _held(group, factors[key])
    off = np.abs(inside / max(1, judged) - COVERAGE)
    return int(np.flatnonzero(off <= off.min() + 1e-9)[-1])


def spread_factors(rows: Sequence[Outcome]) -> dict[str, tuple[float, float]]:
    """Factors of the 80 % interval by class, from outcomes of designs predicted without their repository."""
    factors: dict[str, tuple[float, float]] = {}
    for figure in sorted({row.figure for row in rows}):
        same = [row for row in rows if row.figure == figure]
        tail = _chosen_tail(same)
        for key, group in _by_key(same).items():
            low, high = _cut(group)[:, tail]
            factors[key] = (float(low), float(high))
    return factors
