"""Slice: a strided part of a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import TensorType
from .spec import Invocation, OpSpec, Types, attrs_as, required

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


@dataclass(frozen=True, slots=True)
class SliceAttrs(Attrs):
    """One start, size and step for every axis; steps may be negative, starts are not."""

    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    steps: tuple[int, ...]


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    a = attrs_as(attrs, SliceAttrs)
    x = required(inputs, 0)
    if not len(a.starts) == len(a.sizes) == len(a.steps) == x.rank:
        raise ValueError(f"slice of rank {len(a.starts)} of an input of shape {x.shape}")
    for start, size, step, length in zip(a.starts, a.sizes, a.steps, x.shape, strict=True):
        if size < 1 or step == 0 or not 0 <= start < length or not 0 <= start + (size - 1) * step < length:
            raise ValueError(f"slice (start {start}, size {size}, step {step}) outside an axis of {length}")
    return [TensorType(a.sizes, x.element)]


def _run(call: Invocation) -> list[np.ndarray]:
    attrs = call.attrs(SliceAttrs)
    x = call.array(0)
    for axis, (start, size, step) in enumerate(zip(attrs.starts, attrs.sizes, attrs.steps, strict=True)):
        if (start, size, step) != (0, x.shape[axis + 1], 1):
            x = np.take(x, start + step * np.arange(size), axis=axis + 1)
    return [x]


def emit_slice(
    context: ImportContext,
    node: OnnxNode,
    tensor: str,
    picks: dict[int, range],
    suffix: str = "",
) -> str:
    """`tensor` with the indices of `picks` (axis -> range) only; no node if that is all of it.

    Raises:
        ModelError: a range is empty.
    """
    shape = context.type(tensor).shape
    ranges = [picks.get(axis, range(length)) for axis, length in enumerate(shape)]
    if any(len(r) == 0 for r in ranges):
        raise context.error(node, f"its result is empty (input of shape {shape})")
    if all(r == range(length) for r, length in zip(ranges, shape, strict=True)):
        return tensor
    attrs = SliceAttrs(tuple(r.start for r in ranges), tuple(len(r) for r in ranges), tuple(r.step for r in ranges))
    return context.emit(node, "Slice", [tensor], attrs, suffix=suffix)


def import_slice(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Slice: bounds are attributes before opset 10, constant inputs since; bounds may lie outside."""
    x = context.tensor(node, 0)
    shape = context.type(x).shape
    starts = context.integers(node, 1, "starts", "the starts")
    ends = context.integers(node, 2, "ends", "the ends")
    if starts is None or ends is None or len(starts) != len(ends):
        raise context.error(node, "needs as many starts as ends")
    axes = context.integers(node, 3, "axes", "the axes") or list(range(len(starts)))
    steps = context.integers(node, 4, "steps", "the steps") or [1] * len(starts)
    if len(axes) != len(starts) or len(steps) != len(starts) or 0 in steps:
        raise context.error(node, f"axes {axes} and steps {steps} do not fit {len(starts)} starts")
    picks: dict[int, range] = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = context.axis(node, axis, len(shape))
        picks[place] = range(*slice(start, end, step).indices(shape[place]))
    context.bind(node.outputs[0], emit_slice(context, node, x, picks))


def import_split(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Split: sizes from an attribute (before opset 13), a constant input, or equal parts."""
    x = context.tensor(node, 0)
    shape = context.type(x).shape
    axis = context.axis(node, node.integer("axis", 0), len(shape))
    sizes = context.integers(node, 1, "split", "the sizes")
    if sizes is None:
        parts = node.integer("num_outputs", len(node.outputs))
        if parts != len(node.outputs):
            raise context.error(node, f"num_outputs {parts} contradicts its {len(node.outputs)} outputs")
        largest = -(-shape[axis] // parts)
        sizes = [min(largest, shape[axis] - i * largest) for i in range(parts)]
    if sum(sizes) != shape[axis] or len(sizes) != len(node.outputs) or min(sizes) < 1:
        raise context.error(node, f"cannot split an axis of {shape[axis]} into {sizes}")
    start = 0
    for index, (output, size) in enumerate(zip(node.outputs, sizes, strict=True)):
        if output:
            part = emit_slice(context, node, x, {axis: range(start, start + size)}, str(index))
            context.bind(output, part)
        start += size


SLICE = OpSpec(
    name="Slice",
    attrs=SliceAttrs,
    doc="y[i] = x[start + i * step] on every axis.",
    infer=_infer,
    run_float=_run,
    moves_only=True,
    importers={"Slice": import_slice, "Split": import_split},
)
