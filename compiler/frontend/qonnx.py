"""QONNX: quantizers of arbitrary width, and operators on channels-last images.

Source: QONNX operator documentation (fastmachinelearning/qonnx, docs/qonnx-custom-ops), versions 1 and 2. Brevitas
exports the quantizers in the domain `onnx.brevitas`, QONNX itself in `qonnx.custom_op.general`, FINN in
`finn.custom_op.general`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from ..ir.types import Affine
from ..ops.activation import Activation
from ..ops.add import AddAttrs
from ..ops.bipolar import BipolarAttrs
from ..ops.clamp import ClampAttrs
from ..ops.mul import MulAttrs
from ..ops.quantize import DequantizeAttrs, QuantizeAttrs
from .context import ImportContext, OnnxNode, Parameter
from .decomposition import Decomposition
from .reductions import scalar

DOMAINS = ("onnx.brevitas", "qonnx.custom_op.general", "finn.custom_op.general")
CHANNELS_LAST = "qonnx.custom_op.channels_last"
WIDEST = 32

ROUNDINGS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "ROUND": np.rint,
    "HALF_EVEN": np.rint,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": lambda x: np.copysign(np.ceil(np.abs(x)), x),
    "DOWN": np.trunc,
    "ROUND_TO_ZERO": np.trunc,
    "HALF_UP": lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x),
    "HALF_DOWN": lambda x: np.copysign(np.ceil(np.abs(x) - 0.5), x),
}
"""Rounding modes of IntQuant; parameters take any, activations those that QuantizeLinear has."""

NEAREST_EVEN = ("ROUND", "HALF_EVEN")


def _width(context: ImportContext, node: OnnxNode, index: int, what: str) -> int:
    """A bit width: one whole number."""
    given = context.constant(node, index, what).reshape(-1)
    if given.size == 0 or (given != given[0]).any() or given[0] != int(given[0]) or not 1 <= given[0] <= WIDEST:
        raise context.error(node, f"{what} must be one whole number from 1 to {WIDEST}, not {given[:4]}")
    return int(given[0])


def _element(context: ImportContext, node: OnnxNode, rank: int, width: int, narrow: bool) -> Affine:
    """Type given by the scale and zero point inputs (1 and 2): per tensor, or along the one axis they vary on."""
    scale = context.constant(node, 1, "the scale").astype(np.float32)
    zero = context.constant(node, 2, "the zero point") if node.op_type != "BipolarQuant" else np.zeros(())
    signed = bool(node.integer("signed", 1))
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise context.error(node, "scales must be positive and finite")
    if (zero != np.rint(zero)).any():
        raise context.error(node, "the zero point must be a whole number")
    scale, zero = np.broadcast_arrays(scale, zero)
    if scale.size == 1 or ((scale == scale.flat[0]).all() and (zero == zero.flat[0]).all()):
        return Affine(signed, width, (float(scale.flat[0]),), (int(zero.flat[0]),), None, narrow)
    axes = [axis for axis, length in enumerate(scale.shape) if length > 1]
    if len(axes) != 1 or scale.ndim > rank:
        raise context.error(node, f"scales of shape {scale.shape} are not per tensor or per channel")
    axis = axes[0] + rank - scale.ndim
    scales, zeros = scale.reshape(-1), zero.reshape(-1)
    return Affine(signed, width, tuple(map(float, scales)), tuple(int(z) for z in zeros), axis, narrow)


def _integers(values: np.ndarray, element: Affine, rounding: str, top: int) -> np.ndarray:
    """Parameters as raw integers: scaled, rounded, clamped (QONNX `quant`)."""
    scaled = values.astype(np.float32) / element.scale_for(values.ndim).astype(np.float32)
    rounded = ROUNDINGS[rounding](scaled.astype(np.float64) + element.zero_for(values.ndim))
    return np.clip(rounded, element.minimum, top).astype(np.int64)


def _quantized(context: ImportContext, node: OnnxNode, x: str, element: Affine) -> str:
    raw = context.emit(node, "Quantize", [x], QuantizeAttrs(element), suffix="quantize")
    return context.emit(node, "Dequantize", [raw], DequantizeAttrs(), suffix="dequantize")


def import_quant(context: ImportContext, node: OnnxNode) -> None:
    """Quant and IntQuant: y = (clamp(round(x / scale + zero)) - zero) * scale."""
    width = _width(context, node, 3, "the bit width")
    rounding = node.text("rounding_mode", "ROUND").upper()
    signed, narrow = bool(node.integer("signed", 1)), bool(node.integer("narrow", 0))
    if rounding not in ROUNDINGS:
        raise context.error(node, f"rounding mode '{rounding}' is not known")
    if signed and width == 1:
        raise context.error(node, "a signed width of 1 bit is not defined", hint="use BipolarQuant")
    constant = context.is_constant(node.inputs[0])
    rank = context.constant(node, 0, "x").ndim if constant else context.input_type(node, 0).rank
    element = _element(context, node, rank, width, narrow and signed)
    top = element.maximum - (narrow and not signed)  # an unsigned narrow range loses its largest value
    if constant:
        raw = _integers(context.constant(node, 0, "x"), element, rounding, top)
        context.parameters[node.outputs[0]] = Parameter(raw, element)
        return
    if rounding not in NEAREST_EVEN:
        raise context.error(
            node, f"rounding mode '{rounding}' of an activation is not supported", hint="export with ROUND"
        )
    x = context.tensor(node, 0)
    if top != element.maximum:
        if element.axis is not None:
            raise context.error(node, "an unsigned narrow range per channel is not supported")
        limit = Activation(-math.inf, (top - element.zero_point[0]) * element.scale[0])
        x = context.emit(node, "Clamp", [x], ClampAttrs(limit), suffix="narrow")
    context.bind(node.outputs[0], _quantized(context, node, x, element))


def import_bipolar_quant(context: ImportContext, node: OnnxNode) -> None:
    """BipolarQuant: y = scale if x >= 0 else -scale."""
    constant = context.is_constant(node.inputs[0])
    rank = context.constant(node, 0, "x").ndim if constant else context.input_type(node, 0).rank
    element = replace(_element(context, node, rank, 2, True), signed=True)
    if constant:
        raw = np.where(context.constant(node, 0, "x") >= 0, 1, -1).astype(np.int64)
        context.parameters[node.outputs[0]] = Parameter(raw, element)
        return
    y = context.emit(node, "Bipolar", [context.tensor(node, 0)], BipolarAttrs(), suffix="sign")
    if element.scale != (1.0,):
        scale = element.scale_for(rank).astype(np.float32)
        y = context.emit(node, "Mul", [y, context.editor.add_constant(f"{node.name}/scale", scale)], MulAttrs())
    context.bind(node.outputs[0], _quantized(context, node, y, element))


def _trunc_types(context: ImportContext, node: OnnxNode) -> tuple[Affine, Affine]:
    """Integer types before and after a Trunc.

    Version 2 (six inputs) states signs and the output scale. Version 1 states neither: a sign bit more holds both.
    """
    second = len(node.inputs) > 5
    width = _width(context, node, 3, "the input bit width")
    out_width = _width(context, node, 5 if second else 4, "the output bit width")
    fine = _element(context, node, 0, width, False)
    if fine.zero_point != (0,):
        raise context.error(node, "a zero point other than 0 is not supported")
    bits = width - out_width
    if second:
        out_scale = float(context.constant(node, 4, "the output scale").reshape(-1)[0])
        bits = round(math.log2(out_scale / fine.scale[0])) if out_scale > 0 else -1
    if bits < 0:
        raise context.error(node, "the output is finer than the input")
    narrow = second and bool(node.integer("narrow", 0))
    if narrow and not fine.signed:
        raise context.error(node, "an unsigned narrow range is not supported")
    coarse = replace(fine, width=out_width, scale=(math.ldexp(fine.scale[0], bits),), narrow=narrow)
    if not second:
        fine, coarse = (replace(e, signed=True, width=min(e.width + 1, WIDEST)) for e in (fine, coarse))
    return fine, coarse


def import_trunc(context: ImportContext, node: OnnxNode) -> None:
    """Trunc: drop the lowest bits of an integer, n -> floor(n / 2**k), written as two nearest roundings.

    n - (2**k - 1) / 2 divided by 2**k is never a tie, and rounds to the floor.
    """
    rounding = node.text("rounding_mode", "FLOOR").upper()
    if rounding not in ("FLOOR", "CEIL", *NEAREST_EVEN):
        raise context.error(node, f"rounding mode '{rounding}' is not supported")
    fine, coarse = _trunc_types(context, node)
    scale = fine.scale[0]
    if rounding in NEAREST_EVEN and math.frexp(scale)[0] != 0.5:  # ties must be exact in binary32
        raise context.error(node, f"rounding mode '{rounding}' needs a scale that is a power of two, not {scale:g}")
    y = _quantized(context, node, context.tensor(node, 0), fine)
    if rounding in ("FLOOR", "CEIL") and coarse.scale != fine.scale:
        offset = (coarse.scale[0] - scale) / 2 * (-1 if rounding == "FLOOR" else 1)
        y = context.emit(node, "Add", [y, scalar(context, node, offset, "offset")], AddAttrs(), suffix="offset")
    y = _quantized(context, node, y, coarse)
    if len(node.inputs) == 5 and coarse.scale != fine.scale:  # version 1: the short integer times the old scale
        factor = scalar(context, node, scale / coarse.scale[0], "factor")
        y = context.emit(node, "Mul", [y, factor], MulAttrs(), suffix="rescale")
    context.bind(node.outputs[0], y)


def import_channels_last(context: ImportContext, node: OnnxNode) -> None:
    """An operator of the standard domain between two transposes, which the layout pass removes again."""
    from .registry import importers

    rank = context.input_type(node, 0).rank
    first, last = (0, rank - 1, *range(1, rank - 1)), (0, *range(2, rank), 1)
    inputs = list(node.inputs)
    inputs[0] = f"{node.name}/channels_first"
    context.bind(inputs[0], context.transpose(node, context.tensor(node, 0), first, "channels_first"))
    if node.op_type == "Conv":
        weights = context.parameter(node, 1, "the weights")
        inputs[1] = f"{node.name}/weights_channels_first"
        context.parameters[inputs[1]] = weights.transposed(first)
    result = f"{node.name}/result"
    standard = replace(node, domain="", inputs=tuple(inputs), outputs=(result, *node.outputs[1:]))
    importers()[node.op_type](context, standard)
    context.bind(node.outputs[0], context.transpose(node, context.tensors[result], last, "channels_last"))


QUANTIZERS = {
    "Quant": Decomposition(import_quant, ("Quantize", "Dequantize", "Clamp")),
    "IntQuant": Decomposition(import_quant, ("Quantize", "Dequantize", "Clamp")),
    "BipolarQuant": Decomposition(import_bipolar_quant, ("Bipolar", "Mul", "Quantize", "Dequantize")),
    "Trunc": Decomposition(import_trunc, ("Quantize", "Dequantize", "Add", "Mul")),
}

QONNX: Mapping[str, Decomposition] = {
    **{f"{domain}::{name}": entry for domain in DOMAINS for name, entry in QUANTIZERS.items()},
    f"{CHANNELS_LAST}::Conv": Decomposition(import_channels_last, ("Conv2D",)),
    f"{CHANNELS_LAST}::MaxPool": Decomposition(import_channels_last, ("MaxPool2D",)),
    f"{CHANNELS_LAST}::AveragePool": Decomposition(import_channels_last, ("AveragePool2D",)),
    f"{CHANNELS_LAST}::BatchNormalization": Decomposition(import_channels_last, ("ScaleBias",)),
}
