"""Gather: constant indices along one axis."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import TensorType
from .spec import Invocation, OpSpec, Types, attrs_as, required

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


@dataclass(frozen=True, slots=True)
class GatherAttrs(Attrs):
    """Axis and indices, all from 0."""

    axis: int
    indices: tuple[int, ...]


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    a = attrs_as(attrs, GatherAttrs)
    x = required(inputs, 0)
    if not 0 <= a.axis < x.rank:
        raise ValueError(f"axis {a.axis} outside an input of shape {x.shape}")
    if not a.indices or any(not 0 <= i < x.shape[a.axis] for i in a.indices):
        raise ValueError(f"indices {a.indices} outside an axis of {x.shape[a.axis]}")
    shape = (*x.shape[: a.axis], len(a.indices), *x.shape[a.axis + 1 :])
    return [TensorType(shape, x.element)]


def _run(call: Invocation) -> list[np.ndarray]:
    attrs = call.attrs(GatherAttrs)
    return [np.take(call.array(0), attrs.indices, axis=attrs.axis + 1)]


def emit_pick(
    context: ImportContext, node: OnnxNode, tensor: str, axis: int, indices: list[int], suffix: str = ""
) -> str:
    """`tensor` with the given indices along one axis: a Slice if they are evenly spaced, else a Gather."""
    from .slice import emit_slice

    steps = {b - a for a, b in pairwise(indices)} or {1}
    step = steps.pop()
    if not steps and step != 0:
        picked = range(indices[0], indices[-1] + (1 if step > 0 else -1), step)
        return emit_slice(context, node, tensor, {axis: picked}, suffix)
    return context.emit(node, "Gather", [tensor], GatherAttrs(axis, tuple(indices)), suffix=suffix)


def import_gather(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Gather with constant indices of any rank."""
    x = context.tensor(node, 0)
    shape = context.type(x).shape
    axis = context.axis(node, node.integer("axis", 0), len(shape))
    indices = context.constant(node, 1, "the index")
    length = shape[axis]
    flat = [int(i) for i in indices.reshape(-1)]
    if not flat or any(not -length <= i < length for i in flat):
        raise context.error(node, f"indices {flat} are outside an axis of {length}")
    picked = emit_pick(context, node, x, axis, [i % length for i in flat])
    target = (*shape[:axis], *indices.shape, *shape[axis + 1 :])
    context.bind(node.outputs[0], context.reshape(node, picked, target))


GATHER = OpSpec(
    name="Gather",
    attrs=GatherAttrs,
    doc="y = x with axis entries picked by constant indices.",
    infer=_infer,
    run_float=_run,
    moves_only=True,
    importers={"Gather": import_gather},
)
