"""Narrower values down to a bound, by the integer program, repeated until what is measured holds.

The program takes the noise model at its word; the interpreter has the last one. The search goes over the noise power
that the program may spend: the more, the smaller or faster the design. One part of the calibration data steers it; the
design that is taken must hold the bound on the other part as well, and with the confidence that both together give.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from ..board import Board
from ..errors import BudgetError
from ..estimate.report import Estimate
from ..ir.graph import Graph
from ..ops import OPS
from ..options import BackendOptions, QuantizeOptions
from .fidelity import Bound, Judge, lower_limit, split
from .fixed_form import FixedForm
from .fixed_point_biases import input_means
from .fpga import calibrated_ranges
from .widths import NoiseModel, Widths, WidthSpace, fixed_outputs, float_outputs, measure_noise

LADDER = (16, 12, 11, 10, 9, 8, 7, 6, 5)
"""Widths tried below the widest one."""

TARGETS = (50, 42, 36, 33, 30, 27, 24, 21, 18, 15, 12, 9)
"""Signal-to-noise ratios in dB the integer program is asked for, most careful first."""

PROBE_WORK, MEASURE_WORK = 150_000_000, 400_000_000
"""Multiply-accumulates spent on one run of the interpreter: they set the number of samples."""

FEWEST_PROBES, MOST_PROBES, FEWEST = 8, 32, 100
"""Samples of a probe at least and at most, and of a measurement at least."""


class WidthPlanner(Protocol):
    """Chooses widths, strategies and reuse factors together; knows the costs."""

    def choose(self, noise: NoiseModel, power: float | None) -> Widths | None:
        """The best widths for the goal whose noise power stays below `power`, or None if nothing fits.

        Without a power: the widths with the least noise that fit.
        """
        ...


@runtime_checkable
class PlansWidths(Protocol):
    """What a backend offers whose values may have any width."""

    def width_planner(
        self, space: WidthSpace, ladder: tuple[int, ...], board: Board, options: BackendOptions
    ) -> WidthPlanner:
        """A planner for one graph and board."""
        ...

    def estimate(self, graph: Graph, board: Board, options: BackendOptions) -> Estimate:
        """What a graph costs with its best plan."""
        ...

    def fits(self, graph: Graph, board: Board, options: BackendOptions) -> bool:
        """Whether it fits with its best plan."""
        ...


@dataclass(frozen=True, slots=True)
class WidthSearch:
    """What was found.

    Attributes:
        graph: the fixed-point graph.
        bound: what holds.
        searched, confirmed: the measure on both parts of the calibration data.
        sure: what it is on other data with some confidence (see `lower_limit`).
        widths: of every layer's weights and every group of tensors.
    """

    graph: Graph
    bound: Bound
    searched: float
    confirmed: float
    sure: float
    widths: Widths

    @property
    def holds_here(self) -> bool:
        """Whether the bound holds on both parts."""
        return min(self.searched, self.confirmed) >= self.bound.least

    @property
    def holds(self) -> bool:
        """Whether the bound holds on both parts, and on other data as far as they can tell."""
        return self.holds_here and self.sure >= self.bound.least

    @property
    def fewest(self) -> int:
        """Bits of the narrowest weights or tensors."""
        return min(*self.widths.weights.values(), *self.widths.groups)


@dataclass(frozen=True, slots=True)
class NoWidths:
    """Nothing holds the bound and fits.

    Attributes:
        smallest: the fewest bits, the same everywhere, that hold the bound; its design does not fit. None: not looked
            for, because not even the fewest bits of all fit.
        fitting: the most precise design found that fits; it does not hold the bound. None: nothing fits.
        least: fewest bits tried.
    """

    smallest: WidthSearch | None
    fitting: WidthSearch | None
    least: int

    def __str__(self) -> str:
        if self.smallest is None:
            return f"not even values of {self.least} bits everywhere fit, whatever they would cost"
        bits = self.smallest.widths.groups[0]
        tried = f"with one width everywhere, {bits} bits are the fewest that hold the bound ({self.smallest.bound})"
        if self.fitting is None:
            return f"{tried}; nothing fits, down to {self.least} bits"
        found = min(self.fitting.searched, self.fitting.confirmed)
        return f"{tried}; the most precise widths that fit go down to {self.fitting.fewest} bits and reach {found:.4g}"


def search_widths(
    floating: Graph,
    data: Mapping[str, np.ndarray],
    backend: PlansWidths,
    board: Board,
    quantize: QuantizeOptions,
    options: BackendOptions,
    bound: Bound,
    labels: np.ndarray | None = None,
) -> WidthSearch | NoWidths | None:
    """Find narrower values.

    Args:
        data: calibration data; it is split in two.
        labels: (S,) for a bound on accuracy.

    Returns:
        The design that spends most of what the bound allows if the user gave the bound, else the most precise one
        that fits the board; what was tried if none holds the bound and fits; None if not even the widest values
        hold a bound that the user did not give.

    Raises:
        BudgetError: not even the widest values hold the bound.
    """
    problem = _Problem.of(floating, data, quantize, bound, labels)
    space, ladder, trial = problem.space, problem.ladder, problem.trial
    if not backend.fits(space.graph(space.uniform(min(ladder))), board, options):
        return NoWidths(None, None, min(ladder))  # wider values take no less
    widest = trial.run(space.uniform(space.top))
    if not widest.holds_here:
        if not quantize.bounded:
            return None
        raise BudgetError(
            f"values of {space.top} bits do not hold a {bound}: it is {widest.searched:.4g} on one half of the"
            f" calibration data and {widest.confirmed:.4g} on the other",
            hint=f"give --width {min(space.top + 8, 32)}, or a weaker bound",
        )
    attempts = problem.attempts(backend, board, options)
    found = _narrowest(attempts) if quantize.bounded else None
    if found is None:
        found = attempts.quietest()
    if found is not None and found.holds:
        return found
    return NoWidths(_narrowest_of_one_width(trial, ladder, widest), found, min(ladder))


def width_choices(
    floating: Graph,
    data: Mapping[str, np.ndarray],
    backend: PlansWidths,
    board: Board,
    quantize: QuantizeOptions,
    options: BackendOptions,
    bound: Bound,
    labels: np.ndarray | None = None,
) -> list[WidthSearch]:
    """The best design that fits for each of `TARGETS`, measured, most careful first; then the widest values everywhere.

    Args:
        data: calibration data; it is split in two, see `WidthSearch.confirmed`.
        bound: says what is measured.
        labels: (S,) where accuracy is.
    """
    problem = _Problem.of(floating, data, quantize, bound, labels)
    attempts = problem.attempts(backend, board, options)
    found = [attempts.at(target) for target in range(len(TARGETS))]
    different: dict[tuple[object, ...], WidthSearch] = {}
    for choice in found:
        if choice is not None:
            different.setdefault((*sorted(choice.widths.weights.items()), choice.widths.groups), choice)
    return [*different.values(), problem.trial.run(problem.space.uniform(problem.space.top))]


@dataclass(frozen=True, slots=True)
class _Problem:
    """What every search starts from."""

    floating: Graph
    data: Mapping[str, np.ndarray]
    space: WidthSpace
    ladder: tuple[int, ...]
    trial: _Trial

    @classmethod
    def of(
        cls,
        floating: Graph,
        data: Mapping[str, np.ndarray],
        quantize: QuantizeOptions,
        bound: Bound,
        labels: np.ndarray | None,
    ) -> _Problem:
        form = FixedForm()(floating)
        ranges = calibrated_ranges(form, data, quantize)
        space = WidthSpace.of(form, ranges, quantize.top_width, input_means(form, data))
        ladder = (space.top, *(width for width in LADDER if width < space.top))
        return cls(floating, data, space, ladder, _Trial(space, *_parts(floating, data, bound, labels)))

    def attempts(self, backend: PlansWidths, board: Board, options: BackendOptions) -> _Attempts:
        """The noise of every width, measured, and a planner for the board."""
        planner = backend.width_planner(self.space, self.ladder, board, options)
        samples = _samples(self.floating, PROBE_WORK, FEWEST_PROBES, MOST_PROBES)
        probes = {name: values[:samples] for name, values in self.data.items()}
        signal = float(np.mean(np.square(float_outputs(self.floating, probes))))
        return _Attempts(self.trial, planner, measure_noise(self.space, probes), signal)


def _narrowest_of_one_width(trial: _Trial, ladder: tuple[int, ...], widest: WidthSearch) -> WidthSearch:
    """Bisection for the fewest bits, the same everywhere, that hold the bound."""
    widths = sorted(ladder)
    low, high, best = -1, len(widths) - 1, widest  # widths that do not hold it, and that do
    while high - low > 1:
        middle = (low + high) // 2
        found = trial.run(trial.space.uniform(widths[middle]))
        if found.holds:
            high, best = middle, found
        else:
            low = middle
    return best


@dataclass(frozen=True, slots=True)
class _Part:
    """Samples of the calibration data and who judges the outputs on them."""

    data: Mapping[str, np.ndarray]
    judge: Judge


def _parts(
    floating: Graph, data: Mapping[str, np.ndarray], bound: Bound, labels: np.ndarray | None
) -> tuple[_Part, _Part]:
    """Two disjoint parts of the data."""
    first, second = split(data, _samples(floating, MEASURE_WORK, FEWEST, MEASURE_WORK))

    def part(samples: np.ndarray) -> _Part:
        chosen = {name: values[samples] for name, values in data.items()}
        judge = Judge(bound, float_outputs(floating, chosen), None if labels is None else labels[samples])
        return _Part(chosen, judge)

    return part(first), part(second if len(second) else first)


def _samples(graph: Graph, work: int, least: int, most: int) -> int:
    """Samples that take about `work` multiply-accumulates."""
    macs = sum(OPS[node.op].macs(node, graph) for node in graph.nodes)
    return min(most, max(least, work // max(macs, 1)))


@dataclass(frozen=True, slots=True)
class _Trial:
    """Runs a choice of widths."""

    space: WidthSpace
    search: _Part
    confirm: _Part

    def run(self, widths: Widths) -> WidthSearch:
        """Measure both parts."""
        graph = self.space.graph(widths)
        bound = self.search.judge.bound
        outputs = [(part.judge, fixed_outputs(graph, part.data)) for part in (self.search, self.confirm)]
        searched, confirmed = (judge.value(found) for judge, found in outputs)
        sure = min(searched, confirmed)
        if bound.measure != "snr":
            sure = lower_limit(np.concatenate([judge.scores(found) for judge, found in outputs]))
        return WidthSearch(graph, bound, searched, confirmed, sure, widths)


class _Attempts:
    """Designs for the targets, each made once."""

    def __init__(self, trial: _Trial, planner: WidthPlanner, noise: NoiseModel, signal: float) -> None:
        self.trial, self.planner, self.noise, self.signal = trial, planner, noise, signal
        self.found: dict[int, WidthSearch | None] = {}

    def quietest(self) -> WidthSearch | None:
        """The most precise design that fits."""
        widths = self.planner.choose(self.noise, None)
        return None if widths is None else self.trial.run(widths)

    def at(self, target: int) -> WidthSearch | None:
        """The design for a target, or None if nothing is quiet enough and fits."""
        if target not in self.found:
            widths = self.planner.choose(self.noise, self.signal * 10.0 ** (-TARGETS[target] / 10))
            self.found[target] = None if widths is None else self.trial.run(widths)
        return self.found[target]


def _narrowest(attempts: _Attempts) -> WidthSearch | None:
    """Bisection for the least careful target whose design holds the bound, then careful steps back if need be."""
    low, high = -1, len(TARGETS)  # a target that holds, and one that does not
    while high - low > 1:
        middle = (low + high) // 2
        found = attempts.at(middle)
        # without a design the noise bound is too strict for the board: only a weaker target can help
        if found is None or found.searched >= found.bound.least:
            low = middle
        else:
            high = middle
    for target in range(low, -1, -1):
        found = attempts.at(target)
        if found is None:
            break  # what is quieter still fits even less
        if found.holds:
            return found
    return None
