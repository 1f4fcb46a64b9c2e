"""Quantize and Dequantize: the borders between real values and integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import FLOAT32, Affine, ElementType, TensorType
from ..numerics import dequantize, quantize
from .spec import Invocation, OpSpec, Types, attrs_as, required

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


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


def _element(context: ImportContext, node: OnnxNode) -> Affine:
    """Affine type described by the scale and zero point inputs of a (De)QuantizeLinear node."""
    scale = context.constant(node, 1, "the scale").astype(np.float64).reshape(-1)
    zero: np.ndarray = np.zeros(1, np.uint8)
    if node.has_input(2):
        zero = context.constant(node, 2, "the zero point").reshape(-1)
    if node.integer("block_size", 0):
        raise context.error(node, "blocked quantization is not supported", hint="use per-tensor or per-axis scales")
    if zero.dtype.kind not in "iu":
        raise context.error(node, f"quantization to {zero.dtype} is not supported", hint="use int8 or uint8")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise context.error(node, "scales must be positive and finite")
    signed, width = zero.dtype.kind == "i", zero.dtype.itemsize * 8
    if len(scale) == 1:
        return Affine(signed, width, (float(scale[0]),), (int(zero[0]),))
    rank = context.input_type(node, 0).rank
    zeros = tuple(int(z) for z in np.broadcast_to(zero, scale.shape))
    return Affine(signed, width, tuple(map(float, scale)), zeros, node.integer("axis", 1) % rank)


def import_quantize_linear(context: ImportContext, node: OnnxNode) -> None:
    """ONNX QuantizeLinear."""
    context.result(node, "Quantize", [context.tensor(node, 0)], QuantizeAttrs(_element(context, node)))


def import_dequantize_linear(context: ImportContext, node: OnnxNode) -> None:
    """ONNX DequantizeLinear of an activation (of constants: see frontend/folding.py)."""
    x = context.tensor(node, 0)
    given = context.type(x).element
    declared = _element(context, node)
    if not isinstance(given, Affine):
        raise context.error(node, "its input is not an integer tensor")
    real = context.emit(node, "Dequantize", [x], DequantizeAttrs())
    context.bind(node.outputs[0], _reread(context, node, real, given, declared))


def _reread(context: ImportContext, node: OnnxNode, real: str, given: Affine, declared: Affine) -> str:
    """Values of integers made with one scale and zero point and read with others: a factor and an offset.

    (q - zero') scale' = ((q - zero) scale) scale' / scale + (zero - zero') scale'
    """
    from .add import AddAttrs
    from .mul import MulAttrs

    if (given.signed, given.width) != (declared.signed, declared.width):
        raise context.error(node, f"reads {declared}, but its input is {given}")
    if (given.scale, given.zero_point, given.axis) == (declared.scale, declared.zero_point, declared.axis):
        return real
    rank = context.type(real).rank
    factor = declared.scale_for(rank) / given.scale_for(rank)
    if (factor != 1.0).any():
        constant = context.editor.add_constant(f"{node.name}/factor", factor.astype(np.float32))
        real = context.emit(node, "Mul", [real, constant], MulAttrs(), suffix="rescale")
    offset = (given.zero_for(rank) - declared.zero_for(rank)) * declared.scale_for(rank)
    if (offset != 0.0).any():
        constant = context.editor.add_constant(f"{node.name}/offset", offset.astype(np.float32))
        real = context.emit(node, "Add", [real, constant], AddAttrs(), suffix="shift")
    return real


QUANTIZE = OpSpec(
    name="Quantize",
    attrs=QuantizeAttrs,
    doc="Affine: clamp(round_half_even(x / scale) + zero_point); FixedPoint: ap_fixed assignment.",
    infer=_infer_quantize,
    run_float=_quantize,
    run_affine=_quantize,
    run_fixed=_quantize,
    crosses=True,
    importers={"QuantizeLinear": import_quantize_linear},
)

DEQUANTIZE = OpSpec(
    name="Dequantize",
    attrs=DequantizeAttrs,
    doc="Affine: (x - zero_point) * scale; FixedPoint: x * 2**-frac.",
    infer=_infer_dequantize,
    run_float=_dequantize,
    run_affine=_dequantize,
    run_fixed=_dequantize,
    crosses=True,
    importers={"DequantizeLinear": import_dequantize_linear},
)
