"""Pad with a constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import Affine, TensorType
from ..numerics import quantize
from .spec import Invocation, OpSpec, Types, attrs_as, required

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


@dataclass(frozen=True, slots=True)
class PadAttrs(Attrs):
    """Elements added before and after each axis, and their real value."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float = 0.0


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    a = attrs_as(attrs, PadAttrs)
    x = required(inputs, 0)
    if not len(a.before) == len(a.after) == x.rank or min((*a.before, *a.after), default=0) < 0:
        raise ValueError(f"padding {a.before} and {a.after} for an input of shape {x.shape}")
    shape = tuple(b + d + e for b, d, e in zip(a.before, x.shape, a.after, strict=True))
    return [TensorType(shape, x.element)]


def _run(call: Invocation) -> list[np.ndarray]:
    attrs = call.attrs(PadAttrs)
    element = call.output_types[0].element
    if isinstance(element, Affine) and attrs.value == 0.0:
        fill: np.ndarray | int = element.zero_point[0]
    else:
        fill = quantize(np.float32(attrs.value), element)
    pairs = [(0, 0), *zip(attrs.before, attrs.after, strict=True)]
    return [np.pad(call.array(0), pairs, constant_values=fill)]


def import_pad(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Pad: constant mode is a Pad, every other mode repeats elements (Gather); negative pads crop."""
    x = context.tensor(node, 0)
    mode = node.text("mode", "constant")
    before, after = _amounts(context, node, context.type(x).rank)
    if mode in ("reflect", "edge", "wrap"):
        context.bind(node.outputs[0], _repeat_elements(context, node, x, mode, before, after))
        return
    if mode != "constant":
        raise context.error(node, f"mode '{mode}' is not a mode of the ONNX specification")
    value = node.number("value", 0.0)
    if node.has_input(2):
        value = float(context.constant(node, 2, "the value").reshape(-1)[0])
    element = context.type(x).element
    if isinstance(element, Affine):  # an integer tensor is padded with a raw integer
        value = (value - element.zero_point[0]) * element.scale[0] if node.has_input(2) else 0.0
    from .slice import emit_slice

    shape = context.type(x).shape
    keep = {axis: range(max(-b, 0), shape[axis] - max(-a, 0)) for axis, (b, a) in enumerate(_pairs(before, after))}
    x = emit_slice(context, node, x, keep, "crop")
    attrs = PadAttrs(tuple(max(b, 0) for b in before), tuple(max(a, 0) for a in after), value)
    if any(attrs.before) or any(attrs.after):
        x = context.emit(node, "Pad", [x], attrs)
    context.bind(node.outputs[0], x)


def _pairs(before: list[int], after: list[int]) -> list[tuple[int, int]]:
    return list(zip(before, after, strict=True))


def _amounts(context: ImportContext, node: OnnxNode, rank: int) -> tuple[list[int], list[int]]:
    """Pads before and after every axis."""
    pads = context.integers(node, 1, "pads", "the pads")
    if pads is None:
        raise context.error(node, "has no pads")
    axes = list(range(rank))
    if node.has_input(3):
        chosen = context.integers(node, 3, "axes", "the axes") or []
        axes = [context.axis(node, axis, rank) for axis in chosen]
    if len(pads) != 2 * len(axes):
        raise context.error(node, f"{len(pads)} pads for {len(axes)} axes")
    before, after = [0] * rank, [0] * rank
    for index, axis in enumerate(axes):
        before[axis], after[axis] = pads[index], pads[index + len(axes)]
    return before, after


def _repeat_elements(
    context: ImportContext, node: OnnxNode, x: str, mode: str, before: list[int], after: list[int]
) -> str:
    from .gather import emit_pick

    names: dict[str, Literal["reflect", "edge", "wrap"]] = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    for axis, (first, last) in enumerate(_pairs(before, after)):
        length = context.type(x).shape[axis]
        if mode == "reflect" and max(first, last) >= length:
            raise context.error(node, f"reflection of {max(first, last)} elements of an axis of {length}")
        padded = np.pad(np.arange(length), (max(first, 0), max(last, 0)), mode=names[mode])
        indices = padded[max(-first, 0) : len(padded) - max(-last, 0)]
        if not len(indices):
            raise context.error(node, "its result is empty")
        x = emit_pick(context, node, x, axis, [int(i) for i in indices], f"axis{axis}")
    return x


PAD = OpSpec(
    name="Pad",
    attrs=PadAttrs,
    doc="x surrounded by a constant value (quantized to the tensor's type in integer form).",
    infer=_infer,
    run_float=_run,
    moves_only=True,
    importers={"Pad": import_pad},
)
