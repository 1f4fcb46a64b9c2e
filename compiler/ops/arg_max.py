"""ArgMax: index of the largest value along one axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import INT32, TensorType
from .spec import Invocation, OpSpec, Types, attrs_as, required

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


@dataclass(frozen=True, slots=True)
class ArgMaxAttrs(Attrs):
    """Axis (from 0), whether it is kept with length 1, and which of several equal values wins."""

    axis: int
    keep_dims: bool = True
    last: bool = False


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    a = attrs_as(attrs, ArgMaxAttrs)
    shape = list(required(inputs, 0).shape)
    if not 0 <= a.axis < len(shape):
        raise ValueError(f"axis {a.axis} outside an input of shape {tuple(shape)}")
    shape[a.axis : a.axis + 1] = [1] if a.keep_dims else []
    return [TensorType(tuple(shape), INT32)]


def _run(call: Invocation) -> list[np.ndarray]:
    attrs = call.attrs(ArgMaxAttrs)
    axis = attrs.axis + 1
    x = call.array(0)
    if attrs.last:
        index = x.shape[axis] - 1 - np.argmax(np.flip(x, axis), axis=axis, keepdims=True)
    else:
        index = np.argmax(x, axis=axis, keepdims=True)
    return [index.astype(np.int64).reshape(x.shape[0], *call.output_types[0].shape)]


def import_arg_max(context: ImportContext, node: OnnxNode) -> None:
    """ONNX ArgMax; ArgMin is the ArgMax of the negated input."""
    from .mul import MulAttrs

    x = context.tensor(node, 0)
    axis = context.axis(node, node.integer("axis", 0), context.type(x).rank)
    if node.op_type == "ArgMin":
        minus_one = context.editor.add_constant(f"{node.name}/minus_one", np.asarray(-1.0, np.float32))
        x = context.emit(node, "Mul", [x, minus_one], MulAttrs(), suffix="negate")
    attrs = ArgMaxAttrs(axis, bool(node.integer("keepdims", 1)), bool(node.integer("select_last_index", 0)))
    context.result(node, "ArgMax", [x], attrs)


ARG_MAX = OpSpec(
    name="ArgMax",
    attrs=ArgMaxAttrs,
    doc="Index of the largest value along the axis, as a 32-bit integer; the first of equals unless `last`.",
    infer=_infer,
    run_float=_run,
    run_affine=_run,
    run_fixed=_run,
    crosses=True,
    importers={"ArgMax": import_arg_max, "ArgMin": import_arg_max},
)
