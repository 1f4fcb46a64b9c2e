"""How the 80 % intervals are made: factors from the errors of left-out repositories."""

from __future__ import annotations

import numpy as np

from benchmarks.estimator.spread import Outcome, spread_factors
from boardfit.estimate.fpga.intervals import interval_of

REPOSITORIES, ROWS = 12, 30


def _outcomes(noise: float, exact: float = 0.0, project: bool = True) -> list[Outcome]:
    """Predictions around 1000 whose errors share a part per repository."""
    random = np.random.default_rng(20261122)
    found: list[Outcome] = []
    for repository in range(REPOSITORIES):
        shared = random.normal(0.0, noise)
        for _ in range(ROWS):
            error = 0.0 if random.random() < exact else shared + random.normal(0.0, noise)
            actual = float(round(1000 * np.exp(error)))
            found.append(Outcome("lut", "synthesis.lut", str(repository), 1000.0, actual, project))
    return found


def _held_out_coverage(rows: list[Outcome]) -> float:
    inside = 0
    for repository in {row.repository for row in rows}:
        factors = spread_factors([row for row in rows if row.repository != repository])
        for row in rows:
            if row.repository == repository:
                figure = interval_of(row.predicted, factors[row.key])
                inside += figure.low <= row.actual <= figure.high
    return inside / len(rows)


def test_intervals_hold_four_of_five_rows_of_a_repository_never_seen() -> None:
    assert 0.75 <= _held_out_coverage(_outcomes(0.2)) <= 0.85


def test_mostly_exact_predictions_get_narrow_intervals() -> None:
    narrow = spread_factors(_outcomes(0.2, exact=0.7))["lut"]
    wide = spread_factors(_outcomes(0.2))["lut"]
    assert wide[0] < narrow[0] <= 1.0 <= narrow[1] < wide[1]
    assert spread_factors(_outcomes(0.2, exact=0.9))["lut"] == (1.0, 1.0)


def test_a_sweep_of_single_layers_does_not_choose_the_tail() -> None:
    sweep = [Outcome("lut", "synthesis.lut", "sweep", 1000.0, 1000.0, project=False)] * 2000
    assert spread_factors([*_outcomes(0.2), *sweep])["lut"][1] > 1.1
