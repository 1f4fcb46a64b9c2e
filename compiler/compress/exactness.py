"""Whether the exact result of a fixed-point op fits the integers it is computed with."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..errors import UsageError
from ..ir.graph import Graph, Node
from ..ir.types import FixedPoint
from ..ops.accumulator import absolute_bound
from ..ops.average_pool2d import AveragePool2DAttrs, average_accumulator
from .fixed_types import constant_raw

EXACT_BITS = 62
"""Widest exact result: the interpreter computes in 64-bit integers."""

Term = tuple[int, int]
"""Signed width and fraction bits."""


def check_exact(node: Node, graph: Graph, types: Mapping[str, FixedPoint]) -> None:
    """Refuse types whose exact result is too wide.

    Raises:
        UsageError: it is; the node is named.
    """
    bits = exact_bits(node, graph, types)
    if bits > EXACT_BITS:
        raise UsageError(
            f"needs {bits}-bit arithmetic to be exact, more than {EXACT_BITS}",
            file=node.source.model or None,
            node=node.source.node,
            op_type=node.source.op_type,
            hint="give a smaller --width",
        )


def exact_bits(node: Node, graph: Graph, types: Mapping[str, FixedPoint]) -> int:
    """Signed width that holds the exact result of a node at the finest step in play, that of the result included."""
    terms = _terms(node, graph, types)
    top = max([types[node.outputs[0]].frac, *(frac for _, frac in terms)])
    return max((bits + top - frac for bits, frac in terms), default=0) + 1


def _terms(node: Node, graph: Graph, types: Mapping[str, FixedPoint]) -> list[Term]:
    """The summands of the exact result."""
    inputs = [types[name] for name in node.inputs if name]
    plain = [(element.width + 1, element.frac) for element in inputs]
    weights = graph.constant(node.inputs[1]) if node.op in ("Dense", "Conv2D", "ConvTranspose2D") else None
    if weights is not None:
        raw = constant_raw(weights, inputs[1]).reshape(len(weights), -1)
        bound = absolute_bound(raw, inputs[0])
        return [(bound.bit_length() + 1, inputs[0].frac + inputs[1].frac), *plain[2:]]
    if node.op in ("Mul", "ScaleBias", "PRelu"):
        product = (inputs[0].width + inputs[1].width + 1, inputs[0].frac + inputs[1].frac)
        return [product, *plain[2:], *(plain[:1] if node.op == "PRelu" else [])]
    if isinstance(node.attrs, AveragePool2DAttrs):
        accumulator = average_accumulator(inputs[0], types[node.outputs[0]], math.prod(node.attrs.kernel))
        return [(accumulator.width + 1, accumulator.frac)]
    return plain
