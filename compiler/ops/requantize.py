"""Requantize: the same real values in another integer type."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import Affine, ElementType, TensorType
from ..numerics import Requantization, cast_fixed, requantization
from .activation import NONE, Activation
from .spec import Invocation, OpSpec, Types, attrs_as, required


@dataclass(frozen=True, slots=True)
class RequantizeAttrs(Attrs):
    """Target element type."""

    element: ElementType


def requantize_ratio(x: Affine, y: Affine, activation: Activation = NONE) -> Requantization:
    """Requantization from one per-tensor affine type to another (equal types: the identity)."""
    return requantization([x.scale[0] / y.scale[0]], y, activation.low, activation.high)


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    return [required(inputs, 0).with_element(attrs_as(attrs, RequantizeAttrs).element)]


def _affine(call: Invocation) -> list[np.ndarray]:
    x = call.array(0) - call.affine(0).zero_point[0]
    return [requantize_ratio(call.affine(0), call.affine_out).apply(x)]


def _fixed(call: Invocation) -> list[np.ndarray]:
    return [cast_fixed(call.array(0), call.fixed(0).frac, call.fixed_out)]


REQUANTIZE = OpSpec(
    name="Requantize",
    attrs=RequantizeAttrs,
    doc="y = quantize_to_target(dequantize(x)), in integer arithmetic.",
    infer=_infer,
    run_float=None,
    run_affine=_affine,
    run_fixed=_fixed,
)
