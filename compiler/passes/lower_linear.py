"""Integer form of the ops with weights: Conv2D, ConvTranspose2D, Dense and ScaleBias."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..ir.encoding import Compressed, Encoding
from ..ir.graph import Node
from ..ir.types import Affine
from ..numerics import signed_bits
from ..ops.accumulator import accumulator_range, input_range
from ..ops.linear import linear_ratios
from .lowering import Lowering, real_values

ACCUMULATOR_BITS = 32
"""Accumulators of integer kernels are int32."""

SMALLEST_RATIO = 2.0**-16
"""A channel whose requantization ratio is below this part of the largest keeps fewer than 15 bits of multiplier."""

SAME_SCALE = 1e-6
"""Relative difference up to which a bias scale is the product of the input and weight scales, rounded to binary32."""


@dataclass(frozen=True, slots=True)
class LinearConstants:
    """Raw weights (out, ...) and bias (out,) of a linear layer; the bias is in accumulator units."""

    weights: np.ndarray
    element: Affine
    bias: np.ndarray | None


def lower_linear(lowering: Lowering, node: Node, y: Affine) -> str:
    """Conv2D, ConvTranspose2D and Dense: integer weights as they come, the bias as int32 at sx * sw[c].

    Raises:
        ModelError: the weights have no quantization, or one along an axis other than the output channels', or
            the accumulator could leave 32 bits.
    """
    x = lowering.operand(node, 0)
    raw, element = lowering.parameter(node, 1)
    if element.axis not in (None, 0):
        raise lowering.error(
            node,
            f"weights are quantized along axis {element.axis}, not per output channel",
            "quantize the weights per tensor or per output channel",
        )
    x_type = lowering.element(x)
    bias = lowering.real_parameter(node, 2)
    made = linear_constants(raw, element, x_type, y, bias)
    flat = (made.weights - made.element.zero_for(raw.ndim)).reshape(len(raw), -1)
    check_accumulator(lowering, node, *accumulator_range(flat, made.bias, x_type))
    ratios = linear_ratios(x_type, made.element, y, len(raw))
    check_ratio(lowering, node, max(ratios))
    name = lowering.parameter_name(node.inputs[1])
    encoding = _kept_promise(lowering.graph.constants[name].encoding, made.weights)
    inputs = [x, lowering.constant(name, made.weights, made.element, encoding)]
    if made.bias is not None:
        inputs.append(
            lowering.constant(lowering.parameter_name(node.inputs[2]), made.bias, bias_type(made.element, x_type))
        )
    return lowering.emit(node, inputs, y)


def _kept_promise(encoding: Encoding, weights: np.ndarray) -> Encoding:
    """The encoding of the weights after a channel that int32 could not hold may have been scaled.

    Scaling keeps zeros and narrows the range, but turns the channel's clusters into others and unties it.
    """
    if isinstance(encoding, Compressed) and encoding.broken(weights) is not None:
        return replace(encoding, clusters=None, circulant=None, tie=None)
    return encoding


def bias_type(weights: Affine, x: Affine) -> Affine:
    """Type of a bias in accumulator units: int32 at sx * sw[c]."""
    scales = tuple(x.scale[0] * scale for scale in weights.scale)
    return Affine(True, 32, scales, (0,) * len(scales), None if weights.axis is None else 0)


def linear_constants(
    raw: np.ndarray, element: Affine, x: Affine, y: Affine, bias: tuple[np.ndarray, Affine | None] | None
) -> LinearConstants:
    """Weights and bias as integers; channels int32 could not hold precisely are scaled by a power of two.

    Dead channels are the usual case: weights near zero get a scale so small that the bias overflows int32 or that the
    channel's multiplier has no bits left. Such a channel takes a scale 2**k times larger; its weights are
    rounded to it, which costs less than half a unit of the old scale times 2**k.
    """
    channels = len(raw)
    units = _bias_units(bias, element, x, channels)
    steps = _needed_steps(raw, element, x, y, units)
    if steps.any() and not any(element.zero_point):
        scales = np.ldexp(np.broadcast_to(np.asarray(element.scale), channels), steps)
        factor = np.ldexp(1.0, -steps)
        raw = np.rint(raw * factor.reshape(-1, *[1] * (raw.ndim - 1))).astype(np.int64)
        element = replace(element, scale=tuple(map(float, scales)), zero_point=(0,) * channels, axis=0)
        units = None if units is None else units * factor
    return LinearConstants(raw, element, None if units is None else np.rint(units).astype(np.int64))


def _bias_units(
    bias: tuple[np.ndarray, Affine | None] | None, weights: Affine, x: Affine, channels: int
) -> np.ndarray | None:
    """The bias in units of sx * sw[c], float64, (channels,); integers that have that scale stay what they are."""
    if bias is None:
        return None
    unit = np.broadcast_to(np.asarray(weights.scale) * x.scale[0], channels)
    values, element = bias
    if element is not None:
        same = np.abs(element.scale_for(1) / unit - 1.0) <= SAME_SCALE
        return np.where(same, (values - element.zero_for(1)).astype(np.float64), real_values(bias) / unit)
    return real_values(bias) / unit


def _needed_steps(raw: np.ndarray, element: Affine, x: Affine, y: Affine, units: np.ndarray | None) -> np.ndarray:
    """Powers of two by which each channel's weight scale has to grow, int64, (channels,)."""
    channels = len(raw)
    steps = np.zeros(channels, np.int64)
    if units is not None:
        reach = max(map(abs, input_range(x)))
        sums = np.abs(raw - element.zero_for(raw.ndim)).reshape(channels, -1).sum(axis=1) * reach
        room = (1 << (ACCUMULATOR_BITS - 1)) - 2 - sums
        over = (np.abs(units) > room) & (room > 1 << (ACCUMULATOR_BITS - 2))
        excess = np.maximum(np.abs(units) / np.maximum(room, 1), 1.0)
        steps = np.where(over, np.ceil(np.log2(excess)), 0).astype(np.int64)
    ratios = np.broadcast_to(np.asarray(linear_ratios(x, element, y, channels)), channels)
    small = np.ceil(np.log2(ratios.max() * SMALLEST_RATIO / ratios)).astype(np.int64)
    return np.maximum(steps, np.maximum(small, 0))


def lower_scale_bias(lowering: Lowering, node: Node, y: Affine) -> str:
    """ScaleBias: the scales as one quantized constant, the bias as int32 at sx * s.

    Raises:
        ModelError: the scales have no quantization, or the accumulator could leave 32 bits.
    """
    x = lowering.operand(node, 0)
    x_type = lowering.element(x)
    scale = lowering.operand(node, 1)
    s_type = lowering.element(scale)
    inputs = [x, scale]
    bias = None
    found = lowering.real_parameter(node, 2)
    if found is not None:
        units = _bias_units(found, s_type, x_type, lowering.graph.types[node.inputs[1]].elements)
        bias = None if units is None else np.rint(units).astype(np.int64)
    raw = lowering.editor.constants[scale].values.astype(np.int64) - s_type.zero_point[0]
    check_accumulator(lowering, node, *accumulator_range(raw.reshape(-1, 1), bias, x_type))
    check_ratio(lowering, node, x_type.scale[0] * s_type.scale[0] / y.scale[0])
    if bias is not None:
        inputs.append(lowering.constant(lowering.parameter_name(node.inputs[2]), bias, bias_type(s_type, x_type)))
    return lowering.emit(node, inputs, y)


def check_accumulator(lowering: Lowering, node: Node, low: int, high: int) -> None:
    """An accumulator in [low, high] must fit int32.

    Raises:
        ModelError: it does not.
    """
    bits = signed_bits(low, high)
    if bits > ACCUMULATOR_BITS:
        raise lowering.error(
            node,
            f"its accumulator needs {bits} bits, kernels have {ACCUMULATOR_BITS}",
            "sums this long need narrower weights or activations, or the layer split in two",
        )


def check_ratio(lowering: Lowering, node: Node, ratio: float, bits: int = 30) -> None:
    """A ratio of scales must be below 2**bits, so that it has an integer multiplier.

    Raises:
        ModelError: the output's scale is absurdly small against the inputs'.
    """
    if not ratio < 2.0**bits:
        raise lowering.error(
            node,
            f"the scale of its result is {ratio:.3g} times smaller than that of what it sums",
            "the ranges of this layer contradict each other; calibrate with real data",
        )
