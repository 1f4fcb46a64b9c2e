"""Concat: join tensors along one axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import TensorType
from ..numerics import cast_fixed
from .spec import Invocation, OpSpec, Types, attrs_as, required

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


@dataclass(frozen=True, slots=True)
class ConcatAttrs(Attrs):
    """Axis, from 0."""

    axis: int


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    axis = attrs_as(attrs, ConcatAttrs).axis
    known = [required(inputs, i) for i in range(len(inputs))]
    shape = list(known[0].shape)
    if not 0 <= axis < len(shape):
        raise ValueError(f"axis {axis} outside an input of shape {tuple(shape)}")
    for other in known[1:]:
        rest = [d for i, d in enumerate(other.shape) if i != axis]
        if other.rank != len(shape) or rest != [d for i, d in enumerate(shape) if i != axis]:
            raise ValueError(f"cannot join shapes {', '.join(str(t.shape) for t in known)} along axis {axis}")
    shape[axis] = sum(t.shape[axis] for t in known)
    return [TensorType(tuple(shape), known[0].element)]


def _run(call: Invocation) -> list[np.ndarray]:
    arrays = [call.array(i) for i in range(len(call.arrays))]
    samples = call.samples
    arrays = [np.broadcast_to(a, (samples, *a.shape[1:])) for a in arrays]
    return [np.concatenate(arrays, axis=call.attrs(ConcatAttrs).axis + 1)]


def _fixed(call: Invocation) -> list[np.ndarray]:
    out = call.fixed_out
    arrays = [cast_fixed(call.array(i), call.fixed(i).frac, out) for i in range(len(call.arrays))]
    arrays = [np.broadcast_to(a, (call.samples, *a.shape[1:])) for a in arrays]
    return [np.concatenate(arrays, axis=call.attrs(ConcatAttrs).axis + 1)]


def import_concat(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Concat."""
    tensors = [context.tensor(node, index) for index in range(len(node.inputs))]
    rank = context.type(tensors[0]).rank
    axis = node.integer("axis", 1)
    if not -rank <= axis < rank:
        raise context.error(node, f"axis {axis} is outside a tensor of rank {rank}")
    context.result(node, "Concat", tensors, ConcatAttrs(axis % rank))


CONCAT = OpSpec(
    name="Concat",
    attrs=ConcatAttrs,
    doc="Inputs joined along the axis; Affine inputs have the output's type, FixedPoint inputs are cast to it.",
    infer=_infer,
    run_float=_run,
    run_fixed=_fixed,
    moves_only=True,
    importers={"Concat": import_concat},
)
