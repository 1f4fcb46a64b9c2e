"""Rows of a benchmark: printed as a table, written as JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from .corpus import ROOT

Value = str | int | float | bool | None
Row = Mapping[str, Value]
FOLDER = ROOT / "benchmarks" / "results"


def write_rows(name: str, rows: Sequence[Row]) -> str:
    """Write `benchmarks/results/<name>.json` and return its path relative to the checkout."""
    path = FOLDER / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(rows), indent=1) + "\n")
    return str(path.relative_to(ROOT))


def print_rows(title: str, rows: Sequence[Row]) -> None:
    """Print rows as a table; the columns are the keys of the first row."""
    if not rows:
        return
    console = Console(width=200)
    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        numeric = all(isinstance(row.get(column), (int, float)) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(shown(row.get(column)) for column in rows[0]))
    console.print(table)


def shown(value: Value) -> str:
    """A value as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 0.01 else f"{value:,.4g}"
    return "" if value is None else value


def results(name: str) -> list[dict[str, Any]]:
    """Committed rows of a benchmark; empty if it was never run."""
    path = FOLDER / f"{name}.json"
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
