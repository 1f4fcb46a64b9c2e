"""Operators that only rename, reshape, move or repeat elements: they compute nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ..ir.types import FLOAT32, Affine
from ..ops.gather import emit_pick
from ..ops.mul import MulAttrs
from ..ops.quantize import DequantizeAttrs
from .context import ImportContext, OnnxNode, axis_of
from .decomposition import Decomposition

REAL_TYPES = (1, 10, 11, 16)
"""TensorProto.FLOAT, FLOAT16, DOUBLE, BFLOAT16: all computed in binary32 here."""

INTEGER_TYPES = (2, 3, 4, 5, 6, 7, 12, 13)
"""TensorProto.UINT8, INT8, UINT16, INT16, INT32, INT64, UINT32, UINT64."""


def _identity(context: ImportContext, node: OnnxNode) -> None:
    context.bind(node.outputs[0], context.tensor(node, 0))


def _dropout(context: ImportContext, node: OnnxNode) -> None:
    """Nothing at inference."""
    if node.has_input(2) and bool(context.constant(node, 2, "the training mode").any()):
        raise context.error(node, "training mode is not supported", hint="export the model in evaluation mode")
    _identity(context, node)


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
    found = _filled(shape, math.prod(old))
    if found is None and context.old_batch and shape and shape[0] == context.old_batch:
        found = _filled([1, *shape[1:]], math.prod(old))  # the exporter wrote the old fixed batch into the shape
    if found is None:
        raise context.error(node, f"cannot reshape {old} to {tuple(wanted)}")
    _reshape_to(context, node, found)


def _filled(shape: list[int], total: int) -> list[int] | None:
    """`shape` with its -1 replaced so that it holds `total` elements, or None if it cannot."""
    known = math.prod(d for d in shape if d != -1)
    if -1 in shape and known and total % known == 0:
        shape = [total // known if d == -1 else d for d in shape]
    return shape if math.prod(shape) == total and min(shape, default=1) > 0 else None


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


def _cast(context: ImportContext, node: OnnxNode) -> None:
    """Between real types, and from an integer to its number, nothing is computed; rounding is not supported."""
    x = context.tensor(node, 0)
    element = context.type(x).element
    if node.op_type == "CastLike":
        target = context.input_type(node, 1).element
        if target != FLOAT32 and target != element:
            raise context.error(node, "a cast to integers is not supported", hint="remove it from the model")
        real = target == FLOAT32
    else:
        code = node.integer("to", 1)
        real = code in REAL_TYPES
        if not real and code not in INTEGER_TYPES:
            raise context.error(node, "only casts between numbers are supported", hint="remove it from the model")
        if not real and element == FLOAT32:
            raise context.error(
                node,
                "a cast of real values to integers is not supported",
                hint="quantize the model (QuantizeLinear), or remove the cast",
            )
    if real and isinstance(element, Affine):
        _number_of(context, node, x, element)
    else:
        context.bind(node.outputs[0], x)


def _number_of(context: ImportContext, node: OnnxNode, x: str, element: Affine) -> None:
    """The integers of a tensor as real values, whatever scale the tensor has otherwise."""
    real = context.emit(node, "Dequantize", [x], DequantizeAttrs())
    if element.axis is not None or element.zero_point[0] != 0:
        raise context.error(node, f"cannot take the integers of a quantized tensor ({element})")
    if element.scale[0] != 1.0:
        factor = context.editor.add_constant(f"{node.name}/factor", np.asarray(1.0 / element.scale[0], np.float32))
        real = context.emit(node, "Mul", [real, factor], MulAttrs(), suffix="integers")
    context.bind(node.outputs[0], real)


def _expand(context: ImportContext, node: OnnxNode) -> None:
    """Broadcast to a constant shape: axes of length 1 are repeated."""
    x = context.tensor(node, 0)
    shape = context.type(x).shape
    wanted = [int(d) for d in context.constant(node, 1, "the shape").reshape(-1)]
    rank = max(len(shape), len(wanted))
    padded = [1] * (rank - len(shape)) + list(shape)
    wanted = [1] * (rank - len(wanted)) + wanted
    if any(d != w and 1 not in (d, w) for d, w in zip(padded, wanted, strict=True)):
        raise context.error(node, f"cannot expand {shape} to {tuple(wanted)}")
    x = context.reshape(node, x, padded)
    for axis, (length, size) in enumerate(zip(padded, wanted, strict=True)):
        if length == 1 and size > 1:
            x = emit_pick(context, node, x, axis, [0] * size, f"axis{axis}")
    context.bind(node.outputs[0], x)


def _tile(context: ImportContext, node: OnnxNode) -> None:
    """Repeat along every axis a constant number of times."""
    x = context.tensor(node, 0)
    repeats = [int(r) for r in context.constant(node, 1, "the repeats").reshape(-1)]
    shape = context.type(x).shape
    if len(repeats) != len(shape) or min(repeats, default=1) < 1:
        raise context.error(node, f"repeats {repeats} do not fit an input of shape {shape}")
    for axis, count in enumerate(repeats):
        if count > 1:
            x = emit_pick(context, node, x, axis, list(range(shape[axis])) * count, f"axis{axis}")
    context.bind(node.outputs[0], x)


def _depth_to_space(context: ImportContext, node: OnnxNode) -> None:
    """Channels become pixels: (N, C, H, W) to (N, C / b**2, H * b, W * b)."""
    x = context.tensor(node, 0)
    shape, block = context.type(x).shape, node.integer("blocksize", 0)
    if len(shape) != 4 or block < 1 or shape[1] % (block * block):
        raise context.error(node, f"block size {block} does not fit an input of shape {shape}")
    n, c, h, w = shape[0], shape[1] // (block * block), shape[2], shape[3]
    columns_first = node.text("mode", "DCR") == "DCR"
    split = (n, block, block, c, h, w) if columns_first else (n, c, block, block, h, w)
    perm = (0, 3, 4, 1, 5, 2) if columns_first else (0, 1, 4, 2, 5, 3)
    moved = context.transpose(node, context.reshape(node, x, split, "split"), perm, "move")
    context.bind(node.outputs[0], context.reshape(node, moved, (n, c, h * block, w * block), "join"))


def _space_to_depth(context: ImportContext, node: OnnxNode) -> None:
    """Pixels become channels: (N, C, H, W) to (N, C * b**2, H / b, W / b)."""
    x = context.tensor(node, 0)
    shape, block = context.type(x).shape, node.integer("blocksize", 0)
    if len(shape) != 4 or block < 1 or shape[2] % block or shape[3] % block:
        raise context.error(node, f"block size {block} does not fit an input of shape {shape}")
    n, c, h, w = shape[0], shape[1], shape[2] // block, shape[3] // block
    split = context.reshape(node, x, (n, c, h, block, w, block), "split")
    moved = context.transpose(node, split, (0, 3, 5, 1, 2, 4), "move")
    context.bind(node.outputs[0], context.reshape(node, moved, (n, c * block * block, h, w), "join"))


STRUCTURAL: Mapping[str, Decomposition] = {
    "Identity": Decomposition(_identity, ()),
    "Dropout": Decomposition(_dropout, ()),
    "Cast": Decomposition(_cast, ("Dequantize", "Mul")),
    "CastLike": Decomposition(_cast, ("Dequantize", "Mul")),
    "Reshape": Decomposition(_reshape, ("Reshape",)),
    "Flatten": Decomposition(_flatten, ("Reshape",)),
    "Squeeze": Decomposition(_squeeze, ("Reshape",)),
    "Unsqueeze": Decomposition(_unsqueeze, ("Reshape",)),
    "Expand": Decomposition(_expand, ("Reshape", "Gather")),
    "Tile": Decomposition(_tile, ("Gather",)),
    "DepthToSpace": Decomposition(_depth_to_space, ("Reshape", "Transpose")),
    "SpaceToDepth": Decomposition(_space_to_depth, ("Reshape", "Transpose")),
}
