"""The trade-off curve of a model on an FPGA: what the best plan takes against what narrower values lose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..board import Board
from ..compress.fidelity import make_bound
from ..compress.width_search import PlansWidths, WidthSearch, width_choices
from ..estimate.report import Estimate
from ..options import BackendOptions, QuantizeOptions
from ..prepare import Prepared
from ..resources import Resources
from .picture import draw

LOGIC = ("lut", "ff", "dsp", "bram18", "uram")


@dataclass(frozen=True, slots=True)
class WidthPoint:
    """One choice of widths, strategies and reuse factors.

    Attributes:
        estimate: of the design.
        value: the measure of the curve, on the half of the data that steered nothing.
        weights: layer -> bits of its weights.
        values: (fewest, most) bits of the values between layers.
    """

    estimate: Estimate
    value: float
    weights: Mapping[str, int]
    values: tuple[int, int]

    @property
    def fullest(self) -> tuple[str, float]:
        """The resource the design takes the largest share of, and that share."""
        need, have = self.estimate.total, self.estimate.budget
        shares = {name: _share(need, have, name) for name in LOGIC}
        name = max(shares, key=lambda name: shares[name])
        return name, shares[name]


@dataclass(frozen=True, slots=True)
class WidthCurve:
    """What a model takes of an FPGA at which loss.

    Attributes:
        model, board: what was fitted to what.
        measure: 'agreement', 'accuracy' (relative to float) or 'snr'.
        points: the smallest design first, each better than those before; the last has the widest values everywhere.
    """

    model: str
    board: str
    measure: str
    points: tuple[WidthPoint, ...]

    @property
    def best(self) -> WidthPoint | None:
        """The point of best value that fits the board; None if none fits."""
        fitting = [point for point in self.points if point.estimate.fits]
        return max(fitting, key=lambda point: point.value, default=None)


def width_curve(
    prepared: Prepared, board: Board, backend: PlansWidths, quantize: QuantizeOptions, options: BackendOptions
) -> WidthCurve:
    """The best plan that fits at each of a row of noise budgets, each measured with the interpreter.

    Raises:
        UsageError: a bound that means nothing for this model.
    """
    bound = make_bound(prepared.floating, quantize, prepared.labels)
    found = width_choices(prepared.floating, prepared.data, backend, board, quantize, options, bound, prepared.labels)

    def point(choice: WidthSearch) -> WidthPoint:
        estimate = backend.estimate(choice.graph, board, options)
        between = choice.widths.groups
        return WidthPoint(estimate, choice.confirmed, choice.widths.weights, (min(between), max(between)))

    *narrow, widest = [point(choice) for choice in found]
    kept: list[WidthPoint] = []
    for candidate in sorted(narrow, key=lambda point: (point.fullest[1], -point.value)):
        if all(candidate.value > before.value for before in kept):
            kept.append(candidate)
    return WidthCurve(prepared.model, board.name, bound.measure, (*kept, widest))


def draw_width_curve(curve: WidthCurve, path: Path) -> None:
    """Write the curve as a picture; the suffix says in which format.

    Raises:
        OutputError: the file cannot be written.
    """
    shares = [100 * point.fullest[1] for point in curve.points]
    limit = (100.0, f"budget of {curve.board}")
    values = [point.value for point in curve.points]
    axis = ("fullest resource, % of the budget", shares, limit)
    draw(path, f"{curve.model} on {curve.board}", axis, curve.measure, values)


def _share(need: Resources, have: Resources, name: str) -> float:
    wanted, there = getattr(need, name), getattr(have, name)
    return float(wanted) / there if there else (float("inf") if wanted else 0.0)
