"""The planner's view of a project: candidates, prices, and what does not depend on the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from boardfit.board import FpgaBoard
from boardfit.estimate.budget import overload
from boardfit.estimate.fpga import DesignDescription, Fifo, LayerDescription, estimate
from boardfit.estimate.fpga.layer_cost import Pricing
from boardfit.estimate.report import Estimate, Saving
from boardfit.ir import Graph
from boardfit.options import BackendOptions, Goal, IoType, Strategy
from boardfit.plan.fpga import Candidates, FpgaPlan, find_candidates
from boardfit.plan.fpga_choice import LIMITED, MARGINS, Choice, Problem, choose, limits_of, price

from .describe import as_estimate, describe_streams
from .layers import LayerList, make_layers
from .refuse import refuse, too_many_registers
from .streams import FifoKey, Streams

CORRECTIONS = 4
"""Times the limits are tightened because the whole design costs more than the sum of its parts."""

TRIED_REUSE = (4, 16, 64, 256, 1024)
"""Reuse factors whose effect is told when a design does not fit."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and what it costs."""

    plan: FpgaPlan
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Described:
    """A graph as the estimator sees it under one plan.

    Attributes:
        matrices: node name -> description, for nodes that multiply by constant weights.
        fifos: those of a streamed project.
        streams: the processes their depths follow from; None without FIFOs.
    """

    design: DesignDescription
    network: LayerList
    matrices: Mapping[str, LayerDescription]
    fifos: Mapping[FifoKey, Fifo] = field(default_factory=dict)
    streams: Streams | None = None


def describe(graph: Graph, board: FpgaBoard, options: BackendOptions, plan: FpgaPlan) -> Described:
    """Describe `graph` under `plan`."""
    network = make_layers(graph, plan)
    design, fifos, streams = describe_streams(
        graph, network, plan, board, options.clock_ns or board.clock_ns, options.tool
    )
    layers = {layer.name: layer for layer in design.layers}
    nodes = {node.name: node for node in graph.nodes}
    matrices = {name: layers[_multiplying(network, nodes[name].outputs[0])] for name in plan.layers}
    return Described(design, network, matrices, fifos, streams)


def _multiplying(network: LayerList, tensor: str) -> str:
    """The layer that multiplies among those that make a tensor; reshapes may follow it."""
    layers = {layer.name: layer for layer in network.layers}
    layer = layers[network.makers[tensor]]
    while layer.plan is None:
        layer = layers[layer.inputs[0]]
    return layer.name


def estimate_plan(graph: Graph, board: FpgaBoard, options: BackendOptions, plan: FpgaPlan) -> Estimate:
    """What `graph` costs with `plan`."""
    described = describe(graph, board, options, plan)
    return as_estimate(estimate(described.design), described.network, board, described.design.clock_ns)


def plan_graph(graph: Graph, board: FpgaBoard, options: BackendOptions) -> Planned:
    """The best plan for the goal that fits the board with its margin, else without; else the nearest one.

    Raises:
        UsageError, BudgetError: see `find_candidates`.
    """
    found: list[Planned] = []
    for candidates in ways(graph, options):
        found += [planned for mode in modes(candidates) for planned in _plan_mode(graph, board, options, mode)]
        if any(planned.estimate.fits for planned in found):
            break
    return min(found, key=lambda planned: rank(planned.estimate, options.goal))


def ways(graph: Graph, options: BackendOptions) -> Iterator[Candidates]:
    """Candidates with the usual io type, then for vectors those with FIFOs: words of them take fewer wires."""
    usual = find_candidates(graph, options)
    yield usual
    both = options.io_type is None and options.strategy is not Strategy.CODEBOOK  # which has no form with FIFOs
    if both and usual.io_type is IoType.PARALLEL and can_stream(graph):
        yield find_candidates(graph, replace(options, io_type=IoType.STREAM))


def can_stream(graph: Graph) -> bool:
    """Whether every node can be done with FIFOs."""
    if any(len(readers) > 1 for readers in graph.consumers().values()):
        return False
    reasons = ((refuse(node, graph, True), too_many_registers(node, graph, True)) for node in graph.nodes)
    return all(reason == (None, None) for reason in reasons)


def modes(candidates: Candidates) -> list[Candidates]:
    """The candidates, and without FIFOs also those of one pipeline: hls4ml makes one if no layer shares multipliers."""
    if candidates.io_type is IoType.STREAM:
        return [candidates]
    pipeline = {
        name: tuple(plan for plan in plans if plan.strategy is not Strategy.RESOURCE)
        for name, plans in candidates.layers.items()
    }
    shared = any(plan.strategy is Strategy.RESOURCE for plans in candidates.layers.values() for plan in plans)
    found = [Candidates(candidates.io_type, pipeline)] if all(pipeline.values()) else []
    return [*found, candidates] if shared else found


def rank(found: Estimate, goal: Goal) -> tuple[float, float, float]:
    """Smaller is better: fits with the margin or at all, then the goal, then the share of the board."""
    used = overload(found.total, found.budget)
    level = 0.0 if _within_margins(found) else 1.0 if found.fits else 1.0 + used
    share = sum(getattr(found.total, name) / max(getattr(found.budget, name), 1) for name in LIMITED)
    aim = {
        Goal.LATENCY: float(found.total.cycles),
        Goal.THROUGHPUT: float(found.interval),
        Goal.RESOURCES: share,
    }[goal]
    return level, aim, share


def _within_margins(found: Estimate) -> bool:
    return found.fits and all(
        getattr(found.total, name) <= limit
        for name, limit in zip(LIMITED, limits_of(found.budget, MARGINS), strict=True)
    )


def _plan_mode(graph: Graph, board: FpgaBoard, options: BackendOptions, candidates: Candidates) -> list[Planned]:
    base = candidates.smallest()
    described = describe(graph, board, options, base)
    pricing = Pricing.of(described.design)
    problem = make_problem(described, candidates, pricing)
    for shares in (MARGINS, None):
        allowed = limits = limits_of(board.budget, shares)
        for _ in range(CORRECTIONS):
            choice = choose(problem, limits, options.goal)
            if choice is None:
                break
            found = _planned(graph, board, options, candidates, choice)
            used = tuple(float(getattr(found.estimate.total, name)) for name in LIMITED)
            if all(use <= limit for use, limit in zip(used, allowed, strict=True)):
                return [found]
            limits = tightened(limits, used, allowed)
    choice = choose(problem, limits_of(board.budget, None), options.goal, nearest=True)
    return [] if choice is None else [_planned(graph, board, options, candidates, choice)]


def tightened(limits: tuple[float, ...], used: tuple[float, ...], allowed: tuple[float, ...]) -> tuple[float, ...]:
    """Limits lowered by what the whole design takes beyond what is allowed."""
    return tuple(
        max(limit - max(use - most, 0.0) * 1.05, 0.0) for limit, use, most in zip(limits, used, allowed, strict=True)
    )


def _planned(
    graph: Graph, board: FpgaBoard, options: BackendOptions, candidates: Candidates, choice: Choice
) -> Planned:
    plan = FpgaPlan(candidates.io_type, dict(zip(candidates.layers, choice.plans, strict=True)))
    return Planned(plan, estimate_plan(graph, board, options, plan))


def make_problem(described: Described, candidates: Candidates, pricing: Pricing) -> Problem:
    """The choice of strategies and reuse factors for a graph whose widths are given."""
    return Problem(
        variants=tuple((price(described.matrices[name], plans, pricing),) for name, plans in candidates.layers.items()),
        groups=(),
        fixed_uses=fixed_uses(described, pricing),
        fixed=fixed_timings(described, pricing),
        io_type=candidates.io_type,
        dataflow=is_dataflow(candidates),
    )


def is_dataflow(candidates: Candidates) -> bool:
    """Whether the layers become processes that run side by side."""
    some = any(plan.strategy is Strategy.RESOURCE for plans in candidates.layers.values() for plan in plans)
    return candidates.io_type is IoType.STREAM or some


def fixed_uses(described: Described, pricing: Pricing) -> tuple[float, ...]:
    """What the design takes beside the layers that are planned: the whole less their prices."""
    synthesis = estimate(described.design).synthesis
    whole = [getattr(synthesis, name).value for name in LIMITED]
    planned = [pricing.layer(layer).uses for layer in described.matrices.values()]
    asked = sum(uses[LIMITED.index("dsp")] for uses in planned)
    free = max(0.0, whole[LIMITED.index("dsp")] - asked)
    rest = [max(0.0, total - sum(uses[i] for uses in planned)) for i, total in enumerate(whole)]
    return (*rest[:3], free)


def fixed_timings(described: Described, pricing: Pricing) -> tuple[tuple[int, int, int], ...]:
    """(latency, interval, input positions) of the layers that are not planned."""
    planned = {layer.name for layer in described.matrices.values()}
    found = [(layer, pricing.layer(layer).timing) for layer in described.design.layers if layer.name not in planned]
    return tuple((timing.latency, timing.interval, layer.positions_in) for layer, timing in found)


def savings(graph: Graph, board: FpgaBoard, options: BackendOptions, found: Estimate) -> tuple[Saving, ...]:
    """What larger reuse factors than the one asked for would save, where they bring the design nearer to fitting.

    None where the planner may choose: it has weighed every reuse factor already.
    """
    if options.reuse_factor is None:
        return ()
    helping: list[Saving] = []
    for reuse in TRIED_REUSE:
        if reuse > options.reuse_factor:
            asked = replace(options, reuse_factor=reuse)
            total = estimate_plan(graph, board, asked, find_candidates(graph, asked).fastest()).total
            if overload(total, board.budget) < overload(found.total, board.budget):
                helping.append(Saving(f"give --reuse-factor {reuse}", total))
    return tuple(helping)
