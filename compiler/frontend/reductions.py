"""ONNX reductions in terms of the ops of the IR: means, and maxima as pools."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ..ops.absolute import AbsAttrs
from ..ops.add import AddAttrs
from ..ops.exp import ExpAttrs
from ..ops.log import LogAttrs
from ..ops.max_pool2d import MaxPool2DAttrs
from ..ops.mul import MulAttrs
from ..ops.reduce_mean import ReduceMeanAttrs
from ..ops.sqrt import SqrtAttrs
from ..ops.sub import SubAttrs
from .context import ImportContext, OnnxNode
from .decomposition import Decomposition


def _axes(context: ImportContext, node: OnnxNode, rank: int) -> tuple[int, ...]:
    """Axes from an attribute or (newer opsets) a constant input; none given means all, unless declared a no-op."""
    given = context.integers(node, 1, "axes", "the axes")
    if not given:
        return () if node.integer("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted({context.axis(node, axis, rank) for axis in given}))


def scalar(context: ImportContext, node: OnnxNode, value: float, what: str) -> str:
    """A constant number as a tensor."""
    return context.editor.add_constant(f"{node.name}/{what}", np.asarray(value, np.float32))


def mean(context: ImportContext, node: OnnxNode, x: str, axes: tuple[int, ...], keep: bool = True) -> str:
    """Mean over axes."""
    return context.emit(node, "ReduceMean", [x], ReduceMeanAttrs(axes, keep), suffix="mean")


def total(context: ImportContext, node: OnnxNode, x: str, axes: tuple[int, ...], keep: bool = True) -> str:
    """Sum over axes: the mean times the number of elements."""
    shape = context.type(x).shape
    count = math.prod(shape[axis] for axis in axes)
    factor = scalar(context, node, float(count), "count")
    return context.emit(node, "Mul", [mean(context, node, x, axes, keep), factor], MulAttrs(), suffix="sum")


def largest(context: ImportContext, node: OnnxNode, x: str, axes: tuple[int, ...], keep: bool = True) -> str:
    """Maximum over axes: a pool whose window is all of them, the other axes being rows and channels."""
    shape = context.type(x).shape
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    if axes in ((1, 2), (2, 3)) and len(shape) == 4:  # an image: the pool every backend knows
        image = x if axes == (1, 2) else context.channels_last(node, x)
        window = (shape[axes[0]], shape[axes[1]])
        outer, inner = shape[0], context.type(image).shape[3]
    else:
        split = axes[-1] + 1 if axes == tuple(range(axes[0], axes[-1] + 1)) else len(shape)
        behind = [axis for axis in kept if axis >= split]
        order = [*[axis for axis in kept if axis < split], *axes, *behind]
        moved = context.transpose(node, x, order, "gather_axes")
        window = (1, math.prod(shape[axis] for axis in axes))
        outer = math.prod(shape[axis] for axis in kept if axis < split)
        inner = math.prod(shape[axis] for axis in behind)
        image = context.reshape(node, moved, (1, outer, window[1], inner), "rows")
    y = context.emit(node, "MaxPool2D", [image], MaxPool2DAttrs(window, window), suffix="max")
    result = [1 if axis in axes else d for axis, d in enumerate(shape) if keep or axis not in axes]
    return context.reshape(node, y, result, "result")


def _negated(context: ImportContext, node: OnnxNode, x: str, suffix: str) -> str:
    return context.emit(node, "Mul", [x, scalar(context, node, -1.0, "minus_one")], MulAttrs(), suffix=suffix)


def _squared(context: ImportContext, node: OnnxNode, x: str) -> str:
    return context.emit(node, "Mul", [x, x], MulAttrs(), suffix="square")


def log_sum_exp(context: ImportContext, node: OnnxNode, x: str, axes: tuple[int, ...]) -> tuple[str, str, str]:
    """(max, x - max, log(sum(exp(x - max)))), the axes kept.

    The second less the third is the logarithm of the softmax.
    """
    top = largest(context, node, x, axes)
    centred = context.emit(node, "Sub", [x, top], SubAttrs(), suffix="centred")
    powers = context.emit(node, "Exp", [centred], ExpAttrs(), suffix="exp")
    sums = total(context, node, powers, axes)
    return top, centred, context.emit(node, "Log", [sums], LogAttrs(), suffix="log")


def _import(context: ImportContext, node: OnnxNode) -> None:
    x = context.tensor(node, 0)
    axes = _axes(context, node, context.type(x).rank)
    keep = bool(node.integer("keepdims", 1))
    kind = node.op_type.removeprefix("Reduce")
    if not axes:
        context.bind(node.outputs[0], x)
    elif kind == "Mean":
        context.result(node, "ReduceMean", [x], ReduceMeanAttrs(axes, keep))
    else:
        context.bind(node.outputs[0], _other(context, node, kind, x, axes, keep))


def _other(context: ImportContext, node: OnnxNode, kind: str, x: str, axes: tuple[int, ...], keep: bool) -> str:
    if kind == "Sum":
        return total(context, node, x, axes, keep)
    if kind == "Max":
        return largest(context, node, x, axes, keep)
    if kind == "Min":
        return _negated(
            context, node, largest(context, node, _negated(context, node, x, "negate"), axes, keep), "restore"
        )
    if kind == "L1":
        return total(context, node, context.emit(node, "Abs", [x], AbsAttrs(), suffix="abs"), axes, keep)
    if kind == "SumSquare":
        return total(context, node, _squared(context, node, x), axes, keep)
    if kind == "L2":
        squares = total(context, node, _squared(context, node, x), axes, keep)
        return context.emit(node, "Sqrt", [squares], SqrtAttrs(), suffix="root")
    if kind == "LogSum":
        return context.emit(node, "Log", [total(context, node, x, axes, keep)], LogAttrs(), suffix="log")
    return _log_sum_exp(context, node, x, axes, keep)


def _log_sum_exp(context: ImportContext, node: OnnxNode, x: str, axes: tuple[int, ...], keep: bool) -> str:
    shape = context.type(x).shape
    top, _, logarithm = log_sum_exp(context, node, x, axes)
    y = context.emit(node, "Add", [top, logarithm], AddAttrs(), suffix="restore")
    result = [1 if axis in axes else d for axis, d in enumerate(shape) if keep or axis not in axes]
    return context.reshape(node, y, result, "result")


MAXIMUM = ("MaxPool2D",)
SUM = ("ReduceMean", "Mul")

REDUCTIONS: Mapping[str, Decomposition] = {
    "ReduceMean": Decomposition(_import, ("ReduceMean",)),
    "ReduceSum": Decomposition(_import, SUM),
    "ReduceMax": Decomposition(_import, MAXIMUM),
    "ReduceMin": Decomposition(_import, ("Mul", *MAXIMUM)),
    "ReduceL1": Decomposition(_import, ("Abs", *SUM)),
    "ReduceL2": Decomposition(_import, (*SUM, "Sqrt")),
    "ReduceSumSquare": Decomposition(_import, SUM),
    "ReduceLogSum": Decomposition(_import, (*SUM, "Log")),
    "ReduceLogSumExp": Decomposition(_import, (*MAXIMUM, "Sub", "Exp", *SUM, "Log", "Add")),
}
