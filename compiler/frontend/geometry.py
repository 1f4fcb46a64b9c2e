"""Window geometry of ONNX convolutions and pools: auto_pad, ceil mode, 1-D as 2-D.

Source: ONNX operator specification, Conv, MaxPool and AveragePool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..ops.windows import Pads, Pair
from .context import ImportContext, OnnxNode


@dataclass(frozen=True, slots=True)
class Geometry:
    """Kernel, strides, dilations and pads of a 2-D window; 1-D windows have height 1."""

    kernel: Pair
    strides: Pair
    dilations: Pair
    pads: Pads


def _pair(context: ImportContext, node: OnnxNode, name: str, values: Sequence[int], rank: int) -> Pair:
    if len(values) != rank:
        raise context.error(node, f"attribute {name} has {len(values)} entries for a {rank}-dimensional window")
    if min(values) < 1:
        raise context.error(node, f"attribute {name} holds {min(values)}; it must be positive")
    return (1, int(values[0])) if rank == 1 else (int(values[0]), int(values[1]))


def same_padding(size: int, kernel: int, stride: int, dilation: int, lower: bool) -> tuple[int, int]:
    """Padding before and after one axis so that the output has ceil(size / stride) positions."""
    reach = dilation * (kernel - 1) + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    small = total // 2
    return (total - small, small) if lower else (small, total - small)


def window_geometry(context: ImportContext, node: OnnxNode, kernel: Sequence[int], spatial: Sequence[int]) -> Geometry:
    """Geometry of a Conv or pool node.

    Args:
        kernel: kernel size, one or two numbers.
        spatial: input size along the same axes.

    Raises:
        ModelError: inconsistent attributes.
    """
    rank = len(kernel)
    ones = [1] * rank
    strides = _pair(context, node, "strides", node.integer_list("strides") or ones, rank)
    dilations = _pair(context, node, "dilations", node.integer_list("dilations") or ones, rank)
    shape = _pair(context, node, "kernel_shape", kernel, rank)
    size = (1, spatial[0]) if rank == 1 else (spatial[0], spatial[1])
    mode = node.text("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        lower = mode == "SAME_LOWER"
        top, bottom = same_padding(size[0], shape[0], strides[0], dilations[0], lower)
        left, right = same_padding(size[1], shape[1], strides[1], dilations[1], lower)
        return Geometry(shape, strides, dilations, (top, left, bottom, right))
    if mode == "VALID":
        return Geometry(shape, strides, dilations, (0, 0, 0, 0))
    if mode != "NOTSET":
        raise context.error(node, f"auto_pad '{mode}' is not a mode of the ONNX specification")
    return Geometry(shape, strides, dilations, explicit_pads(context, node, rank))


def explicit_pads(context: ImportContext, node: OnnxNode, rank: int) -> Pads:
    """The `pads` attribute as top, left, bottom, right.

    Raises:
        ModelError: wrong length or negative entries.
    """
    pads = node.integer_list("pads") or [0] * (2 * rank)
    if len(pads) != 2 * rank:
        raise context.error(node, f"attribute pads has {len(pads)} entries for a {rank}-dimensional window")
    if min(pads) < 0:
        raise context.error(node, "negative pads are not supported", hint="use a Slice before the operator")
    return (0, pads[0], 0, pads[1]) if rank == 1 else (pads[0], pads[1], pads[2], pads[3])


def ceil_overhang(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """Extra size at the end that ceil mode needs.

    A window that would start in the end padding is dropped, as onnxruntime does.
    """
    reach = dilation * (kernel - 1) + 1
    span = size + before + after - reach
    positions = -(-span // stride) + 1
    if (positions - 1) * stride >= size + before:
        positions -= 1
    return max((positions - 1) * stride + reach - (size + before + after), 0)


def pool_geometry(context: ImportContext, node: OnnxNode) -> tuple[str, int, Geometry, Pair]:
    """Channels-last image, rank of the ONNX input, geometry and ceil-mode overhang of a pool node."""
    x = context.tensor(node, 0)
    shape = context.type(x).shape
    kernel = node.integer_list("kernel_shape")
    image = context.channels_last(node, x)
    if kernel is None or len(kernel) != len(shape) - 2:
        raise context.error(node, f"kernel_shape {kernel} does not fit an input of shape {shape}")
    geometry = window_geometry(context, node, kernel, shape[2:])
    overhang = (0, 0)
    if node.integer("ceil_mode", 0) and node.text("auto_pad", "NOTSET") in ("NOTSET", "VALID"):
        _, height, width, _ = context.type(image).shape
        top, left, bottom, right = geometry.pads
        overhang = (
            ceil_overhang(height, geometry.kernel[0], geometry.strides[0], top, bottom, geometry.dilations[0]),
            ceil_overhang(width, geometry.kernel[1], geometry.strides[1], left, right, geometry.dilations[1]),
        )
    return image, len(shape), geometry, overhang
