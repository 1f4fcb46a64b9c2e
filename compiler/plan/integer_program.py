"""One option for each choice, within limits, at least cost: an integer program solved by HiGHS up to a given gap.

The multiple-choice knapsack problem (Kellerer, Pferschy, Pisinger: Knapsack Problems, 2004, chapter 11) with two
additions: a bottleneck (the largest `busy` of the chosen options counts) and ties between choices (an option may ask
for an option of another choice).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

NODE_LIMIT = 5_000
"""Branch-and-bound nodes; a count, unlike a time, gives the same answer on every machine."""

GAP = 1e-4
"""Relative distance from the proven optimum at which the solver stops."""


KEPT = 40
"""Options of a choice that the quick solution weighs: more hardly helped on the layers of ResNet-8."""

COMPARED = 128
"""Options that are compared with all others in one step."""

BEYOND = 1e-4
"""Part by which the least that all choices use must exceed a limit before no solver is asked."""

TURNS, STEP = 100, 8.0
"""Turns in which weights of limits are sought before a solver is asked, and the first turn's step."""

INFEASIBLE = 2
"""linprog's status where nothing keeps the limits."""


@dataclass(frozen=True, slots=True)
class Option:
    """One way to do something.

    Attributes:
        uses: amount of each limited quantity.
        cost: what it adds to the objective.
        busy: what it bids for the bottleneck.
        key: what other options ask for.
        needs: (index of another choice, key its option must have).
    """

    uses: tuple[float, ...]
    cost: float
    busy: float = 0.0
    key: Hashable = None
    needs: tuple[tuple[int, Hashable], ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """Choose one option of each choice.

    Minimised: sum of costs + `bottleneck` * largest busy + `overrun` * z, where z >= 1 is the factor that all limits
    are stretched by (z is 1 where `overrun` is 0).

    Attributes:
        choices: the options of each choice; at least one each.
        limits: bound of each quantity summed over the chosen options.
        bottleneck: weight of the largest busy.
        overrun: 0: limits are hard; else the weight of stretching them.
        gap: relative distance from the proven optimum at which the solver may stop.
        nodes: branch-and-bound nodes after which it stops with the best solution it has.
    """

    choices: Sequence[Sequence[Option]]
    limits: Sequence[float]
    bottleneck: float = 0.0
    overrun: float = 0.0
    gap: float = GAP
    nodes: int = NODE_LIMIT


def solve(program: Program) -> list[int] | None:
    """Index of the chosen option of each choice, or None if no solution keeps the limits or none
    was found within `nodes`.
    """
    if not any(program.choices):
        return []
    if not program.overrun and _beyond(program):
        return None
    stretched = _stretched(program)
    if stretched is not None:
        return stretched
    from scipy.optimize import Bounds, LinearConstraint, milp

    costs, rows, starts = _columns(program)
    count = len(costs) - 2
    found = milp(
        costs,
        integrality=np.array([*([1] * count), 0, 0]),
        bounds=Bounds(*_bounds(program, count)),
        constraints=LinearConstraint(rows.matrix(), rows.low, rows.high),
        options={"node_limit": program.nodes, "mip_rel_gap": program.gap},
    )
    if found.x is None:
        return None
    chosen = found.x[:count]
    return [int(np.argmax(chosen[start:end])) for start, end in pairwise(starts)]


def _beyond(program: Program) -> bool:
    """Whether even the options that use least of some quantity exceed its limit, clearly."""
    for index, limit in enumerate(program.limits):
        least = sum(min(option.uses[index] for option in choice) for choice in program.choices)
        if least > limit + BEYOND * max(limit, 1.0):
            return True
    return False


def _stretched(program: Program) -> list[int] | None:
    """A solution where only stretching the limits costs anything, proven near the optimum, or None.

    Limits have weights; the options that use least by weight tell a bound of the stretch, and limits they exceed more
    get more weight (multiplicative weights: Plotkin, Shmoys, Tardos 1995, for packing). Designs that do not fit are
    of this kind, with thousands of options: some rounds do, where a solver takes as long to load as all the rest.
    """
    options = (option for choice in program.choices for option in choice)
    if not program.overrun or program.bottleneck or any(option.cost or option.needs for option in options):
        return None
    limits = np.maximum(program.limits, 1.0)
    uses = [np.array([option.uses for option in choice]) / limits for choice in program.choices]
    weights = np.full(len(limits), 1.0 / len(limits))
    bound, best, taken = 1.0, np.inf, [0] * len(uses)
    for turn in range(1, TURNS + 1):
        lightest = [int(np.argmin(table @ weights)) for table in uses]
        found = np.sum([table[index] for table, index in zip(uses, lightest, strict=True)], axis=0)
        bound = max(bound, float(weights @ found))
        if found.max() < best:
            best, taken = float(found.max()), lightest
        if best <= bound * (1.0 + program.gap):
            return taken
        weights = weights * np.exp(STEP / math.sqrt(turn) * (found / found.max() - 1.0))
        weights /= weights.sum()
    return None


def solve_near(program: Program, keep: int = KEPT) -> list[int] | None:
    """A good solution of a large program in little time.

    Its linear relaxation tells the reduced cost of every option: how much worse a solution gets at least that takes it.
    The program is solved with the `keep` options of each choice that cost least, and options that others ask for; with
    all of them only if that has no solution.
    """
    if not any(program.choices):
        return []
    if not program.overrun and _beyond(program):
        return None
    from scipy.optimize import linprog

    costs, rows, starts = _columns(program)
    low, high = np.array(rows.low), np.array(rows.high)
    matrix, equal = rows.matrix(), low == high
    relaxed = linprog(
        costs,
        A_ub=matrix[~equal],
        b_ub=high[~equal],
        A_eq=matrix[equal],
        b_eq=high[equal],
        bounds=np.stack(_bounds(program, len(costs) - 2), axis=1),
        method="highs-ds",
    )
    if relaxed.status == INFEASIBLE:
        return None
    if relaxed.x is None:
        return solve(program)
    reduced = costs - matrix[~equal].T @ relaxed.ineqlin.marginals - matrix[equal].T @ relaxed.eqlin.marginals
    kept: list[list[int]] = []
    for choice, (start, end) in zip(program.choices, pairwise(starts), strict=True):
        cheap = set(np.argsort(reduced[start:end], kind="stable")[:keep].tolist())
        kept.append([index for index, option in enumerate(choice) if index in cheap or option.key is not None])
    choices = [[choice[index] for index in indices] for choice, indices in zip(program.choices, kept, strict=True)]
    found = solve(replace(program, choices=choices))
    if found is None:
        return solve(program)
    return [indices[index] for indices, index in zip(kept, found, strict=True)]


def _columns(program: Program) -> tuple[np.ndarray, _Rows, np.ndarray]:
    """Costs and rows; columns are one of 0 or 1 for each option, the bottleneck, and the factor beyond the limits.

    Returns:
        (costs, rows, first column of each choice and the number of options).
    """
    options = [option for choice in program.choices for option in choice]
    starts = np.cumsum([0, *(len(choice) for choice in program.choices)])
    count = len(options)
    costs = np.array([*(option.cost for option in options), program.bottleneck, program.overrun])
    rows = _Rows(count + 2)
    for start, end in pairwise(starts):
        rows.add(dict.fromkeys(range(start, end), 1.0), 1.0, 1.0)
    for index, given in enumerate(program.limits):
        limit = max(given, 1.0) if program.overrun else given  # nothing times a factor stays nothing
        scale = 1.0 / limit if limit > 0 else 1.0  # rows of one magnitude
        row = {column: option.uses[index] * scale for column, option in enumerate(options) if option.uses[index]}
        if program.overrun:
            row[count + 1] = -(limit * scale)
        rows.add(row, -np.inf, 0.0 if program.overrun else limit * scale)
    if program.bottleneck:
        for start, end in pairwise(starts):
            busy = {column: options[column].busy for column in range(start, end)}
            if any(busy.values()):
                rows.add({**busy, count: -1.0}, -np.inf, 0.0)
    _add_ties(rows, program, starts)
    return costs, rows, starts


def _bounds(program: Program, count: int) -> tuple[np.ndarray, np.ndarray]:
    lower = np.array([*([0.0] * count), 0.0, 1.0 if program.overrun else 0.0])
    return lower, np.array([*([1.0] * count), np.inf, np.inf])


class _Rows:
    """Rows of a sparse matrix with their bounds."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows: list[int] = []
        self.columns: list[int] = []
        self.values: list[float] = []
        self.low: list[float] = []
        self.high: list[float] = []

    def matrix(self) -> Any:
        """All rows as a sparse array."""
        from scipy.sparse import csr_array

        return csr_array((self.values, (self.rows, self.columns)), shape=(len(self.low), self.width))

    def add(self, row: dict[int, float], low: float, high: float) -> None:
        """low <= sum(value * column) <= high."""
        self.rows += [len(self.low)] * len(row)
        self.columns += row.keys()
        self.values += row.values()
        self.low.append(low)
        self.high.append(high)


def _add_ties(rows: _Rows, program: Program, starts: np.ndarray) -> None:
    """For each key asked for: the options that ask for it are chosen only if an option that has it is."""
    for index, choice in enumerate(program.choices):
        asked: dict[tuple[int, Hashable], list[int]] = {}
        for position, option in enumerate(choice):
            for need in option.needs:
                asked.setdefault(need, []).append(int(starts[index]) + position)
        for (other, key), columns in asked.items():
            row = dict.fromkeys(columns, 1.0)
            for position, option in enumerate(program.choices[other]):
                if option.key == key:
                    row[int(starts[other]) + position] = -1.0
            rows.add(row, -np.inf, 0.0)


def undominated(options: Sequence[Option]) -> list[int]:
    """Indices of the options that no other option with the same key and needs beats in everything, in order."""
    groups: dict[Hashable, list[int]] = {}
    for index, option in enumerate(options):
        groups.setdefault((option.key, option.needs), []).append(index)
    kept: list[int] = []
    for members in groups.values():
        table = np.array([[options[i].cost, options[i].busy, *options[i].uses] for i in members])
        for start in range(0, len(members), COMPARED):
            rows = table[start : start + COMPARED, None]
            no_worse, same = np.all(table <= rows, axis=2), np.all(table == rows, axis=2)
            beaten = np.any(no_worse & ~same, axis=1)
            first = np.argmax(same, axis=1) == np.arange(start, start + len(rows))  # of equal ones
            kept += [members[start + index] for index in np.flatnonzero(~beaten & first)]
    return sorted(kept)
