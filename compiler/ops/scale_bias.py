"""ScaleBias: y[..., c] = x[..., c] * scale[c] + bias[c]: a batch normalization that could not be folded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import Affine, TensorType
from ..numerics import Requantization, requantization
from .activation import NONE, Activation
from .linear import finish_fixed
from .spec import Invocation, OpSpec, Types, required

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


@dataclass(frozen=True, slots=True)
class ScaleBiasAttrs(Attrs):
    """Fused activation."""

    activation: Activation = NONE


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    x, scale = required(inputs, 0), required(inputs, 1)
    if x.rank < 1 or scale.shape != (x.shape[-1],):
        raise ValueError(f"scale of shape {scale.shape} for an input of shape {x.shape}")
    return [x]


def _float(call: Invocation) -> list[np.ndarray]:
    y = call.array(0) * call.array(1)[0]
    bias = call.optional(2)
    if bias is not None:
        y = y + bias[0]
    return [call.attrs(ScaleBiasAttrs).activation.apply(y)]


def scale_bias_requantization(x: Affine, scale: Affine, y: Affine, activation: Activation) -> Requantization:
    """Requantization of x * scale + bias; the bias is in units of sx * s_scale."""
    return requantization([x.scale[0] * scale.scale[0] / y.scale[0]], y, activation.low, activation.high)


def _affine(call: Invocation) -> list[np.ndarray]:
    acc = (call.array(0) - call.affine(0).zero_point[0]) * (call.array(1)[0] - call.affine(1).zero_point[0])
    bias = call.optional(2)
    if bias is not None:
        acc = acc + bias[0]
    activation = call.attrs(ScaleBiasAttrs).activation
    return [scale_bias_requantization(call.affine(0), call.affine(1), call.affine_out, activation).apply(acc)]


def _fixed(call: Invocation) -> list[np.ndarray]:
    acc = call.array(0) * call.array(1)[0]
    bias = call.optional(2)
    frac = call.fixed(0).frac + call.fixed(1).frac
    bias_frac = call.fixed(2).frac if bias is not None else 0
    return [finish_fixed(acc, frac, None if bias is None else bias[0], bias_frac, call.fixed_out)]


def import_batch_normalization(context: ImportContext, node: OnnxNode) -> None:
    """ONNX BatchNormalization at inference: one scale and one offset per channel (axis 1)."""
    from ..frontend.context import Parameter

    x = context.tensor(node, 0)
    shape = context.type(x).shape
    if node.integer("training_mode", 0):
        raise context.error(node, "training mode is not supported", hint="export the model in evaluation mode")
    if len(shape) < 2:
        raise context.error(node, f"needs a channel axis, but the input has shape {shape}")
    gamma, beta, mean, variance = (
        context.constant(node, index, what).astype(np.float64)
        for index, what in ((1, "the scale"), (2, "the bias"), (3, "the mean"), (4, "the variance"))
    )
    if any(values.shape != (shape[1],) for values in (gamma, beta, mean, variance)):
        raise context.error(node, f"its parameters do not have the {shape[1]} channels of its input")
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = gamma / np.sqrt(variance + node.number("epsilon", 1e-5))
    if not np.isfinite(factor).all():
        raise context.error(node, "a variance is negative", hint="the training diverged or the export is broken")
    last = (0, *range(2, len(shape)), 1)
    first = (0, len(shape) - 1, *range(1, len(shape) - 1))
    inputs = [
        context.transpose(node, x, last, "channels_last"),
        context.add_parameter(f"{node.name}/scale", Parameter(factor.astype(np.float32))),
        context.add_parameter(f"{node.name}/bias", Parameter((beta - mean * factor).astype(np.float32))),
    ]
    y = context.emit(node, "ScaleBias", inputs, ScaleBiasAttrs())
    context.bind(node.outputs[0], context.transpose(node, y, first, "channels_first"))


SCALE_BIAS = OpSpec(
    name="ScaleBias",
    attrs=ScaleBiasAttrs,
    doc="y[..., c] = activation(x[..., c] * scale[c] + bias[c]).",
    infer=_infer,
    run_float=_float,
    run_affine=_affine,
    run_fixed=_fixed,
    importers={"BatchNormalization": import_batch_normalization},
)
