"""FPGA plan: strategy and reuse factor of every layer that multiplies, and how tensors travel.

A simple rule: every layer starts fully parallel (or as parallel as the tools allow), then the layer with the
most DSPs gets the next legal reuse factor until the board's share holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..board import FpgaBoard
from ..errors import BudgetError, UsageError
from ..ir.graph import Graph, Node
from ..ir.types import FixedPoint
from ..ops.conv2d import Conv2DAttrs
from ..options import BackendOptions, IoType, Strategy

UNROLL_LIMIT = 4096
"""Vivado HLS stops at loops unrolled, and arrays partitioned, into more pieces than this."""

PARALLEL_POSITIONS = 1
"""Output positions of a convolution up to which io_parallel is chosen by default."""

DSP_SHARES = (0.9, 0.6, 0.4, 0.25, 0.15, 0.08)
"""Parts of the board's DSPs a plan may use, tried in turn until the other resources hold as well.

The first leaves a tenth to the surrounding design.
"""

DSP_PORTS = (18, 25)
"""Signed operand widths of one DSP48E1 multiplier (AMD UG479)."""

FABRIC_BITS = 10
"""Products of operands whose widths sum to no more than this are built from LUTs by the HLS tools."""


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """Decision for one layer."""

    strategy: Strategy
    reuse_factor: int


@dataclass(frozen=True, slots=True)
class FpgaPlan:
    """Decisions for a graph: node name -> layer plan, for nodes that multiply by constant weights."""

    io_type: IoType
    layers: Mapping[str, LayerPlan]


@dataclass(frozen=True, slots=True)
class Product:
    """The matrix product a layer evaluates at each position.

    Attributes:
        n_in, n_out: as hls4ml counts them; a depthwise layer has n_in products, others n_in * n_out.
        depthwise: whether it is one.
        positions: how often it is evaluated in one inference.
        left, right: types of its operands.
    """

    n_in: int
    n_out: int
    depthwise: bool
    positions: int
    left: FixedPoint
    right: FixedPoint

    @property
    def products(self) -> int:
        """Multiplications at each position."""
        return self.n_in if self.depthwise else self.n_in * self.n_out

    def multipliers(self, reuse_factor: int) -> int:
        """Multiplications done at once."""
        return math.ceil(self.products / reuse_factor)

    def dsps(self, reuse_factor: int) -> int:
        """DSPs of those multiplications."""
        return self.multipliers(reuse_factor) * dsps_per_product(self.left, self.right)


def dsps_per_product(left: FixedPoint, right: FixedPoint) -> int:
    """DSP48E1 slices of one product of these types.

    The operands are tiled over ports of 18 and 25 bits, one more bit for each unsigned operand.
    """
    widths = sorted(element.width + (not element.signed) for element in (left, right))
    if sum(widths) <= FABRIC_BITS:
        return 0
    # a tile after the first one holds one magnitude bit less (UG479, "Wide multipliers")
    small = max(1, math.ceil((widths[0] - 1) / (DSP_PORTS[0] - 1)))
    large = max(1, math.ceil((widths[1] - 1) / (DSP_PORTS[1] - 1)))
    return small * large


def product_of(node: Node, graph: Graph) -> Product | None:
    """The matrix product of a node, or None if it has none."""
    if node.op not in ("Dense", "Conv2D"):
        return None
    weights = graph.types[node.inputs[1]].shape
    left, right = graph.types[node.inputs[0]].element, graph.types[node.inputs[1]].element
    if not isinstance(left, FixedPoint) or not isinstance(right, FixedPoint):
        raise UsageError(f"the graph is not in fixed point: '{node.inputs[0]}' is {left}")
    if isinstance(node.attrs, Conv2DAttrs):
        attrs = node.attrs
        height = (weights[1] - 1) * attrs.dilations[0] + 1
        width = (weights[2] - 1) * attrs.dilations[1] + 1
        channels = graph.types[node.inputs[0]].shape[3]
        positions = math.prod(graph.types[node.outputs[0]].shape[1:3])
        depthwise = attrs.groups > 1 and weights[3] == 1 and weights[0] == attrs.groups
        return Product(height * width * channels, weights[0], depthwise, positions, left, right)
    positions = math.prod(graph.types[node.outputs[0]].shape[:-1])
    return Product(weights[1], weights[0], False, positions, left, right)


def legal_reuse_factors(product: Product) -> list[int]:
    """Reuse factors hls4ml accepts for the Resource strategy, ascending.

    Below n_in: divisors of n_in; above: multiples of n_in that divide n_in * n_out.
    Depthwise layers only those that leave no multiplier idle.
    """
    small = [rf for rf in range(1, product.n_in + 1) if product.n_in % rf == 0]
    if product.depthwise:
        return small
    large = [product.n_in * k for k in range(2, product.n_out + 1) if product.n_out % k == 0]
    return small + large


def allowed_reuse_factors(product: Product) -> list[int]:
    """Legal reuse factors that also keep the tools' unroll limit."""
    return [rf for rf in legal_reuse_factors(product) if product.multipliers(rf) < UNROLL_LIMIT]


def plan_fpga(graph: Graph, board: FpgaBoard, options: BackendOptions, dsp_share: float = DSP_SHARES[0]) -> FpgaPlan:
    """Choose strategy and reuse factor of every layer.

    Args:
        dsp_share: part of the board's DSPs the plan may use, if any plan can keep it.

    Raises:
        UsageError: a reuse factor or strategy that was asked for is not legal for some layer.
        BudgetError: a layer exceeds the unroll limit whatever its plan.
    """
    products: list[tuple[Node, Product]] = []
    for node in graph.nodes:
        product = product_of(node, graph)
        if product is not None:
            products.append((node, product))
    io_type = options.io_type or choose_io_type(products)
    candidates = [_candidates(node, product, io_type, options) for node, product in products]
    chosen = [0] * len(products)
    budget = int(board.budget.dsp * dsp_share)

    def dsps(index: int) -> int:
        return products[index][1].dsps(candidates[index][chosen[index]].reuse_factor)

    while sum(map(dsps, range(len(products)))) > budget:
        open_layers = [i for i in range(len(products)) if chosen[i] + 1 < len(candidates[i])]
        if not open_layers:
            break  # the caller compares the estimate with the budget and says what is missing
        heaviest = max(open_layers, key=dsps)
        chosen[heaviest] += 1
    layers = {node.name: candidates[i][chosen[i]] for i, (node, _) in enumerate(products)}
    return FpgaPlan(io_type, layers)


def choose_io_type(products: Sequence[tuple[Node, Product]]) -> IoType:
    """FIFOs for convolutions over many positions, wires for everything else."""
    many = any(node.op == "Conv2D" and product.positions > PARALLEL_POSITIONS for node, product in products)
    return IoType.STREAM if many else IoType.PARALLEL


def _candidates(node: Node, product: Product, io_type: IoType, options: BackendOptions) -> list[LayerPlan]:
    """Plans of one layer, fastest first, within what the user asked for."""
    only_latency = product.depthwise and io_type is IoType.PARALLEL  # hls4ml has no Resource form of it
    reuse = options.reuse_factor
    if only_latency and options.strategy is Strategy.RESOURCE:
        raise UsageError(
            "a depthwise convolution has no strategy resource with io_parallel",
            node=node.source.node,
            op_type=node.source.op_type,
            hint="give --io-type io_stream, or leave --strategy to the planner",
        )
    if reuse is not None:
        return [_asked(node, product, reuse, options.strategy, only_latency)]
    plans: list[LayerPlan] = []
    if options.strategy in (None, Strategy.LATENCY) and product.products < UNROLL_LIMIT:
        plans.append(LayerPlan(Strategy.LATENCY, 1))
        if only_latency or options.strategy is Strategy.LATENCY:
            plans += [LayerPlan(Strategy.LATENCY, rf) for rf in legal_reuse_factors(product) if rf > 1]
    if options.strategy in (None, Strategy.RESOURCE) and not only_latency:
        first = 2 if plans else 1
        plans += [LayerPlan(Strategy.RESOURCE, rf) for rf in allowed_reuse_factors(product) if rf >= first]
    if not plans:
        raise BudgetError(
            f"{product.products} multiplications at once exceed the unroll limit of {UNROLL_LIMIT}",
            node=node.source.node,
            op_type=node.source.op_type,
            hint="give --strategy resource" if not only_latency else "give --io-type io_stream",
        )
    return plans


def _asked(node: Node, product: Product, reuse: int, strategy: Strategy | None, only_latency: bool) -> LayerPlan:
    """The plan with the reuse factor the user gave.

    A factor that is not legal for this layer becomes the next larger legal one, or the largest.
    """
    legal = allowed_reuse_factors(product)
    if only_latency or strategy is Strategy.LATENCY or (strategy is None and reuse == 1):
        if product.products < UNROLL_LIMIT:
            return LayerPlan(Strategy.LATENCY, min(reuse, product.products))
        if only_latency or strategy is Strategy.LATENCY:
            raise UsageError(
                f"strategy latency needs {product.products} multipliers, above the unroll limit of {UNROLL_LIMIT}",
                node=node.source.node,
                op_type=node.source.op_type,
                hint="give --strategy resource",
            )
    larger = [rf for rf in legal if rf >= reuse]
    return LayerPlan(Strategy.RESOURCE, larger[0] if larger else legal[-1])
