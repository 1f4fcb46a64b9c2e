"""AveragePool2D: the mean of each window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InternalError
from ..ir.types import Affine, FixedPoint, TensorType
from ..numerics import Requantization, cast_fixed, choose_multipliers, dequantize_affine, quantize_affine
from .pooling import PoolAttrs, infer_pool
from .spec import Invocation, OpSpec
from .windows import merge_samples, windows

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


class MeanArithmetic(Enum):
    """Which arithmetic an average means (docs/semantics.md, "Means").

    INTEGER: the exact sum, rounded once. BINARY32: the values dequantized, added one after the other in raster order,
    divided by their number and quantized, each step rounded to IEEE 754 binary32: what a file states that has the
    float operator between DequantizeLinear and QuantizeLinear.
    """

    INTEGER = "integer"
    BINARY32 = "binary32"


BINARY32_SCALES = (2.0**-60, 2.0**60)
"""Scales with which no value, sum or mean of a binary32 average is subnormal or infinite."""

BINARY32_COUNT = 1 << 14
"""Largest window of a binary32 average: sums of 17-bit differences times 24-bit scales then stay below 2^55 units."""


@dataclass(frozen=True, slots=True)
class AveragePool2DAttrs(PoolAttrs):
    """Window geometry; `count_pads` divides by the whole window even where it covers padding."""

    count_pads: bool = False
    arithmetic: MeanArithmetic = MeanArithmetic.INTEGER


def covers_image(attrs: AveragePool2DAttrs, shape: tuple[int, ...]) -> bool:
    """Whether the only window is the whole image of `shape` (N, H, W, C)."""
    return attrs.kernel == shape[1:3] and not any(attrs.all_pads) and attrs.dilations == (1, 1)


def window_counts(attrs: AveragePool2DAttrs, shape: tuple[int, ...]) -> np.ndarray:
    """Divisor of every output position, (OH, OW) int64, for an input of `shape` (N, H, W, C)."""
    inside = np.ones((1, shape[1], shape[2], 1), np.int64)
    pads = attrs.all_pads
    if attrs.count_pads:
        top, left, bottom, right = attrs.pads
        inside = np.ones((1, shape[1] + top + bottom, shape[2] + left + right, 1), np.int64)
        pads = (0, 0, *attrs.overhang)
    view = windows(inside, attrs.kernel, attrs.strides, pads, attrs.dilations)
    return view.sum(axis=(3, 4))[0, :, :, 0]


def window_sums(call: Invocation, x: np.ndarray) -> np.ndarray:
    """Sums of each window, (S*N, OH, OW, C); pads add zero."""
    attrs = call.attrs(AveragePool2DAttrs)
    return windows(merge_samples(x), attrs.kernel, attrs.strides, attrs.all_pads, attrs.dilations).sum(axis=(3, 4))


def average_requantization(
    attrs: AveragePool2DAttrs, x: TensorType, x_element: Affine, y_element: Affine
) -> tuple[dict[int, int], Requantization]:
    """Multiplier for each divisor that occurs, and the requantization of the sums (ties to even)."""
    counts = sorted({int(c) for c in window_counts(attrs, x.shape).flat})
    ratio = x_element.scale[0] / y_element.scale[0]
    multipliers, shift = choose_multipliers([ratio / c for c in counts])
    zero, low, high = y_element.zero_point[0], y_element.minimum, y_element.maximum
    requantize = Requantization(multipliers, shift, zero, low, high, ties_to_even=True)
    return dict(zip(counts, multipliers, strict=True)), requantize


def binary32_means(attrs: AveragePool2DAttrs, x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means of binary32 values, added in raster order of the window (pads add zero, which changes nothing).

    Args:
        x: (B, H, W, C) float32.
        counts: (OH, OW) divisors.

    Returns:
        (B, OH, OW, C) float32.
    """
    view = windows(x, attrs.kernel, attrs.strides, attrs.all_pads, attrs.dilations)
    total = np.zeros((*view.shape[:3], view.shape[5]), np.float32)
    for row in range(attrs.kernel[0]):
        for column in range(attrs.kernel[1]):
            total += view[:, :, :, row, column]
    mean: np.ndarray = total / counts.astype(np.float32)[:, :, None]
    return mean


def _float(call: Invocation) -> list[np.ndarray]:
    attrs = call.attrs(AveragePool2DAttrs)
    x = call.array(0)
    counts = window_counts(attrs, call.type(0).shape)
    if attrs.arithmetic is MeanArithmetic.BINARY32:
        mean = binary32_means(attrs, merge_samples(x), counts)
    else:
        mean = window_sums(call, x) / counts.astype(np.float32)[:, :, None]
    return [mean.reshape(x.shape[0], *call.output_types[0].shape)]


def _affine(call: Invocation) -> list[np.ndarray]:
    attrs = call.attrs(AveragePool2DAttrs)
    out = call.affine_out
    x = call.array(0)
    if attrs.arithmetic is MeanArithmetic.BINARY32:
        real = merge_samples(dequantize_affine(x, call.affine(0), sample_axis=True))
        mean = binary32_means(attrs, real, window_counts(attrs, call.type(0).shape))
        return [quantize_affine(mean.reshape(x.shape[0], *call.output_types[0].shape), out, sample_axis=True)]
    sums = window_sums(call, x - call.affine(0).zero_point[0])
    table, requantize = average_requantization(attrs, call.type(0), call.affine(0), out)
    counts = window_counts(attrs, call.type(0).shape)
    factor = np.vectorize(table.__getitem__, otypes=[np.int64])(counts)[:, :, None]
    return [requantize.apply(sums, factor).reshape(x.shape[0], *call.output_types[0].shape)]


def average_accumulator(x: FixedPoint, y: FixedPoint, count: int) -> FixedPoint:
    """Type of the exact sum of `count` values, with fraction bits for the quotient.

    Dividing cuts the quotient towards zero (ap_fixed division), so it is given two fraction bits more than
    the result keeps: the cut is then below a quarter of the result's step.
    """
    frac = max(x.frac, y.frac + 2)
    whole = x.integer + (count - 1).bit_length()
    return FixedPoint(x.signed, max(whole + frac, 2), frac)


def _fixed(call: Invocation) -> list[np.ndarray]:
    attrs = call.attrs(AveragePool2DAttrs)
    if attrs.arithmetic is not MeanArithmetic.INTEGER:
        raise InternalError("a fixed-point average in binary32 (`compress.fixed_form` makes it exact)")
    x = call.array(0)
    counts = window_counts(attrs, call.type(0).shape)[:, :, None]
    accumulator = average_accumulator(call.fixed(0), call.fixed_out, attrs.kernel[0] * attrs.kernel[1])
    sums = window_sums(call, x) << (accumulator.frac - call.fixed(0).frac)
    quotient = np.where(sums < 0, -(-sums // counts), sums // counts)
    return [cast_fixed(quotient, accumulator.frac, call.fixed_out).reshape(x.shape[0], *call.output_types[0].shape)]


def import_average_pool(context: ImportContext, node: OnnxNode) -> None:
    """ONNX AveragePool, 1-D or 2-D."""
    from ..frontend.averages import states_binary32
    from ..frontend.geometry import pool_geometry

    image, rank, geometry, overhang = pool_geometry(context, node)
    attrs = AveragePool2DAttrs(
        geometry.kernel,
        geometry.strides,
        geometry.pads,
        geometry.dilations,
        overhang,
        bool(node.integer("count_include_pad", 0)),
    )
    if states_binary32(node.outputs[0], context.averages, whole=covers_image(attrs, context.type(image).shape)):
        attrs = replace(attrs, arithmetic=MeanArithmetic.BINARY32)
    y = context.emit(node, "AveragePool2D", [image], attrs)
    context.bind(node.outputs[0], context.channels_first(node, y, rank))


def import_global_average_pool(context: ImportContext, node: OnnxNode) -> None:
    """ONNX GlobalAveragePool: one window that covers the image."""
    x = context.tensor(node, 0)
    image = context.channels_last(node, x)
    size = context.type(image).shape[1:3]
    y = context.emit(node, "AveragePool2D", [image], AveragePool2DAttrs((size[0], size[1]), (1, 1)))
    context.bind(node.outputs[0], context.channels_first(node, y, len(context.type(x).shape)))


AVERAGE_POOL2D = OpSpec(
    name="AveragePool2D",
    attrs=AveragePool2DAttrs,
    doc=(
        "y[n, i, j, c] = sum of the window / number of pixels in it (padding counted only if `count_pads`). "
        "FixedPoint: the quotient is cut towards zero at `average_accumulator`'s step, then cast. "
        "Affine: the exact mean rounded once, or binary32 in raster order, as `arithmetic` says."
    ),
    infer=infer_pool,
    run_float=_float,
    run_affine=_affine,
    run_fixed=_fixed,
    importers={"AveragePool": import_average_pool, "GlobalAveragePool": import_global_average_pool},
)
