"""PRelu: y = x if x >= 0 else slope * x, one slope per channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import Affine, TensorType
from ..numerics import cast_fixed, choose_multipliers
from .elementwise import aligned, infer_elementwise
from .spec import Invocation, OpSpec, Types, required

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


@dataclass(frozen=True, slots=True)
class PReluAttrs(Attrs):
    """No attributes."""


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    x = required(inputs, 0)
    found = infer_elementwise(attrs, inputs)
    if found[0].shape != x.shape:
        raise ValueError(f"slopes of shape {required(inputs, 1).shape} do not fit an input of shape {x.shape}")
    return found


def _float(call: Invocation) -> list[np.ndarray]:
    x, slope = aligned(call)
    return [np.where(x >= 0, x, x * slope)]


def prelu_multipliers(x: Affine, slope: Affine, y: Affine) -> tuple[int, int, int]:
    """(positive, negative, shift): y = zero + round(x * positive) or zero + round(x * slope_raw * negative)."""
    ratios = [x.scale[0] / y.scale[0], x.scale[0] * slope.scale[0] / y.scale[0]]
    (positive, negative), shift = choose_multipliers(ratios)
    return positive, negative, shift


def _affine(call: Invocation) -> list[np.ndarray]:
    raw, slopes = aligned(call)
    x = raw - call.affine(0).zero_point[0]
    slopes = slopes - call.affine(1).zero_point[0]
    y = call.affine_out
    positive, negative, shift = prelu_multipliers(call.affine(0), call.affine(1), y)
    scaled = np.where(x >= 0, x * positive, x * slopes * negative)
    return [np.clip(((scaled + (1 << (shift - 1))) >> shift) + y.zero_point[0], y.minimum, y.maximum)]


def _fixed(call: Invocation) -> list[np.ndarray]:
    x, slope = aligned(call)
    frac, out = call.fixed(0).frac, call.fixed_out
    scaled = cast_fixed(x * slope, frac + call.fixed(1).frac, out)
    return [np.where(x > 0, cast_fixed(x, frac, out), scaled)]


def import_prelu(context: ImportContext, node: OnnxNode) -> None:
    """ONNX PRelu with constant slopes; before opset 7 they are one per channel (axis 1), or one for all."""
    x = context.tensor(node, 0)
    rank = context.type(x).rank
    slopes = context.parameter(node, 1, "the slope")
    if node.opset < 7 and slopes.values.size > 1:
        slopes = slopes.reshaped((slopes.values.size, *[1] * (rank - 2)))
    context.result(node, "PRelu", [x, context.add_parameter(f"{node.name}/slope", slopes)], PReluAttrs())


PRELU = OpSpec(
    name="PRelu",
    attrs=PReluAttrs,
    doc="y = x if x >= 0 else slope * x; slopes broadcast to x.",
    infer=_infer,
    run_float=_float,
    run_affine=_affine,
    run_fixed=_fixed,
    importers={"PRelu": import_prelu},
)
