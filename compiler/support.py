"""Which ONNX operators each backend can do: one table for the command line, the documentation and a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .backend import BACKENDS, Backend, find_backend
from .frontend.registry import ALSO, operator_table

PAGE_HEAD = """# Supported operators

Written by `boardfit operators --markdown`; a test compares this page with what the code says. *Becomes* names the
operators of the IR, besides transpositions and reshapes. *yes* means that there is an implementation; attributes and
shapes can still be outside of what it takes, which `boardfit inspect model.onnx` tells node by node. *mostly* names
what is missing for some uses of the operator.
"""


@dataclass(frozen=True, slots=True)
class Support:
    """One row.

    Attributes:
        operator: ONNX operator; 'domain::Name' outside the standard domain.
        ops: IR ops it becomes; empty if it computes nothing at run time.
        refusals: backend name -> why it cannot do it, None if it can.
        limits: backend name -> what it lacks for some uses of the operator, None if nothing.
    """

    operator: str
    ops: tuple[str, ...]
    refusals: Mapping[str, str | None]
    limits: Mapping[str, str | None]


def support_table() -> list[Support]:
    """Every ONNX operator that can be imported, by name."""
    backends = [find_backend(kind) for kind in BACKENDS]
    rows: list[Support] = []
    for row in operator_table():
        sometimes = set(ALSO.get(row.name, ()))
        always = [op for op in row.ops if op not in sometimes]
        refusals = {backend.name: _reasons(backend, always) for backend in backends}
        partly = {backend.name: _reasons(backend, sorted(sometimes)) for backend in backends}
        rows.append(Support(row.name, row.ops, refusals, partly))
    return rows


def support_cells(rows: list[Support]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and cells of the table."""
    names = tuple(rows[0].refusals) if rows else ()
    cells = [
        (row.operator, ", ".join(row.ops) or "nothing at run time", *(_cell(row, name) for name in names))
        for row in rows
    ]
    return ("ONNX operator", "becomes", *names), cells


def _cell(row: Support, backend: str) -> str:
    limit = row.limits[backend]
    return row.refusals[backend] or (f"mostly: {limit}" if limit else "yes")


def _reasons(backend: Backend, ops: Iterable[str]) -> str | None:
    reasons = [reason for op in ops if (reason := backend.refuse_op(op)) is not None]
    return "; ".join(dict.fromkeys(reasons)) or None


def support_page() -> str:
    """The documentation page `docs/operators.md`."""
    headings, cells = support_cells(support_table())
    lines = [PAGE_HEAD, "| " + " | ".join(headings) + " |", "|" + " --- |" * len(headings)]
    lines += ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join(lines) + "\n"
