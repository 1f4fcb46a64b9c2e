"""ONNX operators without an op of their own: each becomes a few ops of the IR.

Source: the ONNX operator specification, which defines most of them as functions in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ..ops.add import AddAttrs
from ..ops.bipolar import BipolarAttrs
from ..ops.div import DivAttrs
from ..ops.elementwise import import_chain
from ..ops.elu import EluAttrs
from ..ops.erf import ErfAttrs
from ..ops.mul import MulAttrs
from ..ops.sigmoid import SigmoidAttrs
from ..ops.softplus import SoftplusAttrs
from ..ops.sqrt import SqrtAttrs
from ..ops.sub import SubAttrs
from ..ops.tanh import TanhAttrs
from .context import ImportContext, OnnxNode
from .decomposition import Decomposition
from .reductions import log_sum_exp, scalar

LARGEST_POWER = 8
"""Whole powers up to this one are repeated products."""


def _product(context: ImportContext, node: OnnxNode, a: str, b: str | float, suffix: str) -> str:
    other = b if isinstance(b, str) else scalar(context, node, b, f"{suffix}_factor")
    return context.emit(node, "Mul", [a, other], MulAttrs(), suffix=suffix)


def _plus(context: ImportContext, node: OnnxNode, a: str, b: str | float, suffix: str) -> str:
    other = b if isinstance(b, str) else scalar(context, node, b, f"{suffix}_term")
    return context.emit(node, "Add", [a, other], AddAttrs(), suffix=suffix)


def _neg(context: ImportContext, node: OnnxNode) -> None:
    context.bind(node.outputs[0], _product(context, node, context.tensor(node, 0), -1.0, "negate"))


def _reciprocal_of(context: ImportContext, node: OnnxNode, x: str) -> str:
    return context.emit(node, "Div", [scalar(context, node, 1.0, "one"), x], DivAttrs(), suffix="reciprocal")


def _reciprocal(context: ImportContext, node: OnnxNode) -> None:
    context.bind(node.outputs[0], _reciprocal_of(context, node, context.tensor(node, 0)))


def _pow(context: ImportContext, node: OnnxNode) -> None:
    """x to a constant power: 0.5, -0.5 and whole powers."""
    x = context.tensor(node, 0)
    given = context.constant(node, 1, "the exponent")
    power = float(given.reshape(-1)[0]) if given.size else math.nan
    if (given != power).any():
        raise context.error(node, "exponents that differ between elements are not supported")
    size = abs(power)
    if size == 0.5:
        y = context.emit(node, "Sqrt", [x], SqrtAttrs(), suffix="root")
    elif size == int(size) and 1 <= size <= LARGEST_POWER:
        y = x
        for bit in bin(int(size))[3:]:  # square and multiply, from the highest bit
            y = _product(context, node, y, y, "square")
            y = _product(context, node, y, x, "times") if bit == "1" else y
    else:
        raise context.error(
            node, f"the exponent {power:g} is not supported", hint=f"0.5 and whole exponents up to {LARGEST_POWER} are"
        )
    context.bind(node.outputs[0], _reciprocal_of(context, node, y) if power < 0 else y)


def _swish(context: ImportContext, node: OnnxNode) -> None:
    """x * sigmoid(alpha * x)."""
    x = context.tensor(node, 0)
    default = 1.702 if node.op_type == "QuickGelu" else 1.0
    alpha = node.number("alpha", default)
    inner = x if alpha == 1.0 else _product(context, node, x, alpha, "scaled")
    gate = context.emit(node, "Sigmoid", [inner], SigmoidAttrs(), suffix="sigmoid")
    context.bind(node.outputs[0], _product(context, node, x, gate, "product"))


def _mish(context: ImportContext, node: OnnxNode) -> None:
    """x * tanh(softplus(x))."""
    x = context.tensor(node, 0)
    inner = context.emit(node, "Softplus", [x], SoftplusAttrs(), suffix="softplus")
    gate = context.emit(node, "Tanh", [inner], TanhAttrs(), suffix="tanh")
    context.bind(node.outputs[0], _product(context, node, x, gate, "product"))


def _gelu(context: ImportContext, node: OnnxNode) -> None:
    """0.5 x (1 + erf(x / sqrt 2)), or its tanh approximation."""
    x = context.tensor(node, 0)
    approximate = node.text("approximate", "none")
    if approximate == "tanh":
        cube = _product(context, node, _product(context, node, x, x, "square"), x, "cube")
        inner = _plus(context, node, x, _product(context, node, cube, 0.044715, "weighted"), "sum")
        scaled = _product(context, node, inner, math.sqrt(2 / math.pi), "scaled")
        curve = context.emit(node, "Tanh", [scaled], TanhAttrs(), suffix="tanh")
    elif approximate == "none":
        curve = context.emit(
            node, "Erf", [_product(context, node, x, math.sqrt(0.5), "scaled")], ErfAttrs(), suffix="erf"
        )
    else:
        raise context.error(node, f"approximation '{approximate}' is not known")
    gate = _plus(context, node, curve, 1.0, "shifted")
    half = _product(context, node, x, 0.5, "half")
    context.bind(node.outputs[0], _product(context, node, half, gate, "product"))


def _celu(context: ImportContext, node: OnnxNode) -> None:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1)) = alpha * elu(x / alpha)."""
    x = context.tensor(node, 0)
    alpha = node.number("alpha", 1.0)
    if not alpha > 0:
        raise context.error(node, f"alpha must be positive, not {alpha:g}")
    if alpha != 1.0:
        x = _product(context, node, x, 1.0 / alpha, "scaled")
    y = context.emit(node, "Elu", [x], EluAttrs(1.0), suffix="elu")
    context.bind(node.outputs[0], y if alpha == 1.0 else _product(context, node, y, alpha, "restored"))


def _thresholded_relu(context: ImportContext, node: OnnxNode) -> None:
    """x where x > alpha, else 0: x times (1 - sign(alpha - x)) / 2, sign(0) being 1."""
    x = context.tensor(node, 0)
    alpha = scalar(context, node, node.number("alpha", 1.0), "alpha")
    distance = context.emit(node, "Sub", [alpha, x], SubAttrs(), suffix="distance")
    side = context.emit(node, "Bipolar", [distance], BipolarAttrs(), suffix="side")
    half = _product(context, node, side, -0.5, "half")
    context.bind(node.outputs[0], _product(context, node, x, _plus(context, node, half, 0.5, "mask"), "product"))


def _log_softmax(context: ImportContext, node: OnnxNode) -> None:
    """One axis from opset 13; before, all axes from `axis` on flattened to one."""
    x = context.tensor(node, 0)
    shape = context.type(x).shape
    axis = context.axis(node, node.integer("axis", -1 if node.opset >= 13 else 1), len(shape))
    axes = (axis,) if node.opset >= 13 else tuple(range(axis, len(shape)))
    _, centred, logarithm = log_sum_exp(context, node, x, axes)
    context.result(node, "Sub", [centred, logarithm], SubAttrs())


def _sum(context: ImportContext, node: OnnxNode) -> None:
    import_chain(context, node, "Add", AddAttrs())


def _mean(context: ImportContext, node: OnnxNode) -> None:
    import_chain(context, node, "Add", AddAttrs())
    if len(node.inputs) > 1:
        y = context.tensors[node.outputs[0]]
        context.bind(node.outputs[0], _product(context, node, y, float(np.float32(1) / len(node.inputs)), "mean"))


COMPOSED: Mapping[str, Decomposition] = {
    "Neg": Decomposition(_neg, ("Mul",)),
    "Reciprocal": Decomposition(_reciprocal, ("Div",)),
    "Pow": Decomposition(_pow, ("Mul", "Sqrt", "Div")),
    "Swish": Decomposition(_swish, ("Mul", "Sigmoid")),
    "Mish": Decomposition(_mish, ("Softplus", "Tanh", "Mul")),
    "Gelu": Decomposition(_gelu, ("Mul", "Add", "Erf", "Tanh")),
    "com.microsoft::Gelu": Decomposition(_gelu, ("Mul", "Add", "Erf")),
    "com.microsoft::QuickGelu": Decomposition(_swish, ("Mul", "Sigmoid")),
    "Celu": Decomposition(_celu, ("Mul", "Elu")),
    "ThresholdedRelu": Decomposition(_thresholded_relu, ("Sub", "Bipolar", "Mul", "Add")),
    "LogSoftmax": Decomposition(_log_softmax, ("MaxPool2D", "Sub", "Exp", "ReduceMean", "Mul", "Log")),
    "Sum": Decomposition(_sum, ("Add",)),
    "Mean": Decomposition(_mean, ("Add", "Mul")),
}
