"""The choice: a multiple-choice knapsack over the table, solved exactly, applied, measured and solved again.

Losses of single layers add up only roughly and costs are shared between layers, so a choice is measured as a whole
and the limits are corrected by what the measurement shows, until the choice fits or is proven not to exist in the
table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..compress.chains import Change
from ..compress.reconstruction import LayerProblem, compress_layers
from ..errors import InternalError
from ..estimate.budget import overload
from ..estimate.report import Estimate
from ..ir.graph import Graph
from ..plan.integer_program import Option, Program, solve
from ..resources import CAPACITIES, Resources
from .forms import Form, make_form
from .table import FormTable

ROUNDS = 5
"""Times the limits are corrected at most; two or three are usual."""

ADDITIVE = tuple(name for name in CAPACITIES if name != "ram")
"""Resources whose shares of the layers add up; RAM is shared over time and is checked on the whole design."""

Assignment = tuple[Form, ...]
"""One form for each layer of a table."""


@dataclass(frozen=True, slots=True, eq=False)
class Budgeted:
    """A choice and what it comes to.

    Attributes:
        forms: layer -> form.
        graph: the float graph with the weights of that choice.
        integer: the integer graph made of it.
        estimate: of the integer graph on the board.
        predicted_loss: sum of the table's losses.
        rounds: times the problem was solved.
    """

    forms: Mapping[str, Form]
    graph: Graph
    integer: Graph
    estimate: Estimate
    predicted_loss: float
    rounds: int


def choose_forms(table: FormTable, limits: Mapping[str, float], *, cycles: float = 0.0) -> Assignment | None:
    """The forms of least total loss whose resources keep the limits, or None if there are none: a proof.

    Args:
        limits: resource -> most that the layers of the table may use together.
        cycles: loss that a share of one of the plain design's cycles counts for; decides between equal losses.
    """
    names = list(limits)
    speed = cycles / max(table.plain.total.cycles, 1)
    choices = [
        [
            Option(
                tuple(float(getattr(entry.resources, name)) for name in names),
                entry.loss + speed * entry.resources.cycles,
            )
            for entry in entries
        ]
        for entries in table.entries
    ]
    for name in names:  # a limit that the smallest choice exceeds needs no search
        if _amount(table, smallest_forms(table, name), name) > limits[name]:
            return None
    chosen = solve(Program(choices, [limits[name] for name in names]))
    if chosen is None and len(names) == 1:
        raise InternalError("the choice of forms was not solved, though there is one that keeps the limit")
    if chosen is None:
        return None
    return tuple(entries[index].form for entries, index in zip(table.entries, chosen, strict=True))


@dataclass(frozen=True, slots=True)
class Infeasible:
    """A proof: no choice of the table keeps the limits.

    Attributes:
        resource: what even the smallest choice needs too much of.
        least: amount of it that the smallest choice needs, everything that does not depend on forms included.
        have: amount the board has.
    """

    resource: str
    least: int
    have: int


@dataclass(frozen=True, slots=True, eq=False)
class NotFound:
    """No choice was found that fits when measured as a whole, though the table does not rule it out.

    Attributes:
        nearest: of the choices that were measured, the one that comes nearest to fitting.
        measured: how many were.
    """

    nearest: Budgeted
    measured: int


def compress_to_fit(
    floating: Graph,
    data: Mapping[str, np.ndarray],
    table: FormTable,
    budget: Resources,
    lower: Callable[[Graph], Graph],
    estimate: Callable[[Graph], Estimate],
) -> Budgeted | Infeasible | NotFound:
    """Choose, apply, measure, correct, until the design fits; last the smallest choice there is.

    Args:
        floating: float canonical graph the table was made of.
        data: calibration samples.
        budget: what the board has.
        lower: float graph to integer graph.
        estimate: cost of an integer graph on the board.
    """
    limited = [name for name in ADDITIVE if getattr(budget, name)]
    for name in limited:
        smallest = _amount(table, smallest_forms(table, name), name) + getattr(table.fixed, name)
        if smallest > getattr(budget, name):
            return Infeasible(name, smallest, getattr(budget, name))
    limits = {name: float(getattr(budget, name) - getattr(table.fixed, name)) for name in limited}
    tried: dict[Assignment, Budgeted] = {}
    for _ in range(ROUNDS):
        forms = choose_forms(table, limits, cycles=TIE)
        if forms is None or forms in tried:
            break
        found = apply_forms(floating, data, table, forms, lower, estimate)
        tried[forms] = found
        if found.estimate.fits:
            return replace(found, rounds=len(tried))
        for shortage in found.estimate.shortages:
            if shortage.resource in limits:  # what the table hides is as much as the measurement shows, at least
                limits[shortage.resource] = float(_amount(table, forms, shortage.resource) - shortage.missing)
    for name in limited:
        forms = smallest_forms(table, name)
        if forms not in tried:
            tried[forms] = apply_forms(floating, data, table, forms, lower, estimate)
        if tried[forms].estimate.fits:
            return replace(tried[forms], rounds=len(tried))
    nearest = min(tried.values(), key=lambda made: overload(made.estimate.total, made.estimate.budget))
    return NotFound(nearest, len(tried))


def smallest_forms(table: FormTable, resource: str) -> Assignment:
    """The choice that needs least of a resource; of equal ones the one of least loss."""
    return tuple(
        min(entries, key=lambda entry: (getattr(entry.resources, resource), entry.loss)).form
        for entries in table.entries
    )


def _amount(table: FormTable, forms: Assignment, resource: str) -> int:
    """What the layers of a choice need of a resource by the table."""
    return sum(
        next(getattr(entry.resources, resource) for entry in entries if entry.form == form)
        for entries, form in zip(table.entries, forms, strict=True)
    )


TIE = 1e-6
"""Loss that all cycles of the plain design together count for: of equal losses the faster is taken."""


def apply_forms(
    floating: Graph,
    data: Mapping[str, np.ndarray],
    table: FormTable,
    forms: Assignment,
    lower: Callable[[Graph], Graph],
    estimate: Callable[[Graph], Estimate],
) -> Budgeted:
    """A choice applied: each layer makes up for what the layers before it lost, and the whole is measured."""
    chosen = dict(zip(table.layers, forms, strict=True))
    graph = compress_layers(floating, data, lambda problem: _made(problem, chosen))
    integer = lower(graph)
    return Budgeted(chosen, graph, integer, estimate(integer), predicted_loss(table, forms), 0)


def _made(problem: LayerProblem, chosen: Mapping[str, Form]) -> Change | None:
    return make_form(problem, chosen[problem.layer.name])


def predicted_loss(table: FormTable, forms: Sequence[Form]) -> float:
    """Sum of the losses of a choice."""
    return sum(
        next(entry.loss for entry in entries if entry.form == form)
        for entries, form in zip(table.entries, forms, strict=True)
    )


def trade_off(table: FormTable, resource: str, points: int = 10) -> list[tuple[float, Assignment]]:
    """The best choice at evenly spaced limits of one resource, from the least possible to the plain design.

    Returns:
        (limit of the whole design, forms), smallest first, without repetitions.
    """
    plain = sum(getattr(entries[0].resources, resource) for entries in table.entries)
    least = sum(min(getattr(entry.resources, resource) for entry in entries) for entries in table.entries)
    fixed = getattr(table.fixed, resource)
    curve: list[tuple[float, Assignment]] = []
    for limit in np.linspace(least, plain, points):
        forms = choose_forms(table, {resource: float(limit) + 0.5}, cycles=TIE)
        if forms is not None and (not curve or curve[-1][1] != forms):
            curve.append((float(limit) + fixed, forms))
    return curve
