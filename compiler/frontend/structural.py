"""Operators that only rename or reshape: they become Reshape nodes, slices, or nothing at all."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..ops.spec import Importer
from .context import ImportContext, OnnxNode, axis_of


def _identity(context: ImportContext, node: OnnxNode) -> None:
    context.bind(node.outputs[0], context.tensor(node, 0))


def _reshape_to(context: ImportContext, node: OnnxNode, shape: list[int]) -> None:
    context.bind(node.outputs[0], context.reshape(node, context.tensor(node, 0), shape, ""))


def _reshape(context: ImportContext, node: OnnxNode) -> None:
    old = context.input_type(node, 0).shape
    wanted = context.integers(node, 1, "shape", "the target shape")
    if wanted is None:
        raise context.error(node, "has no target shape")
    shape = [
        old[i] if d == 0 and not node.integer("allowzero", 0) and i < len(old) else d for i, d in enumerate(wanted)
    ]
    total = math.prod(old)
    if -1 in shape:
        known = math.prod(d for d in shape if d != -1)
        shape[shape.index(-1)] = total // max(known, 1)
    if math.prod(shape) != total and context.old_batch and shape and shape[0] == context.old_batch:
        shape[0] = 1  # the exporter wrote the old fixed batch into a constant shape
    if math.prod(shape) != total:
        raise context.error(node, f"cannot reshape {old} to {tuple(wanted)}")
    _reshape_to(context, node, shape)


def _flatten(context: ImportContext, node: OnnxNode) -> None:
    shape = context.input_type(node, 0).shape
    axis = node.integer("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    _reshape_to(context, node, [math.prod(shape[:axis]), math.prod(shape[axis:])])


def _squeeze(context: ImportContext, node: OnnxNode) -> None:
    shape = context.input_type(node, 0).shape
    axes = context.integers(node, 1, "axes", "the axes")
    if axes is None:
        chosen = {i for i, d in enumerate(shape) if d == 1}
    else:
        chosen = {axis_of(context, node, axis, len(shape)) for axis in axes}
    if any(shape[i] != 1 for i in chosen):
        raise context.error(node, f"cannot squeeze axes {sorted(chosen)} of shape {shape}")
    _reshape_to(context, node, [d for i, d in enumerate(shape) if i not in chosen])


def _unsqueeze(context: ImportContext, node: OnnxNode) -> None:
    shape = list(context.input_type(node, 0).shape)
    axes = context.integers(node, 1, "axes", "the axes")
    if axes is None:
        raise context.error(node, "has no axes")
    rank = len(shape) + len(axes)
    for axis in sorted(axis_of(context, node, axis, rank) for axis in axes):
        shape.insert(axis, 1)
    _reshape_to(context, node, shape)


STRUCTURAL: Mapping[str, Importer] = {
    "Identity": _identity,
    "Dropout": _identity,
    "Cast": _identity,
    "CastLike": _identity,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
