"""Correcting the limits: costs that do not add up, proofs, and searches that find nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

import boardfit.solver.search as search
from boardfit.estimate.report import Estimate
from boardfit.ir import Graph, GraphEditor
from boardfit.resources import Resources
from boardfit.solver.forms import FORMS
from boardfit.solver.search import Assignment, Budgeted, Infeasible, NotFound, compress_to_fit
from boardfit.solver.table import Entry, FormTable

FIXED = 100


def table() -> FormTable:
    """Two layers with forms of 1,000, 600, 300 and 100 bytes; the smaller the worse."""
    rows = [[Entry(FORMS[i], float(i), Resources(flash=size)) for i, size in enumerate((1000, 600, 300, 100))]] * 2
    plain = Estimate("board", Resources(flash=10), Resources(flash=2 * 1000 + FIXED, cycles=1), (), 1, 100.0)
    return FormTable(("a", "b"), tuple(map(tuple, rows)), Resources(flash=FIXED), plain)


def solved(
    monkeypatch: pytest.MonkeyPatch, budget: int, hidden: int, ram: int = 0
) -> tuple[Budgeted | Infeasible | NotFound, list[int]]:
    """The result, and the sizes measured on the way: what the table says and `hidden` bytes more."""
    made = table()
    sizes: list[int] = []
    board = Resources(flash=budget, ram=10)

    def apply(_: object, __: object, own: FormTable, forms: Assignment, *___: object) -> Budgeted:
        size = FIXED + hidden + sum({e.form: e.resources.flash for e in own.entries[0]}[form] for form in forms)
        sizes.append(size)
        estimate = Estimate("board", board, Resources(flash=size, ram=ram), (), 1, 100.0)
        return Budgeted(dict(zip("ab", forms, strict=True)), graph(), graph(), estimate, 0.0, 0)

    monkeypatch.setattr(search, "apply_forms", apply)
    data: Mapping[str, np.ndarray] = {}
    return compress_to_fit(graph(), data, made, board, lambda g: g, lambda _: made.plain), sizes


def graph() -> Graph:
    return GraphEditor.empty("net").finish()


def test_what_the_table_hides_is_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    found, sizes = solved(monkeypatch, budget=1500, hidden=250)
    assert isinstance(found, Budgeted) and found.rounds == 2
    assert sizes == [1550, 1250]


def test_slack_in_the_limits_does_not_stop_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """700 + 100 leave 190 of 990; the 260 that are hidden make it 70 too many: less than the slack."""
    found, sizes = solved(monkeypatch, budget=990, hidden=260)
    assert isinstance(found, Budgeted)
    assert sizes[-1] <= 990 and len(set(sizes)) == len(sizes)


def test_a_proof_names_the_smallest_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    found, sizes = solved(monkeypatch, budget=299, hidden=0)
    assert found == Infeasible("flash", 300, 299)
    assert sizes == []  # nothing had to be tried


def test_what_is_only_not_found_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    found, sizes = solved(monkeypatch, budget=400, hidden=150)
    assert isinstance(found, NotFound)
    assert found.nearest.estimate.total.flash == min(sizes) == 450 and found.measured == len(sizes)


def test_ram_is_measured_on_whole_designs(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = solved(monkeypatch, budget=10_000, hidden=0, ram=11)
    assert isinstance(found, NotFound)
    assert [shortage.resource for shortage in found.nearest.estimate.shortages] == ["ram"]
