"""Softmax along one axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import Affine, TensorType
from .softmax_fixed import softmax_fixed
from .spec import Invocation, OpSpec, Types, attrs_as, required

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


EXP_ONE = 65535
"""The table's value of exp(0): 16 bits, so that sums of up to 65,536 entries fit 32 bits."""

OUTPUT_FRACTION = 8
"""Fraction bits of 1 / output scale."""


@dataclass(frozen=True, slots=True)
class SoftmaxAttrs(Attrs):
    """The axis, counted from 0."""

    axis: int


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    x = required(inputs, 0)
    if not 0 <= attrs_as(attrs, SoftmaxAttrs).axis < x.rank:
        raise ValueError(f"axis {attrs_as(attrs, SoftmaxAttrs).axis} outside an input of shape {x.shape}")
    return [x]


def _float(call: Invocation) -> list[np.ndarray]:
    axis = call.attrs(SoftmaxAttrs).axis + 1
    x = call.array(0)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return [e / e.sum(axis=axis, keepdims=True)]


def exp_table(element: Affine) -> np.ndarray:
    """round(65535 * exp(-d * scale)) for d = 0, 1, ... down to the last non-zero entry, int64 (at least one)."""
    differences = np.arange(element.maximum - element.minimum + 1)
    table = np.rint(EXP_ONE * np.exp(-differences * element.scale[0])).astype(np.int64)
    return table[: max(int(np.count_nonzero(table)), 1)]


def output_factor(element: Affine) -> int:
    """1 / output scale with 8 fraction bits; 65536 for the usual scale 1/256."""
    return round((1 << OUTPUT_FRACTION) / element.scale[0])


def _affine(call: Invocation) -> list[np.ndarray]:
    axis = call.attrs(SoftmaxAttrs).axis + 1
    x, y = call.array(0), call.affine_out
    table = exp_table(call.affine(0))
    distance = x.max(axis=axis, keepdims=True) - x
    e = np.where(distance < len(table), table[np.minimum(distance, len(table) - 1)], 0)
    total = e.sum(axis=axis, keepdims=True)
    one = 1 << OUTPUT_FRACTION
    quotient = (2 * e * output_factor(y) + one * total) // (2 * one * total)
    return [np.clip(quotient + y.zero_point[0], y.minimum, y.maximum)]


def _fixed(call: Invocation) -> list[np.ndarray]:
    axis = call.attrs(SoftmaxAttrs).axis + 1
    return [softmax_fixed(call.array(0), axis, call.fixed(0), call.fixed_out)]


def import_softmax(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Softmax: one axis from opset 13; before, all axes from `axis` on flattened to one."""
    x = context.tensor(node, 0)
    shape = context.type(x).shape
    axis = node.integer("axis", -1 if node.opset >= 13 else 1)
    if not -len(shape) <= axis < len(shape):
        raise context.error(node, f"axis {axis} is outside a tensor of rank {len(shape)}")
    axis %= len(shape)
    if node.opset >= 13 or math.prod(shape[axis + 1 :]) == 1:
        context.result(node, "Softmax", [x], SoftmaxAttrs(axis))
        return
    flat = context.reshape(node, x, (math.prod(shape[:axis]), math.prod(shape[axis:])), "flatten")
    y = context.emit(node, "Softmax", [flat], SoftmaxAttrs(1))
    context.bind(node.outputs[0], context.reshape(node, y, shape, "unflatten"))


SOFTMAX = OpSpec(
    name="Softmax",
    attrs=SoftmaxAttrs,
    doc=(
        "y = exp(x - max) / sum(exp(x - max)) along the axis. Affine: e = table[max - x], "
        "y = clamp(zero_point + floor((2 e K + 256 t) / (512 t))), t = sum of e, K = round(256 / output scale). "
        "FixedPoint: see softmax_fixed."
    ),
    infer=_infer,
    run_float=_float,
    run_affine=_affine,
    run_fixed=_fixed,
    importers={"Softmax": import_softmax},
)
