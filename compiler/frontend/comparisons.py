"""Comparisons with constants, and what chooses between two numbers by them: signs in the way ONNX can say them.

A truth value has no type in the IR. It is kept as a sign (`Bipolar`, 1 from zero on, else -1) until a Where makes
numbers of it: `Where(x >= 0, 1, -1)`, as the exporter writes Bipolar, is read back as that op alone. The sign of a
difference of two binary32 numbers is exact, so any threshold can be compared with.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..ops.add import AddAttrs
from ..ops.bipolar import BipolarAttrs
from ..ops.mul import MulAttrs
from ..ops.sub import SubAttrs
from .context import ImportContext, OnnxNode, Truth
from .decomposition import Decomposition

MIRRORED = {"Greater": "Less", "Less": "Greater", "GreaterOrEqual": "LessOrEqual", "LessOrEqual": "GreaterOrEqual"}


def _compare(context: ImportContext, node: OnnxNode) -> None:
    """x >= c as the sign of x - c, x > c as the opposite of that of c - x."""
    places = [index for index in range(2) if not context.is_constant(node.inputs[index])]
    if len(places) != 1:
        raise context.error(node, "only comparisons with a constant are supported")
    (place,) = places
    x, limit = context.tensor(node, place), context.constant(node, 1 - place, "the threshold")
    relation = node.op_type if place == 0 else MIRRORED[node.op_type]
    downwards = relation in ("Greater", "LessOrEqual")
    if downwards or limit.any():
        other = context.editor.add_constant(f"{node.name}/threshold", limit.astype(np.float32))
        x = context.emit(node, "Sub", [other, x] if downwards else [x, other], SubAttrs(), suffix="distance")
    sign = context.emit(node, "Bipolar", [x], BipolarAttrs(), suffix="sign")
    context.bind(node.outputs[0], sign)
    context.truths[node.outputs[0]] = Truth(sign, relation in ("GreaterOrEqual", "LessOrEqual"))


def _where(context: ImportContext, node: OnnxNode) -> None:
    """One constant where a comparison holds, another where it does not."""
    truth = context.truths.get(node.inputs[0])
    if truth is None:
        raise context.error(node, "the condition is not a comparison with a constant")
    if_true, if_false = (context.constant(node, index, "what is chosen").astype(np.float64) for index in (1, 2))
    if not truth.positive:
        if_true, if_false = if_false, if_true
    y = truth.sign
    factor, term = (if_true - if_false) / 2, (if_true + if_false) / 2
    if (factor != 1).any():
        y = context.emit(node, "Mul", [y, _constant(context, node, factor, "factor")], MulAttrs(), suffix="scaled")
    if term.any():
        y = context.emit(node, "Add", [y, _constant(context, node, term, "term")], AddAttrs(), suffix="shifted")
    context.bind(node.outputs[0], y)


def _constant(context: ImportContext, node: OnnxNode, values: np.ndarray, stem: str) -> str:
    return context.editor.add_constant(f"{node.name}/{stem}", values.astype(np.float32))


COMPARISONS: Mapping[str, Decomposition] = {
    **{name: Decomposition(_compare, ("Sub", "Bipolar")) for name in MIRRORED},
    "Where": Decomposition(_where, ("Mul", "Add")),
}
