"""Making a microcontroller design fit by compressing it, and the curve of what fits at which loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..backend import Backend
from ..board import Board
from ..compress.fidelity import Judge, make_bound, split
from ..data import CALIBRATION_SAMPLES, Samples
from ..errors import BudgetError
from ..estimate.budget import check_budget
from ..estimate.report import Estimate
from ..ir.graph import Graph
from ..measure import real_outputs
from ..options import BackendOptions, Optimize, QuantizeOptions
from ..prepare import Prepared, lower_for_board
from .forms import FORMS, Form
from .picture import draw
from .reasons import Reason, reasons
from .search import Budgeted, Infeasible, NotFound, apply_forms, compress_to_fit, trade_off
from .table import FormTable, make_table

UNITS = {"flash": "bytes of flash", "ram": "bytes of RAM"}


@dataclass(frozen=True, slots=True)
class Point:
    """One choice of the trade-off curve.

    Attributes:
        limit: bytes of flash the solver was given.
        estimate: of the design.
        predicted_loss: sum of the losses of the layers alone.
        value: the measure of the curve, on samples that steered nothing.
        forms: layer -> what is done to it.
        reasons: why, for each layer.
    """

    limit: int
    estimate: Estimate
    predicted_loss: float
    value: float
    forms: Mapping[str, Form]
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Curve:
    """What a model costs at which loss on a board.

    Attributes:
        model, board: what was fitted to what.
        measure: 'agreement', 'accuracy' (relative to float) or 'snr'.
        points: the smallest design first, each better than those before; the last is the plain one.
    """

    model: str
    board: str
    measure: str
    points: tuple[Point, ...]

    @property
    def best(self) -> Point | None:
        """The point of best value that fits the board; None if none fits."""
        fitting = [point for point in self.points if point.estimate.fits]
        return max(fitting, key=lambda point: point.value, default=None)


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """A model to be compressed for a board; half of the data steers, the other half judges."""

    prepared: Prepared
    board: Board
    backend: Backend
    quantize: QuantizeOptions
    options: BackendOptions
    steering: Samples
    judging: Samples
    judge: Judge

    @classmethod
    def make(
        cls, prepared: Prepared, board: Board, backend: Backend, quantize: QuantizeOptions, options: BackendOptions
    ) -> _Problem:
        first, second = split(prepared.data, CALIBRATION_SAMPLES)
        steering = {name: values[first] for name, values in prepared.data.items()}
        judging = {name: values[second] for name, values in prepared.data.items()}
        labels = None if prepared.labels is None else prepared.labels[second]
        bound = make_bound(prepared.floating, quantize, labels)
        judge = Judge(bound, real_outputs(prepared.floating, judging), labels)
        # small is what counts where the board is short; the final design is compiled for what the user wants
        small = replace(options, optimize=Optimize.SIZE)
        return cls(prepared, board, backend, quantize, small, steering, judging, judge)

    def lower(self, graph: Graph) -> Graph:
        return lower_for_board(graph, self.board, self.steering, self.quantize)

    def estimate(self, graph: Graph) -> Estimate:
        return self.backend.estimate(graph, self.board, self.options)

    def table(self) -> FormTable:
        return make_table(
            self.prepared.floating, self.steering, self.board, self.backend, self.options, self.quantize, FORMS
        )

    def value(self, integer: Graph) -> float:
        return self.judge.value(real_outputs(integer, self.judging))


def fit_by_compression(
    prepared: Prepared, board: Board, backend: Backend, quantize: QuantizeOptions, options: BackendOptions
) -> tuple[Graph, Budgeted]:
    """The integer graph of least loss that fits the board, and the choice behind it.

    Raises:
        BudgetError: nothing fits (a proof within the forms that are tried, or the search found nothing: the message
            says which), or what fits loses too much.
    """
    problem = _Problem.make(prepared, board, backend, quantize, options)
    table = problem.table()
    found = compress_to_fit(
        prepared.floating, problem.steering, table, table.plain.budget, problem.lower, problem.estimate
    )
    if not isinstance(found, Budgeted):
        raise _refusal(found, table, board, prepared.model)
    value = problem.value(found.integer)
    if value < problem.judge.bound.least:
        raise BudgetError(
            f"does not fit {board.title} at the asked accuracy: the best choice of forms that fits keeps "
            f"{_told(problem.judge, value)}, asked is an {problem.judge.bound}",
            file=prepared.model,
            hint="allow a larger --max-drop, or compress with training: boardfit compress --recipe deep-compression",
        )
    return found.integer, found


def _refusal(found: Infeasible | NotFound, table: FormTable, board: Board, model: str) -> BudgetError:
    """The error of a design that no choice of forms made fit: why the plain one does not, and what is known beyond."""
    if isinstance(found, Infeasible):
        unit = UNITS.get(found.resource, found.resource)
        note = (
            "proven: no choice of pruned, shared, narrower or factored weights fits: "
            f"the smallest takes {found.least:,} {unit}, there are {found.have:,}"
        )
    else:
        total = found.nearest.estimate.total
        short = "; ".join(
            f"{shortage.need:,} {UNITS.get(shortage.resource, shortage.resource)} for {shortage.have:,}"
            for shortage in found.nearest.estimate.shortages
        )
        note = (
            f"not proven, but of {found.measured} choices of pruned, shared, narrower or factored weights none fits: "
            f"the nearest takes {total.flash:,} bytes of flash and {total.ram:,} bytes of RAM ({short})"
        )
    try:
        check_budget(table.plain, board, model)
    except BudgetError as plain:
        return BudgetError(f"{plain.problem}\n  {note}", file=model, hint=plain.hint)
    return BudgetError(f"does not fit {board.title}\n  {note}", file=model)


def _told(judge: Judge, value: float) -> str:
    if judge.bound.measure == "accuracy":
        return f"an accuracy {-100 * value:.2f} points below float"
    return f"{value:.1f} dB" if judge.bound.measure == "snr" else f"an agreement of {value:.4f}"


def fit_curve(
    prepared: Prepared,
    board: Board,
    backend: Backend,
    quantize: QuantizeOptions,
    options: BackendOptions,
    points: int = 8,
) -> Curve:
    """The trade-off between flash and loss: the solver's best choice at evenly spaced budgets, each measured."""
    problem = _Problem.make(prepared, board, backend, quantize, options)
    table = problem.table()
    found: list[Point] = []
    for limit, forms in trade_off(table, "flash", points):
        made = apply_forms(prepared.floating, problem.steering, table, forms, problem.lower, problem.estimate)
        value = problem.value(made.integer)
        why = reasons(prepared.floating, table, made.forms)
        found.append(Point(int(limit), made.estimate, made.predicted_loss, value, made.forms, why))
    return Curve(prepared.model, board.name, problem.judge.bound.measure, tuple(_front(found)))


def _front(points: Sequence[Point]) -> list[Point]:
    """The points by measured size, the last one (the plain design) always, others only where none is better in both.

    Layers share code, so that a choice that is smaller by the table may be larger as a whole.
    """
    *others, plain = points
    kept: list[Point] = []
    for point in sorted(others, key=lambda point: (point.estimate.total.flash, -point.value)):
        larger = point.estimate.total.flash >= plain.estimate.total.flash
        if not larger and all(point.value > before.value for before in kept):
            kept.append(point)
    return [*kept, plain]


def draw_curve(curve: Curve, path: Path) -> None:
    """Write the curve as a picture; the suffix says in which format.

    Raises:
        OutputError: the file cannot be written.
    """
    flash = [point.estimate.total.flash / 1024 for point in curve.points]
    limit = (curve.points[0].estimate.budget.flash / 1024, f"flash of {curve.board}")
    values = [point.value for point in curve.points]
    draw(path, f"{curve.model} on {curve.board}", ("flash in KiB", flash, limit), curve.measure, values)
