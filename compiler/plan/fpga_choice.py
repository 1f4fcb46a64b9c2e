"""Strategy and reuse factor of every layer, and the widths of its values, as one integer program.

Every candidate is priced by the estimator, after synthesis. What is minimised depends on the goal; among plans
that are equally good the one that takes the smallest share of the board wins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from ..estimate.fpga import LayerDescription
from ..estimate.fpga.layer_cost import LayerCost, Pricing
from ..options import Goal, IoType, Strategy
from ..resources import Resources
from .distributed_arithmetic import MOST_DIGITS
from .fpga import LayerPlan
from .integer_program import Option, Program, solve, solve_near, undominated

LIMITED = ("lut", "ff", "bram18", "dsp")
"""Resources a plan is kept within, in the order of `LayerCost.uses`."""

MARGINS = {"lut": 0.80, "ff": 0.90, "bram18": 0.90, "dsp": 0.90}
"""Share of the board a plan takes if it can.

Chosen by us, not taken from a vendor's document and not measured: the rest is for the router, which finds it hard when
most LUTs are taken, for what the estimate is off, and for the design around the network.
"""

SHARE_WEIGHT = 0.1
"""Cycles that the whole board is worth where widths are chosen too: less than one, so it only breaks ties."""

ROUGH_GAP, ROUGH_NODES = 0.02, 400
"""Relative gap and branch-and-bound nodes of programs that choose widths."""

NEAREST_GAP = 2e-3
"""Relative gap where nothing fits: how many times a board is exceeded is told in two digits."""

ROUNDING = 1e-6
"""Slack of a limit that repeats what another solution reached, for the solver's own rounding."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One layer with certain widths.

    Attributes:
        costs: its legal plans and what each costs.
        positions: input positions of the layer.
        weight_width: bits of its weights.
        group: index of the group its input belongs to, or None if widths are not chosen.
        input_width: width that group must have.
        noise: noise power these weights add at the outputs.
    """

    costs: tuple[tuple[LayerPlan, LayerCost], ...]
    positions: int
    weight_width: int = 0
    group: int | None = None
    input_width: int = 0
    noise: float = 0.0


@dataclass(frozen=True, slots=True)
class GroupWidth:
    """A width for the tensors of a group: what it costs outside the layers that multiply, and its noise power."""

    width: int
    uses: tuple[float, ...]
    noise: float


@dataclass(frozen=True, slots=True)
class Problem:
    """What there is to choose.

    Attributes:
        variants: for each layer that multiplies, the widths it may have.
        groups: for each group of tensors, its possible widths; empty if widths are not chosen.
        fixed_uses: (lut, ff, bram18, dsp) of everything else.
        fixed: timing of everything else, as (latency, interval, input positions).
        io_type: how tensors travel.
        dataflow: whether layers run as processes side by side.
    """

    variants: tuple[tuple[Variant, ...], ...]
    groups: tuple[tuple[GroupWidth, ...], ...]
    fixed_uses: tuple[float, ...]
    fixed: tuple[tuple[int, int, int], ...]
    io_type: IoType
    dataflow: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """Plan and weight width of each layer, width of each group."""

    plans: tuple[LayerPlan, ...]
    weight_widths: tuple[int, ...]
    group_widths: tuple[int, ...]


def price(layer: LayerDescription, plans: Sequence[LayerPlan], pricing: Pricing) -> Variant:
    """A layer with its plans priced; those that another plan beats in everything are left out."""
    digits = layer.weights.csd_digits if layer.weights else 0.0
    costs = [
        (plan, pricing.layer(dataclasses.replace(layer, strategy=plan.strategy.value, reuse_factor=plan.reuse_factor)))
        for plan in plans
        if (plan.strategy is not Strategy.DISTRIBUTED_ARITHMETIC or digits <= MOST_DIGITS)
        and (plan.strategy is not Strategy.CODEBOOK or layer.grouped is not None)
    ]
    options = [Option(cost.uses, float(cost.timing.latency), float(cost.timing.interval)) for _, cost in costs]
    return Variant(tuple(costs[index] for index in undominated(options)), layer.positions_in)


def limits_of(budget: Resources, shares: dict[str, float] | None) -> tuple[float, ...]:
    """Amount of each limited resource a plan may take; `shares` None means all of the board."""
    return tuple(getattr(budget, name) * (shares[name] if shares else 1.0) for name in LIMITED)


def choose(
    problem: Problem,
    limits: Sequence[float],
    goal: Goal,
    noise: float | None = None,
    *,
    nearest: bool = False,
    quietest: bool = False,
) -> Choice | None:
    """The best choice within the limits, or None if there is none.

    Args:
        noise: bound of the noise power at the outputs; None where widths are not chosen.
        quietest: minimise the noise in place of the goal.
        nearest: take the choice that exceeds the limits by the smallest factor in place of None.
    """
    space = _Space(problem, tuple(limits), goal, noise)
    if nearest:
        stretching = space.program([0.0] * space.size, overrun=1.0)
        found = solve(dataclasses.replace(stretching, gap=NEAREST_GAP))
        return None if found is None else space.choice(found)
    if noise is not None:
        # many more candidates, and a model of the noise that is not exact either: near the optimum is enough
        costs = [cost + SHARE_WEIGHT * share for cost, share in zip(space.primary, space.shares, strict=True)]
        weight = space.weight
        if quietest:
            costs, weight = space.noises, 0.0
        program = space.program(costs, bottleneck=weight)
        rough = solve_near(dataclasses.replace(program, gap=ROUGH_GAP, nodes=ROUGH_NODES))
        return None if rough is None else space.choice(rough)
    best = solve(space.program(space.primary, bottleneck=space.weight))
    if best is None:
        return None
    if goal is not Goal.RESOURCES:
        tighter = solve(space.program(space.shares, reached=best))
        best = tighter or best
    return space.choice(best)


@dataclass(frozen=True, slots=True)
class _Candidate:
    uses: tuple[float, ...]
    cycles: float
    busy: float
    plan: LayerPlan | None = None
    variant: Variant | None = None
    width: GroupWidth | None = None


class _Space:
    """All candidates of all choices: groups first, then layers, then what is fixed."""

    def __init__(self, problem: Problem, limits: tuple[float, ...], goal: Goal, noise: float | None) -> None:
        self.problem, self.goal = problem, goal
        self.with_noise = noise is not None
        self.limits = (*limits, noise) if noise is not None else limits
        self.weight = 0.0
        if goal is Goal.THROUGHPUT or (goal is Goal.LATENCY and problem.io_type is IoType.STREAM):
            self.weight = 1.0
        self.candidates: list[list[_Candidate]] = [[self._width(width) for width in group] for group in problem.groups]
        for variants in problem.variants:
            self.candidates.append(
                self._pruned([self._layer(variant, plan, cost) for variant in variants for plan, cost in variant.costs])
            )
        self.candidates.append([self._rest()])
        flat = [candidate for choice in self.candidates for candidate in choice]
        self.size = len(flat)
        self.primary = [self._share(c) if goal is Goal.RESOURCES else c.cycles for c in flat]
        self.shares = [self._share(c) for c in flat]
        self.noises = [c.uses[-1] / noise if noise else 0.0 for c in flat]

    def program(
        self,
        costs: Sequence[float],
        *,
        bottleneck: float = 0.0,
        overrun: float = 0.0,
        reached: Sequence[int] | None = None,
    ) -> Program:
        """The program with these costs.

        Args:
            reached: a solution whose bottleneck and sum of cycles must not get worse.
        """
        limits = self.limits
        slowest = total = None
        if reached is not None:
            taken = [choice[index] for choice, index in zip(self.candidates, reached, strict=True)]
            slowest = max(c.busy for c in taken) if self.weight else None
            total = sum(c.cycles for c in taken)
            limits = (*limits, total + ROUNDING * max(total, 1.0))
        position = 0
        choices: list[list[Option]] = []
        for choice in self.candidates:
            options: list[Option] = []
            for candidate in choice:
                uses = candidate.uses if total is None else (*candidate.uses, candidate.cycles)
                if slowest is not None and candidate.busy > slowest:
                    uses = (*(limit + 1.0 for limit in limits),)  # never within the limits
                options.append(self._option(candidate, uses, costs[position]))
                position += 1
            choices.append(options)
        return Program(choices, limits, bottleneck, overrun)

    def choice(self, found: Sequence[int]) -> Choice:
        """A solution in the words of the caller."""
        taken = [choice[index] for choice, index in zip(self.candidates, found, strict=True)]
        return Choice(
            tuple(c.plan for c in taken if c.plan is not None),
            tuple(c.variant.weight_width for c in taken if c.variant is not None),
            tuple(c.width.width for c in taken if c.width is not None),
        )

    def _option(self, candidate: _Candidate, uses: tuple[float, ...], cost: float) -> Option:
        key: Hashable = candidate.width.width if candidate.width is not None else None
        needs: tuple[tuple[int, Hashable], ...] = ()
        if candidate.variant is not None and candidate.variant.group is not None:
            needs = ((candidate.variant.group, candidate.variant.input_width),)
        return Option(uses, cost, candidate.busy, key, needs)

    def _with_noise(self, uses: tuple[float, ...], noise: float) -> tuple[float, ...]:
        return (*uses, noise) if self.with_noise else uses

    def _width(self, width: GroupWidth) -> _Candidate:
        return _Candidate(self._with_noise(width.uses, width.noise), 0.0, 0.0, width=width)

    def _layer(self, variant: Variant, plan: LayerPlan, cost: LayerCost) -> _Candidate:
        cycles, busy = self._time(cost, variant.positions)
        return _Candidate(self._with_noise(cost.uses, variant.noise), cycles, busy, plan, variant)

    def _time(self, cost: LayerCost, positions: int) -> tuple[float, float]:
        """(cycles it adds, cycles it bids for the bottleneck), as `estimate.fpga.timing.design_timing` counts."""
        timing = cost.timing
        if self.goal is Goal.THROUGHPUT:
            rewinds = timing.rewind or timing.latency == 0 or not self.problem.dataflow
            parallel = self.problem.io_type is IoType.PARALLEL
            return 0.0, float(timing.interval if rewinds else timing.latency + 1 if parallel else timing.interval + 1)
        if self.problem.io_type is IoType.STREAM:
            return max(1, timing.latency) / positions, float(timing.latency)
        return float(timing.latency), 0.0

    def _rest(self) -> _Candidate:
        busy = 0.0
        if self.weight:
            position = 1 if self.goal is Goal.THROUGHPUT else 0
            busy = float(max((timing[position] for timing in self.problem.fixed), default=0))
        return _Candidate(self._with_noise(self.problem.fixed_uses, 0.0), 0.0, busy)

    def _pruned(self, candidates: list[_Candidate]) -> list[_Candidate]:
        options = [
            self._option(c, c.uses, self._share(c) if self.goal is Goal.RESOURCES else c.cycles) for c in candidates
        ]
        return [candidates[index] for index in undominated(options)]

    def _share(self, candidate: _Candidate) -> float:
        """Sum of the shares of the limits a candidate takes; noise is free within its bound."""
        return sum(
            use / limit if limit else 0.0
            for use, limit in zip(candidate.uses[: len(LIMITED)], self.limits[: len(LIMITED)], strict=True)
        )
