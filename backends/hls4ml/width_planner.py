"""Widths, strategies and reuse factors chosen together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from boardfit.board import FpgaBoard
from boardfit.compress.widths import NoiseModel, Widths, WidthSpace
from boardfit.estimate.fpga import LayerDescription, Precision
from boardfit.estimate.fpga.layer_cost import Pricing
from boardfit.options import BackendOptions
from boardfit.plan.fpga import Candidates, LayerPlan
from boardfit.plan.fpga_choice import (
    LIMITED,
    MARGINS,
    GroupWidth,
    Problem,
    choose,
    limits_of,
    price,
)

from .planning import Described, describe, fixed_timings, is_dataflow, modes, plan_graph, rank, tightened, ways

CORRECTIONS = 2
"""Times the limits are tightened because the graph with the chosen widths costs more than its parts."""


FEW_PLANS = 8
"""Plans of a layer that are weighed together with its widths; the final plan knows all of them."""


def few(plans: tuple[LayerPlan, ...]) -> tuple[LayerPlan, ...]:
    """Plans evenly spread over the legal ones: all that share nothing, the last, and some between."""
    if len(plans) <= FEW_PLANS:
        return plans
    unrolled = tuple(plan for plan in plans if plan.reuse_factor == 1)
    others = tuple(plan for plan in plans if plan.reuse_factor > 1)
    count = FEW_PLANS - len(unrolled)
    return (*unrolled, *(others[index * (len(others) - 1) // (count - 1)] for index in range(count)))


class GraphWidthPlanner:
    """Prices every layer at every width once; then answers for any noise power."""

    def __init__(self, space: WidthSpace, ladder: tuple[int, ...], board: FpgaBoard, options: BackendOptions) -> None:
        self.space, self.ladder, self.board, self.options = space, ladder, board, options
        graphs = {width: space.graph(space.uniform(width)) for width in ladder}
        self.modes: list[_Mode] = [
            _Mode(
                space,
                {width: describe(graph, board, options, mode.smallest()) for width, graph in graphs.items()},
                mode,
            )
            for way in ways(graphs[ladder[0]], options)
            for mode in modes(way)
        ]

    def choose(self, noise: NoiseModel, power: float | None) -> Widths | None:
        """The best widths for the goal that keep the noise power and fit (without one: the quietest), or None."""
        bound = noise.loudest(min(self.ladder)) if power is None else power
        found: list[tuple[tuple[float, float, float], Widths]] = []
        for mode in self.modes:
            if mode.candidates.io_type is not self.modes[0].candidates.io_type and any(r[0] <= 1.0 for r, _ in found):
                break  # FIFOs between vectors only where wires do not fit
            problem = mode.problem(noise)
            for shares in (MARGINS, None) if power is not None else (None,):
                allowed = limits = limits_of(self.board.budget, shares)
                for _ in range(CORRECTIONS):
                    choice = choose(problem, limits, self.options.goal, bound, quietest=power is None)
                    if choice is None:
                        break
                    widths = Widths(
                        dict(zip(mode.candidates.layers, choice.weight_widths, strict=True)), choice.group_widths
                    )
                    planned = plan_graph(self.space.graph(widths), self.board, self.options)
                    found.append((rank(planned.estimate, self.options.goal), widths))
                    if planned.estimate.fits:
                        break
                    used = tuple(float(getattr(planned.estimate.total, name)) for name in LIMITED)
                    limits = tightened(limits, used, allowed)
                if found and found[-1][0][0] <= 1.0:
                    break
        best = min(found, key=lambda pair: pair[0], default=None)
        return None if best is None or best[0][0] > 1.0 else best[1]


class _Mode:
    """The graph at every width, for one set of candidates."""

    def __init__(self, space: WidthSpace, described: Mapping[int, Described], candidates: Candidates) -> None:
        self.space, self.described, self.candidates = space, described, candidates
        self.top = max(described)
        self.pricing = Pricing.of(described[self.top].design)
        nodes = {node.name: node for node in space.form.nodes}
        self.inputs = {name: space.group_of(nodes[name].inputs[0]) for name in candidates.layers}
        sensible = {
            name: tuple(plan for plan, _ in price(described[self.top].matrices[name], plans, self.pricing).costs)
            for name, plans in candidates.layers.items()
        }
        self.priced = {
            (name, weight, tensor): price(self._variant(name, weight, tensor), few(plans), self.pricing)
            for name, plans in sensible.items()
            for weight in described
            for tensor in described
        }
        self.shared = {width: self._unplanned(width) for width in described}

    def problem(self, noise: NoiseModel) -> Problem:
        """The choice of everything, with these noise powers."""
        ladder = tuple(self.described)
        variants = tuple(
            tuple(
                replace(
                    self.priced[name, weight, tensor],
                    weight_width=weight,
                    group=group,
                    input_width=tensor,
                    noise=noise.weight_noise(name, weight),
                )
                for weight in ladder
                for tensor in ladder
            )
            for name, group in self.inputs.items()
        )
        groups = tuple(
            tuple(GroupWidth(width, self.shared[width][i], noise.group_noise(i, width)) for width in ladder)
            for i in range(len(self.space.groups))
        )
        return Problem(
            variants=variants,
            groups=groups,
            fixed_uses=(0.0,) * len(LIMITED),
            fixed=fixed_timings(self.described[self.top], self.pricing),
            io_type=self.candidates.io_type,
            dataflow=is_dataflow(self.candidates),
        )

    def _variant(self, name: str, weight: int, tensor: int) -> LayerDescription:
        """A layer whose weights are those of one graph and whose tensors those of another."""
        values, weights = self.described[tensor].matrices[name], self.described[weight].matrices[name]
        both = values.accum_precision.width + weights.weight_precision.width - values.weight_precision.width
        accumulator = values.accum_precision
        return replace(
            values,
            weights=weights.weights,
            grouped=weights.grouped,
            weight_precision=weights.weight_precision,
            n_zeros=weights.n_zeros,
            accum_precision=Precision(both, accumulator.integer, accumulator.signed),
        )

    def _unplanned(self, width: int) -> list[tuple[float, ...]]:
        """What each group costs beside the layers that multiply: its other layers, and what connects them."""
        described = self.described[width]
        planned = {layer.name for layer in described.matrices.values()}
        groups = self._groups_of_layers(described)
        totals = [[0.0] * len(LIMITED) for _ in self.space.groups]
        for layer in described.design.layers:
            group = groups.get(layer.name, groups.get(layer.name.split("_", 1)[-1], 0))
            costs = [self.pricing.connection(described.design, layer)] if layer.kind != "none" else []
            if layer.name not in planned:
                costs.append(self.pricing.layer(layer))
            for cost in costs:
                totals[group] = [a + b for a, b in zip(totals[group], cost.uses, strict=True)]
        return [tuple(total) for total in totals]

    def _groups_of_layers(self, described: Described) -> Mapping[str, int]:
        """Layer name -> group of the tensor it makes."""
        found: dict[str, int] = {}
        for index, tensors in enumerate(self.space.groups):
            for tensor in tensors:
                if tensor in described.network.makers:
                    found.setdefault(described.network.makers[tensor], index)
        return found
