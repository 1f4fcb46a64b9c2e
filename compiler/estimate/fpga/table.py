"""Predict a table of designs: `boardfit estimate --from-table designs.csv`."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from ...errors import BoardfitError
from .coefficients import Coefficients
from .designs import read_design
from .estimate_types import Figure, FpgaEstimate
from .model import estimate
from .rows import Unreadable

if TYPE_CHECKING:
    from rich.table import Table

REQUIRED_COLUMNS = ("layers_json", "part", "clock_target_ns", "io_type", "strategy")
# Estimator's name of a figure -> the table's column.
COLUMNS: Mapping[str, str] = {
    "lut": "lut",
    "ff": "ff",
    "bram18": "bram18",
    "dsp": "dsp",
    "uram": "uram",
    "latency": "latency_max",
    "ii": "ii_max",
}


@dataclass(frozen=True, slots=True)
class TableRow:
    """One predicted figure; `actual` is None where the table is silent. `source` names repository, design and stage."""

    source: str
    resource: str
    predicted: float
    actual: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class TableResult:
    """Predicted figures, how many designs they come from, and why the other rows were skipped (reason -> rows)."""

    rows: tuple[TableRow, ...]
    designs: int
    skipped: Mapping[str, int] = field(default_factory=dict)


def figures_of(answer: FpgaEstimate, stage: str) -> dict[str, Figure]:
    """The figures of one table stage: `csynth` is the HLS report, `vsynth` and `impl` are after synthesis."""
    chosen = answer.hls if stage == "csynth" else answer.synthesis
    return {
        "lut": chosen.lut,
        "ff": chosen.ff,
        "bram18": chosen.bram18,
        "dsp": chosen.dsp,
        "uram": chosen.uram,
        "latency": answer.latency,
        "ii": answer.interval,
    }


def _number(value: str | None) -> float | None:
    try:
        found = float(value) if value else None
    except ValueError:
        return None
    return found if found is not None and math.isfinite(found) else None


def _project(row: Mapping[str, str | None], column: str) -> tuple[str, str] | None:
    """Repository and design of a row, None where the table does not tell."""
    design = row.get(column)
    return (row.get("repo") or "", design) if design else None


def predict_rows(table: Iterable[Mapping[str, str | None]], coefficients: Coefficients | None = None) -> TableResult:
    """Predict every row that is described enough; nothing but the description columns is looked at for it.

    A field may be None (a line of a CSV file that ends early).
    """
    predicted: list[TableRow] = []
    skipped: Counter[str] = Counter()
    designs = 0
    listed = list(table)
    reports = {key: row for row in listed if row.get("stage") == "csynth" and (key := _project(row, "design_id"))}
    for index, row in enumerate(listed, start=2):
        design = read_design(row, reports.get(_project(row, "paired_csynth_id") or ("", "")))
        if isinstance(design, Unreadable):
            skipped[design.summary] += 1
            continue
        designs += 1
        stage = row.get("stage") or "vsynth"
        source = "/".join(part for part in (row.get("repo"), row.get("design_id") or f"line {index}", stage) if part)
        for name, figure in figures_of(estimate(design, coefficients), stage).items():
            if name in ("latency", "ii") and not design.timed:
                continue
            actual = _number(row.get(COLUMNS[name]))
            predicted.append(TableRow(source, name, figure.value, actual, figure.low, figure.high))
    return TableResult(tuple(predicted), designs, dict(skipped.most_common()))


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV table.

    Raises:
        BoardfitError: the file is missing, not text, or lacks a column the estimate needs.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            # A layers_json field can be longer than the csv module's default limit of 128 KiB.
            csv.field_size_limit(1 << 30)
            reader = csv.DictReader(file)
            missing = [column for column in REQUIRED_COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise BoardfitError(
                    f"the table has no column {', '.join(missing)}",
                    file=str(path),
                    hint=f"the columns read are {', '.join(REQUIRED_COLUMNS)}",
                )
            return list(reader)
    except OSError as error:
        raise BoardfitError(f"cannot be read: {error.strerror}", file=str(path)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BoardfitError("is not a CSV table in UTF-8", file=str(path)) from error


def predict_table(path: Path, coefficients: Coefficients | None = None) -> TableResult:
    """Predict the rows of a CSV file with the columns of hls-reports/designs.csv."""
    return predict_rows(read_table(path), coefficients)


def rows_as_json(result: TableResult) -> str:
    """estimator.json: a list of {source, resource, predicted, actual, low, high}, one figure per line."""
    lines = [
        json.dumps(
            {
                "source": row.source,
                "resource": row.resource,
                "predicted": row.predicted,
                "actual": row.actual,
                "low": row.low,
                "high": row.high,
            }
        )
        for row in result.rows
    ]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def write_table(result: TableResult, path: Path) -> None:
    """Write estimator.json.

    Raises:
        BoardfitError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rows_as_json(result), encoding="utf-8")
    except OSError as error:
        raise BoardfitError(f"cannot be written: {error.strerror}", file=str(path)) from error


def summary(result: TableResult) -> list[Table | str]:
    """What to print: errors and coverage by figure where the table tells the real ones, and the rows skipped."""
    from rich.table import Table

    table = Table(title="predicted against the table", title_justify="left")
    for column in ("stage", "figure", "rows", "median error", "exact", "in 80 % interval"):
        table.add_column(column, justify="left" if column in ("stage", "figure") else "right")
    groups: dict[tuple[str, str], list[tuple[TableRow, float]]] = {}
    for row in result.rows:
        if row.actual is not None:
            stage = "HLS report" if row.source.endswith("/csynth") else "synthesis"
            groups.setdefault((stage, row.resource), []).append((row, row.actual))
    for (stage, figure), pairs in sorted(groups.items()):
        errors = [abs(row.predicted - actual) / max(actual, 1.0) for row, actual in pairs]
        exact = sum(row.predicted == actual for row, actual in pairs) / len(pairs)
        inside = sum(row.low <= actual <= row.high for row, actual in pairs) / len(pairs)
        table.add_row(stage, figure, str(len(pairs)), f"{median(errors):.1%}", f"{exact:.0%}", f"{inside:.0%}")
    lines = [f"skipped {count} rows: {reason}" for reason, count in result.skipped.items()]
    return [table, *lines] if groups else list(lines)
