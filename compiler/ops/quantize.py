"""Quantize and Dequantize: the borders between real values and integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import FLOAT32, ElementType, TensorType
from ..numerics import dequantize, quantize
from .spec import Invocation, OpSpec, Types, attrs_as, required


@dataclass(frozen=True, slots=True)
class QuantizeAttrs(Attrs):
    """Target element type."""

    element: ElementType


@dataclass(frozen=True, slots=True)
class DequantizeAttrs(Attrs):
    """No attributes: the input's type says everything."""


def _infer_quantize(attrs: Attrs, inputs: Types) -> list[TensorType]:
    return [required(inputs, 0).with_element(attrs_as(attrs, QuantizeAttrs).element)]


def _infer_dequantize(attrs: Attrs, inputs: Types) -> list[TensorType]:
    return [required(inputs, 0).with_element(FLOAT32)]


def _quantize(call: Invocation) -> list[np.ndarray]:
    return [quantize(call.array(0), call.output_types[0].element, sample_axis=True)]


def _dequantize(call: Invocation) -> list[np.ndarray]:
    return [dequantize(call.array(0), call.type(0).element, sample_axis=True).astype(np.float32)]


QUANTIZE = OpSpec(
    name="Quantize",
    attrs=QuantizeAttrs,
    doc="Affine: clamp(round_half_even(x / scale) + zero_point); FixedPoint: ap_fixed assignment.",
    infer=_infer_quantize,
    run_float=_quantize,
    run_affine=_quantize,
    run_fixed=_quantize,
)

DEQUANTIZE = OpSpec(
    name="Dequantize",
    attrs=DequantizeAttrs,
    doc="Affine: (x - zero_point) * scale; FixedPoint: x * 2**-frac.",
    infer=_infer_dequantize,
    run_float=_dequantize,
    run_affine=_dequantize,
    run_fixed=_dequantize,
)
