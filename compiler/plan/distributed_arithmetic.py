"""Distributed arithmetic: a layer's constant products as one shared graph of adders, made by da4ml.

Kastner, Sun, Kumar and others: da4ml, distributed arithmetic for real-time neural networks on FPGAs (2025). The
sums are exact and cast once, as those of hls4ml's other strategies are.
"""

from __future__ import annotations

from importlib.util import find_spec

from ..ir.graph import Graph, Node
from ..numerics import signed_digits
from ..options import IoType, Strategy

PACKAGE = "da4ml"
"""Python package that makes the adder graphs."""

MOST_DIGITS = 6000
"""Signed digits in the weights of a layer up to which an adder graph is made: the time grows with their square."""


MOST_STREAMED = 256
"""Values of a streamed vector that surely fit into one word; longer ones may come in several."""


def installed() -> bool:
    """Whether adder graphs can be made here; the planner takes them only where they can."""
    return find_spec(PACKAGE) is not None


def left_out(strategy: Strategy | None) -> str | None:
    """What to tell the user if the planner could not weigh adder graphs, or None."""
    if strategy is not None or installed():
        return None
    return f"Distributed arithmetic was not considered: {PACKAGE} is not installed (pip install 'boardfit[fpga]')."


def refuse_shape(node: Node, positions: int, depthwise: bool, widest: int, io_type: IoType) -> str | None:
    """Why hls4ml has no distributed arithmetic for such a layer, or None.

    Args:
        positions: how often the product is evaluated.
        widest: values of its input or its result at one position, whichever is more.
    """
    if depthwise:
        return "a depthwise convolution has no strategy distributed_arithmetic"
    if io_type is IoType.STREAM and node.op == "Dense" and widest > MOST_STREAMED:
        return f"a streamed vector of more than {MOST_STREAMED} values has no strategy distributed_arithmetic"
    own = node.op == "ConvTranspose2D" or (node.op == "Dense" and positions > 1)
    if own and io_type is IoType.PARALLEL:
        return f"{node.op} over {positions} positions has no strategy distributed_arithmetic with io_parallel"
    return None


def refuse_size(node: Node, graph: Graph) -> str | None:
    """Why the adder graph of a layer would take too long to make, or None."""
    weights = graph.constant(node.inputs[1])
    digits = 0 if weights is None else int(signed_digits(weights).sum())
    if digits <= MOST_DIGITS:
        return None
    return f"its weights have {digits} signed digits, an adder graph is made for at most {MOST_DIGITS}"
