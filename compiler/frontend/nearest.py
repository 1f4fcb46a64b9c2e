"""Source indices of a nearest-neighbour ONNX Resize or Upsample, computed in binary32 as onnxruntime does.

Source: ONNX operator specification, Resize (opsets 10 to 19) and Upsample (opsets 1 to 9).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .context import ImportContext, OnnxNode

F = np.float32


@dataclass(frozen=True, slots=True)
class Axis:
    """One resized axis: lengths, scale (output / input) and region of interest."""

    length: int
    resized: int
    scale: np.float32
    roi: tuple[float, float] = (0.0, 1.0)


def _half_pixel_symmetric(x: np.ndarray, a: Axis) -> np.ndarray:
    adjustment = F(a.resized) / (a.scale * F(a.length))
    offset = F(a.length) / F(2) * (F(1) - adjustment)
    return offset + (x + F(0.5)) / a.scale - F(0.5)


def _align_corners(x: np.ndarray, a: Axis) -> np.ndarray:
    return x * F(0) if a.resized == 1 else x * F(a.length - 1) / F(a.resized - 1)


def _crop(x: np.ndarray, a: Axis) -> np.ndarray:
    start, end = F(a.roi[0]), F(a.roi[1])
    if a.resized == 1:
        return x * F(0) + F(0.5) * (start + end) * F(a.length - 1)
    return start * F(a.length - 1) + x * (end - start) * F(a.length - 1) / F(a.resized - 1)


COORDINATES: dict[str, Callable[[np.ndarray, Axis], np.ndarray]] = {
    "half_pixel": lambda x, a: (x + F(0.5)) / a.scale - F(0.5),
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": lambda x, a: (x + F(0.5)) / a.scale - F(0.5) if a.resized > 1 else x * F(0),
    "tf_half_pixel_for_nn": lambda x, a: (x + F(0.5)) / a.scale,
    "align_corners": _align_corners,
    "asymmetric": lambda x, a: x / a.scale,
    "tf_crop_and_resize": _crop,
}
"""Position in the input of every output position x."""

NEAREST: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda p: np.ceil(p - 0.5),
    "round_prefer_ceil": lambda p: np.floor(p + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
"""Rounding of a position (binary64, so that adding a half is exact)."""


def source_indices(axis: Axis, coordinates: str, nearest: str) -> list[int]:
    """Source index of every output position; -1 where `tf_crop_and_resize` reads outside the input."""
    positions = COORDINATES[coordinates](np.arange(axis.resized, dtype=np.float32), axis)
    indices = np.clip(NEAREST[nearest](positions.astype(np.float64)), 0, axis.length - 1).astype(np.int64)
    if coordinates == "tf_crop_and_resize":
        indices[(positions < 0) | (positions > axis.length - 1)] = -1
    return [int(i) for i in indices]


def resize_indices(context: ImportContext, node: OnnxNode, shape: tuple[int, ...]) -> dict[int, list[int]]:
    """Axis -> source indices, for every axis that changes.

    Raises:
        ModelError: not nearest mode, sizes not constant, or a form of Resize that is not supported.
    """
    axes = _axes(context, node, shape)
    mode = node.text("mode", "nearest")
    if mode != "nearest" and any(a.length != a.resized for a in axes.values()):
        raise context.error(
            node, f"mode '{mode}' is not supported", hint="resize with mode 'nearest', or use a ConvTranspose"
        )
    old = node.op_type == "Upsample" or node.opset < 11
    coordinates = node.text("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    if coordinates not in COORDINATES:
        raise context.error(node, f"coordinate_transformation_mode '{coordinates}' is not known")
    found: dict[int, list[int]] = {}
    for index, axis in axes.items():
        nearest = node.text("nearest_mode", "round_prefer_floor")
        if old:  # undefined by those opsets; as onnxruntime does
            nearest = "ceil" if axis.scale < 1 else "floor"
        if nearest not in NEAREST:
            raise context.error(node, f"nearest_mode '{nearest}' is not known")
        indices = source_indices(axis, coordinates, nearest)
        if -1 in indices:
            raise context.error(node, "its region of interest reaches outside the input", hint="add a Pad before it")
        if indices != list(range(axis.length)):
            found[index] = indices
    return found


def _axes(context: ImportContext, node: OnnxNode, shape: tuple[int, ...]) -> dict[int, Axis]:
    """The axes a node resizes, with their output lengths."""
    rank = len(shape)
    scales, sizes, roi = _operands(context, node)
    axes = list(range(rank))
    chosen = node.integer_list("axes")
    if chosen is not None:
        axes = [context.axis(node, axis, rank) for axis in chosen]
    given = sizes if sizes is not None else scales
    if given is None or len(given) != len(axes):
        raise context.error(node, f"needs {len(axes)} scales or sizes for an input of shape {shape}")
    if min(given) <= 0:
        raise context.error(node, f"scales and sizes must be positive, not {list(given)}")
    lengths = [shape[axis] for axis in axes]
    if sizes is not None:
        policy = node.text("keep_aspect_ratio_policy", "stretch")
        factors = [F(size) / F(length) for size, length in zip(sizes, lengths, strict=True)]
        if policy != "stretch":
            factor = min(factors) if policy == "not_larger" else max(factors)
            factors = [factor] * len(axes)
            sizes = [math.floor(float(factor) * length + 0.5) for length in lengths]
        resized = [int(size) for size in sizes]
    else:
        factors = [F(scale) for scale in given]
        resized = [int(np.floor(factor * F(length))) for factor, length in zip(factors, lengths, strict=True)]
    if min(resized) < 1:
        raise context.error(node, f"its result is empty (input of shape {shape})")
    regions = [(0.0, 1.0)] * len(axes)
    if roi is not None and len(roi) == 2 * len(axes):
        regions = list(zip(roi[: len(axes)], roi[len(axes) :], strict=True))
    described = map(Axis, lengths, resized, factors, regions)
    return dict(zip(axes, described, strict=True))


def _operands(
    context: ImportContext, node: OnnxNode
) -> tuple[Sequence[float] | None, Sequence[int] | None, Sequence[float] | None]:
    """Scales, sizes and region of interest, wherever the opset puts them; None if absent or empty."""

    def floats(index: int, what: str) -> list[float] | None:
        if not node.has_input(index):
            return None
        return [float(v) for v in context.constant(node, index, what).reshape(-1)] or None

    if node.op_type == "Upsample" or node.opset < 11:
        if "scales" in node.attributes:
            return [float(v) for v in node.attributes["scales"]], None, None
        if "height_scale" in node.attributes:
            return [1.0, 1.0, node.number("height_scale", 1.0), node.number("width_scale", 1.0)], None, None
        return floats(1, "the scales"), None, None
    sizes = floats(3, "the sizes")
    return floats(2, "the scales"), None if sizes is None else [int(s) for s in sizes], floats(1, "the region")
