"""Clamp: ReLU, ReLU6, Clip and every other cut to an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import Affine, FixedPoint, Overflow, Rounding
from ..numerics import cast_fixed, quantize_fixed
from .activation import RELU, Activation
from .requantize import requantize_ratio
from .spec import Invocation, OpSpec
from .unary import infer_unary

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


@dataclass(frozen=True, slots=True)
class ClampAttrs(Attrs):
    """The interval."""

    activation: Activation = RELU


def _float(call: Invocation) -> list[np.ndarray]:
    return [call.attrs(ClampAttrs).activation.apply(call.array(0))]


def _affine(call: Invocation) -> list[np.ndarray]:
    x = call.array(0) - call.affine(0).zero_point[0]
    activation = call.attrs(ClampAttrs).activation
    return [requantize_ratio(call.affine(0), call.affine_out, activation).apply(x)]


def fixed_bounds(activation: Activation, element: FixedPoint) -> tuple[int, int]:
    """Raw bounds of the interval in units of `element`, rounded to nearest and kept inside its range."""
    nearest = replace(element, rounding=Rounding.RND, overflow=Overflow.SAT)
    low = element.minimum if activation.low == -np.inf else int(quantize_fixed(np.float64(activation.low), nearest))
    high = element.maximum if activation.high == np.inf else int(quantize_fixed(np.float64(activation.high), nearest))
    return low, high


def _fixed(call: Invocation) -> list[np.ndarray]:
    activation = call.attrs(ClampAttrs).activation
    element = call.fixed(0)
    x = np.clip(call.array(0), *fixed_bounds(activation, element))
    return [cast_fixed(x, element.frac, call.fixed_out)]


def import_relu(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Relu."""
    context.result(node, "Clamp", [context.tensor(node, 0)], ClampAttrs(RELU))


def import_clip(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Clip: bounds are attributes up to opset 10, optional constant inputs from 11.

    Bounds of an integer tensor are raw integers; the IR takes the values they stand for.
    """
    x = context.tensor(node, 0)
    element = context.type(x).element
    bounds = []
    for index, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        value = node.number(name, default)
        if node.has_input(index):
            value = float(context.constant(node, index, f"the bound '{name}'").reshape(-1)[0])
            if isinstance(element, Affine):
                value = (value - element.zero_point[0]) * element.scale[0]
        # exporters write the largest float for "no bound"
        bounds.append(default if abs(value) >= 3.4028234e38 else value)
    context.result(node, "Clamp", [x], ClampAttrs(Activation(bounds[0], max(bounds))))


CLAMP = OpSpec(
    name="Clamp",
    attrs=ClampAttrs,
    doc="y = min(max(x, low), high).",
    infer=infer_unary,
    run_float=_float,
    run_affine=_affine,
    run_fixed=_fixed,
    importers={"Relu": import_relu, "Clip": import_clip},
)
