"""Clamp: ReLU, ReLU6, Clip and every other cut to an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from ..numerics import cast_fixed, quantize_fixed
from .activation import RELU, Activation
from .requantize import requantize_ratio
from .spec import Invocation, OpSpec
from .unary import infer_unary


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


def _fixed(call: Invocation) -> list[np.ndarray]:
    activation = call.attrs(ClampAttrs).activation
    x, element = call.array(0), call.fixed(0)
    if activation.low > -np.inf:
        x = np.maximum(x, quantize_fixed(np.float64(activation.low), element))
    if activation.high < np.inf:
        x = np.minimum(x, quantize_fixed(np.float64(activation.high), element))
    return [cast_fixed(x, element.frac, call.fixed_out)]


CLAMP = OpSpec(
    name="Clamp",
    attrs=ClampAttrs,
    doc="y = min(max(x, low), high).",
    infer=infer_unary,
    run_float=_float,
    run_affine=_affine,
    run_fixed=_fixed,
)
