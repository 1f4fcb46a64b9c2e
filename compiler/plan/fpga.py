"""FPGA plan: which strategies and reuse factors each layer that multiplies may have, and how tensors travel.

What hls4ml accepts and the HLS tools can build is known here; `fpga_choice` picks among it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import BudgetError, UsageError
from ..ir.graph import Graph, Node
from ..ops.conv2d import Conv2DAttrs
from ..ops.conv_transpose2d import ConvTranspose2DAttrs
from ..options import BackendOptions, IoType, Strategy
from . import codebook, distributed_arithmetic

UNROLL_LIMIT = 4096
"""Vivado HLS stops at loops unrolled, and arrays partitioned, into more pieces than this."""

PARALLEL_POSITIONS = 1
"""Output positions of a convolution up to which io_parallel is chosen by default."""


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """Decision for one layer."""

    strategy: Strategy
    reuse_factor: int


CODEBOOK = LayerPlan(Strategy.CODEBOOK, 1)
"""Every sum of inputs and every product of one exists: there is nothing to share over time."""

ADDER_GRAPH = LayerPlan(Strategy.DISTRIBUTED_ARITHMETIC, 1)
"""Distributed arithmetic has no reuse factor: every product exists, as adders."""


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
        taps, height: of the kernel of a convolution.
    """

    n_in: int
    n_out: int
    depthwise: bool
    positions: int
    taps: int = 1
    height: int = 1

    @property
    def products(self) -> int:
        """Multiplications at each position."""
        return self.n_in if self.depthwise else self.n_in * self.n_out

    def multipliers(self, reuse_factor: int) -> int:
        """Multiplications done at once."""
        return math.ceil(self.products / reuse_factor)


def product_of(node: Node, graph: Graph) -> Product | None:
    """The matrix product of a node, or None if it has none."""
    if node.op not in ("Dense", "Conv2D", "ConvTranspose2D"):
        return None
    weights = graph.types[node.inputs[1]].shape
    if isinstance(node.attrs, Conv2DAttrs | ConvTranspose2DAttrs):
        attrs = node.attrs
        height = (weights[1] - 1) * attrs.dilations[0] + 1
        width = (weights[2] - 1) * attrs.dilations[1] + 1
        channels = graph.types[node.inputs[0]].shape[3]
        positions = math.prod(graph.types[node.outputs[0]].shape[1:3])
        depthwise = node.op == "Conv2D" and attrs.groups > 1 and weights[3] == 1 and weights[0] == attrs.groups
        return Product(height * width * channels, weights[0], depthwise, positions, height * width, height)
    positions = math.prod(graph.types[node.outputs[0]].shape[:-1])
    return Product(weights[1], weights[0], False, positions)


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


def serial_reuse_factors(product: Product) -> list[int]:
    """Reuse factors of boardfit's own kernel for streamed convolutions: as many filters side by side as divide them.

    It makes one channel after the other, all taps at once.
    """
    if product.depthwise or product.height == 1:
        return []
    channels = product.n_in // product.taps
    found = [channels * product.n_out // k for k in range(1, product.n_out + 1) if product.n_out % k == 0]
    return [factor for factor in found if factor > 1]


def allowed_reuse_factors(product: Product, io_type: IoType, most: int | None = None) -> list[int]:
    """Reuse factors some kernel computes right that also keep the tools' unroll limit, up to `most`, ascending."""
    legal = legal_reuse_factors(product)
    if io_type is IoType.STREAM:
        legal = sorted({*legal, *serial_reuse_factors(product)})
    return [rf for rf in legal if product.multipliers(rf) < UNROLL_LIMIT and (most is None or rf <= most)]


def largest_reuse_factor(node: Node, product: Product, io_type: IoType) -> int | None:
    """Largest reuse factor the Resource kernel of a layer computes right, or None: any legal one.

    hls4ml's io_parallel convolutions silently give wrong sums above n_in.
    """
    convolution = node.op != "Dense" or product.positions > 1
    return product.n_in if convolution and io_type is IoType.PARALLEL else None


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the planner may choose from.

    Attributes:
        io_type: how tensors travel.
        layers: node name -> legal plans within what the user asked for, fastest first.
    """

    io_type: IoType
    layers: Mapping[str, tuple[LayerPlan, ...]]

    def fastest(self) -> FpgaPlan:
        """The most parallel plan of each layer."""
        return FpgaPlan(self.io_type, {name: plans[0] for name, plans in self.layers.items()})

    def smallest(self) -> FpgaPlan:
        """The most sequential plan of each layer."""
        return FpgaPlan(self.io_type, {name: plans[-1] for name, plans in self.layers.items()})


def find_candidates(graph: Graph, options: BackendOptions) -> Candidates:
    """Every strategy and reuse factor each layer may have.

    Raises:
        UsageError: a reuse factor or strategy that was asked for is not legal for some layer.
        BudgetError: a layer exceeds the unroll limit whatever its plan.
    """
    products = products_of(graph)
    io_type = options.io_type or choose_io_type(products)
    return Candidates(
        io_type, {node.name: tuple(_candidates(node, product, io_type, options, graph)) for node, product in products}
    )


def products_of(graph: Graph) -> list[tuple[Node, Product]]:
    """The nodes that multiply by constant weights, with their matrix products, in order."""
    found = [(node, product_of(node, graph)) for node in graph.nodes]
    return [(node, product) for node, product in found if product is not None]


def choose_io_type(products: Sequence[tuple[Node, Product]]) -> IoType:
    """FIFOs for convolutions over many positions, wires for everything else."""
    many = any(node.op != "Dense" and product.positions > PARALLEL_POSITIONS for node, product in products)
    return IoType.STREAM if many else IoType.PARALLEL


def _candidates(
    node: Node, product: Product, io_type: IoType, options: BackendOptions, graph: Graph
) -> list[LayerPlan]:
    """Plans of one layer, fastest first, within what the user asked for."""
    if options.strategy is Strategy.DISTRIBUTED_ARITHMETIC:
        return [_adder_graph(node, product, io_type, options, graph)]
    if options.strategy is Strategy.CODEBOOK:
        return [_codebook(node, product, io_type, options, graph)]
    only_latency = product.depthwise and io_type is IoType.PARALLEL  # hls4ml has no Resource form of it
    reuse = options.reuse_factor
    if only_latency and options.strategy is Strategy.RESOURCE:
        raise UsageError(
            "a depthwise convolution has no strategy resource with io_parallel",
            node=node.source.node,
            op_type=node.source.op_type,
            hint="give --io-type io_stream, or leave --strategy to the planner",
        )
    legal = allowed_reuse_factors(product, io_type, largest_reuse_factor(node, product, io_type))
    if reuse is not None and (legal or only_latency):
        return [_asked(node, product, legal, reuse, options.strategy, only_latency)]
    plans: list[LayerPlan] = []
    if options.strategy in (None, Strategy.LATENCY) and product.products < UNROLL_LIMIT:
        plans.append(LayerPlan(Strategy.LATENCY, 1))
        if options.strategy is None and _may_be_adder_graph(node, product, io_type):
            plans.append(ADDER_GRAPH)
        if options.strategy is None and codebook.refuse(node, graph, product.positions, io_type) is None:
            plans.append(CODEBOOK)
        if only_latency or options.strategy is Strategy.LATENCY:
            plans += [LayerPlan(Strategy.LATENCY, rf) for rf in legal_reuse_factors(product) if rf > 1]
    if options.strategy in (None, Strategy.RESOURCE) and not only_latency:
        first = 2 if plans else 1
        plans += [LayerPlan(Strategy.RESOURCE, rf) for rf in legal if rf >= first]
    if not plans:
        raise BudgetError(
            f"{product.products} multiplications at once exceed the unroll limit of {UNROLL_LIMIT}",
            node=node.source.node,
            op_type=node.source.op_type,
            hint="give --strategy resource" if not only_latency else "give --io-type io_stream",
        )
    return plans


def _may_be_adder_graph(node: Node, product: Product, io_type: IoType) -> bool:
    """Whether the planner may weigh distributed arithmetic; the widths decide whether its graph gets too large."""
    reason = distributed_arithmetic.refuse_shape(
        node, product.positions, product.depthwise, max(product.n_in, product.n_out), io_type
    )
    return reason is None and distributed_arithmetic.installed()


def _adder_graph(node: Node, product: Product, io_type: IoType, options: BackendOptions, graph: Graph) -> LayerPlan:
    """The plan where the user asked for distributed arithmetic."""
    if options.reuse_factor not in (None, 1):
        raise UsageError(
            f"strategy distributed_arithmetic computes all products at once: the reuse factor is 1, not "
            f"{options.reuse_factor}",
            hint="leave out --reuse-factor, or give --strategy resource",
        )
    reason = distributed_arithmetic.refuse_shape(
        node, product.positions, product.depthwise, max(product.n_in, product.n_out), io_type
    )
    reason = reason or distributed_arithmetic.refuse_size(node, graph)
    if reason is not None:
        raise UsageError(
            reason,
            node=node.source.node,
            op_type=node.source.op_type,
            hint="leave --strategy to the planner, which chooses for each layer",
        )
    return ADDER_GRAPH


def _codebook(node: Node, product: Product, io_type: IoType, options: BackendOptions, graph: Graph) -> LayerPlan:
    """The plan where the user asked for sums of inputs before the products."""
    reason = codebook.refuse(node, graph, product.positions, io_type)
    if reason is None and product.products >= UNROLL_LIMIT:
        reason = f"strategy codebook adds {product.products} inputs at once, above the unroll limit of {UNROLL_LIMIT}"
    if reason is None and options.reuse_factor not in (None, 1):
        reason = f"strategy codebook does everything at once: the reuse factor is 1, not {options.reuse_factor}"
    if reason is not None:
        raise UsageError(
            reason,
            node=node.source.node,
            op_type=node.source.op_type,
            hint="leave --strategy to the planner, which chooses for each layer",
        )
    return CODEBOOK


def _asked(
    node: Node, product: Product, legal: Sequence[int], reuse: int, strategy: Strategy | None, only_latency: bool
) -> LayerPlan:
    """The plan with the reuse factor the user gave.

    A factor that is not legal for this layer becomes the next larger legal one, or the largest.
    """
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
