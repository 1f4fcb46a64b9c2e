"""Published results of MLPerf Tiny (closed division, performance mode) that the cycle model is compared with.

Latency in milliseconds as 1 / median throughput of each `results.txt`, times the clock of the system file, gives
cycles. Submissions: github.com/mlcommons/tiny_results_v0.7, v1.0, v1.1, v1.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """A submission.

    Attributes:
        software: who and what.
        board: name of the board file.
        clock_mhz: clock of the submission.
        milliseconds: model -> latency.
    """

    software: str
    board: str
    clock_mhz: float
    milliseconds: Mapping[str, float]

    def cycles(self, model: str) -> float:
        """Cycles of one inference."""
        return self.milliseconds[model] * self.clock_mhz * 1e3


def _times(ad01: float, ic01: float, kws01: float, vww01: float) -> Mapping[str, float]:
    return {"ad01": ad01, "ic01": ic01, "kws01": kws01, "vww01": vww01}


CMSIS_NN = Published("microTVM + CMSIS-NN, v1.0", "nucleo-l4r5zi", 120, _times(8.60, 389.6, 99.8, 301.2))
"""The one published submission whose kernels can be run here: OctoML's, on CMSIS-NN of 2022."""

OTHERS = (
    Published("X-CUBE-AI, v1.2", "nucleo-l4r5zi", 120, _times(5.26, 165.1, 43.19, 88.9)),
    Published("plumerai, v1.1", "nucleo-l4r5zi", 120, _times(4.05, 167.8, 47.78, 98.8)),
)
"""The fastest published on a Cortex-M4."""

BOTH_CORES = (
    (
        OTHERS[0],
        Published("X-CUBE-AI, v1.2", "nucleo-h7a3zi", 280, _times(1.23, 40.84, 11.32, 23.80)),
    ),
    (
        OTHERS[1],
        Published("plumerai, v1.1", "disco-f746ng", 216, _times(1.71, 62.88, 17.75, 34.08)),
    ),
)
"""Submissions of the same software on a Cortex-M4 and a Cortex-M7."""
