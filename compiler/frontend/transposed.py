"""Geometry of ONNX ConvTranspose: auto_pad, output_shape, output_padding, 1-D as 2-D.

Source: ONNX operator specification, ConvTranspose. Where an odd padding cannot be halved the specification and
onnxruntime agree since opset 11: SAME_UPPER puts the larger half behind, everything else in front.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ops.windows import Pads, Pair
from .context import ImportContext, OnnxNode


def transposed_geometry(
    context: ImportContext, node: OnnxNode, kernel: Sequence[int], spatial: Sequence[int]
) -> tuple[Pair, Pads, Pair, Pair]:
    """Strides, pads (cropped from the full result), dilations and output padding of a ConvTranspose node.

    Args:
        kernel: kernel size, one or two numbers.
        spatial: input size along the same axes.

    Raises:
        ModelError: inconsistent attributes.
    """
    rank = len(kernel)
    strides = _numbers(context, node, "strides", rank, 1, 1)
    dilations = _numbers(context, node, "dilations", rank, 1, 1)
    extra = _numbers(context, node, "output_padding", rank, 0, 0)
    pads = _numbers(context, node, "pads", 2 * rank, 0, 0)
    wanted = node.integer_list("output_shape")
    mode = node.text("auto_pad", "NOTSET")
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise context.error(node, f"auto_pad '{mode}' is not a mode of the ONNX specification")
    if wanted:
        wanted = wanted[-rank:]  # some exporters write the batch and channel axes too
    elif mode.startswith("SAME"):
        wanted = [size * stride for size, stride in zip(spatial, strides, strict=True)]
    if wanted and len(wanted) != rank:
        raise context.error(node, f"attribute output_shape has {len(wanted)} entries for {rank} axes")
    before, after = list(pads[:rank]), list(pads[rank:])
    if mode == "VALID" and not wanted:
        before, after = [0] * rank, [0] * rank
    for axis in range(rank if wanted else 0):
        full = (spatial[axis] - 1) * strides[axis] + dilations[axis] * (kernel[axis] - 1) + 1 + extra[axis]
        total = full - wanted[axis] if wanted else 0
        if total < 0:  # larger than the full result: the rest is padding behind it
            extra[axis] -= total
            total = 0
        small = total // 2
        first = small if mode == "SAME_UPPER" else total - small
        before[axis], after[axis] = first, total - first
    if rank == 1:
        return (1, strides[0]), (0, before[0], 0, after[0]), (1, dilations[0]), (0, extra[0])
    return (
        (strides[0], strides[1]),
        (before[0], before[1], after[0], after[1]),
        (dilations[0], dilations[1]),
        (extra[0], extra[1]),
    )


def _numbers(context: ImportContext, node: OnnxNode, name: str, count: int, default: int, least: int) -> list[int]:
    values = node.integer_list(name) or [default] * count
    if len(values) != count:
        raise context.error(node, f"attribute {name} has {len(values)} entries, not {count}")
    if min(values) < least:
        raise context.error(node, f"attribute {name} holds {min(values)}; the least allowed is {least}")
    return values
