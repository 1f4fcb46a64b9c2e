"""The solver on real models: kws01 in 24 KB of weights, ic01 in 48 KB, and its choices against uniform settings.

Steered by unlabelled calibration inputs alone; accuracies are the integer interpreter's on inputs that steered
nothing. Losses of single layers and costs make a table once; the solver is timed apart.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from boardfit.backend import find_backend
from boardfit.board import Board, find_board
from boardfit.compress.chains import placed_sources
from boardfit.compress.grids import GridKind
from boardfit.estimate.report import Estimate
from boardfit.ir import Graph
from boardfit.measure import real_outputs
from boardfit.metrics import top1
from boardfit.options import BackendOptions, ImportOptions, Optimize, QuantizeOptions
from boardfit.prepare import Prepared, lower_for_board, prepare
from boardfit.solver.forms import Form
from boardfit.solver.search import Assignment, Budgeted, apply_forms, choose_forms, predicted_loss
from boardfit.solver.table import FormTable, make_table

from .. import corpus
from ..results import Row, print_rows

BOARD = "nucleo-l4r5zi"
OPTIONS = BackendOptions(optimize=Optimize.SIZE)
ROUNDS = 4
BUDGETS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A model, its data, and the bytes its weights may take.

    Attributes:
        name: of the model.
        calibration: unlabelled inputs (S, *shape).
        test, labels: inputs that steer nothing.
        limit: bytes of flash for everything that belongs to layers with weights.
    """

    name: str
    calibration: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    limit: int


def cases() -> list[Case]:
    """kws01 (100 inputs calibrate, the other 500 test) and ic01 (training images calibrate)."""
    x, y = corpus.kws()
    first = np.arange(len(x)) % 6 == 0
    train, _ = corpus.cifar("train")
    images, classes = corpus.cifar("test")
    return [
        Case("kws01", x[first], x[~first], y[~first], 24 * 1024),
        Case("ic01", train[:256].astype(np.float32), images.astype(np.float32), classes, 48 * 1024),
    ]


def run_budget() -> list[Row]:
    """All rows of this section."""
    rows: list[Row] = []
    for case in cases():
        rows += _Session(case).rows()
    return rows


class _Session:
    """One model with its table."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.board: Board = find_board(BOARD)
        self.backend = find_backend(self.board.kind)
        self.prepared: Prepared = prepare(
            corpus.model_path(case.name),
            self.board,
            case.calibration,
            imports=ImportOptions(),
            quantize=QuantizeOptions(),
            backend=OPTIONS,
        )
        with tempfile.TemporaryDirectory() as empty:  # a table from the cache would tell nothing of its time
            start = time.perf_counter()
            self.table = self._table(empty)
            self.seconds = time.perf_counter() - start
            start = time.perf_counter()
            self._table(empty)
            self.seconds_again = time.perf_counter() - start

    def _table(self, cache: str) -> FormTable:
        quantize = QuantizeOptions()
        return make_table(
            self.prepared.floating, self.prepared.data, self.board, self.backend, OPTIONS, quantize, cache=cache
        )

    def lower(self, graph: Graph) -> Graph:
        return lower_for_board(graph, self.board, self.prepared.data, QuantizeOptions())

    def estimate(self, graph: Graph) -> Estimate:
        return self.backend.estimate(graph, self.board, OPTIONS)

    def rows(self) -> list[Row]:
        """Float and plain figures, the budget, and the grid against uniform settings."""
        plain = self.apply(tuple(entries[0].form for entries in self.table.entries))
        rows = [
            self.row("float", None, None, self.accuracy(self.prepared.floating), 0.0),
            self.row("int8", self.bytes(plain), plain, self.accuracy(plain.integer), 0.0),
        ]
        found, seconds = self.within(self.case.limit)
        if found is None:
            rows.append({"case": self.case.name, "recipe": f"solver, {self.case.limit} B", "proof": "infeasible"})
        else:
            name = f"solver, {self.case.limit} B"
            rows.append(self.row(name, self.bytes(found), found, self.accuracy(found.integer), seconds))
        print_rows(f"{self.case.name}: weights within {self.case.limit} bytes", rows)
        rows += self.without_families()
        rows += self.grid()
        return rows

    def without_families(self) -> list[Row]:
        """The same budget with pruning, sharing and 2 to 8 bits alone: no low rank, no structured matrices, no
        transferred filters, no binary or ternary weights.
        """
        found, seconds = self.within(self.case.limit, self.simple)
        name = f"solver without the other families, {self.case.limit} B"
        if found is None:
            return [{"case": self.case.name, "recipe": name, "proof": "infeasible"}]
        rows = [self.row(name, self.bytes(found), found, self.accuracy(found.integer), seconds)]
        print_rows(f"{self.case.name}: pruning, sharing and 2 to 8 bits alone", rows)
        return rows

    @property
    def simple(self) -> FormTable:
        """The table without the other families."""
        entries = (tuple(e for e in row if not _of_other_family(e.form)) for row in self.table.entries)
        return replace(self.table, entries=tuple(entries))

    def within(self, limit: int, table: FormTable | None = None) -> tuple[Budgeted | None, float]:
        """The choice whose layers really take at most `limit` bytes, and the seconds the solver took."""
        asked, spent = float(limit), 0.0
        for _ in range(ROUNDS):
            start = time.perf_counter()
            forms = choose_forms(table or self.table, {"flash": asked}, cycles=1e-6)
            spent = max(spent, time.perf_counter() - start)
            if forms is None:
                return None, spent
            found = self.apply(forms)
            excess = self.bytes(found) - limit
            if excess <= 0:
                return found, spent
            asked -= excess
        return None, spent

    def grid(self) -> list[Row]:
        """Ten budgets from the least possible to the plain size: the solver's choice and the best uniform one."""
        least = sum(min(e.resources.flash for e in entries) for entries in self.table.entries)
        most = sum(entries[0].resources.flash for entries in self.table.entries)
        uniform = self._uniform()
        rows: list[Row] = []
        for limit in np.linspace(least, most, BUDGETS):
            start = time.perf_counter()
            forms = choose_forms(self.table, {"flash": float(limit) + 0.5})
            seconds = time.perf_counter() - start
            if forms is None:
                continue
            fitting = [(loss, name) for name, (size, loss) in uniform.items() if size <= limit + 0.5]
            best = min(fitting, default=(float("inf"), "none fits"))
            simple = choose_forms(self.simple, {"flash": float(limit) + 0.5})
            without = None if simple is None else predicted_loss(self.simple, simple)
            others = sum(_of_other_family(form) for form in forms)
            loss = predicted_loss(self.table, forms)
            rows.append(
                {
                    "case": self.case.name,
                    "recipe": "grid",
                    "bytes": round(float(limit)),
                    "loss": round(loss, 5),
                    "uniform": best[1],
                    **({"uniform_loss": round(best[0], 5)} if fitting else {}),
                    **({} if without is None else {"loss_without_others": round(without, 5)}),
                    "other_layers": others,
                    "not_worse": not loss > best[0] + 1e-6,
                    "seconds": round(seconds, 3),
                }
            )
        print_rows(f"{self.case.name}: the solver against the best uniform setting", rows)
        return rows

    def _uniform(self) -> Mapping[str, tuple[int, float]]:
        """Settings that are the same for all layers: name -> (bytes, loss)."""
        shared = set.intersection(*({entry.form for entry in entries} for entries in self.table.entries))
        found: dict[str, tuple[int, float]] = {}
        for form in sorted(shared, key=str):
            chosen = [next(e for e in entries if e.form == form) for entries in self.table.entries]
            found[str(form)] = sum(e.resources.flash for e in chosen), sum(e.loss for e in chosen)
        return found

    def apply(self, forms: Assignment) -> Budgeted:
        return apply_forms(self.prepared.floating, self.prepared.data, self.table, forms, self.lower, self.estimate)

    def bytes(self, made: Budgeted) -> int:
        """Flash of the layers with weights, or of those in their place."""
        floating = self.prepared.floating
        nodes = [node for name in self.table.layers for node in placed_sources(floating, made.graph, name)]
        return made.estimate.share(nodes).flash

    def accuracy(self, graph: Graph) -> float:
        samples = self.case.test.reshape(len(self.case.test), *self.prepared.floating.types[graph_input(graph)].shape)
        return 100 * top1(real_outputs(graph, {"x": samples}), self.case.labels)

    def row(self, recipe: str, size: int | None, made: Budgeted | None, accuracy: float, seconds: float) -> Row:
        return {
            "case": self.case.name,
            "recipe": recipe,
            "bytes": size or 0,
            "accuracy_percent": round(accuracy, 2),
            "flash": made.estimate.total.flash if made else 0,
            "ram": made.estimate.total.ram if made else 0,
            "cycles": made.estimate.total.cycles if made else 0,
            "solver_seconds": round(seconds, 3),
            "table_seconds": round(self.seconds, 1) if made else 0.0,
            "table_again_seconds": round(self.seconds_again, 1) if made else 0.0,
        }


def _of_other_family(form: Form) -> bool:
    """Whether a form is low rank, structured, transferred, binary or ternary."""
    return form.structure is not None or form.grid in (GridKind.BINARY, GridKind.TERNARY)


def graph_input(graph: Graph) -> str:
    """Name of the only input."""
    (name,) = graph.inputs
    return name


if __name__ == "__main__":
    run_budget()
