"""Convolutions for Thumb cores whose only fast product is 32 x 32 -> 32 bits (Cortex-M0+; also M3).

Four output pixels share each weight; sums live in the high registers. Measured on Armv6-M code: 2.8 instructions for
each multiplication of a convolution, 30 for each output.
"""

from __future__ import annotations

import math

import numpy as np

from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.plan.overlap import safe_distance

from ..kernel import Const, Function, Kernel, Lowered, Record, Scratch, Site, Table
from .common import initialisers, linear_parameters, window_fields
from .int8_layers import (
    Rows,
    clamps,
    images_of,
    lower_lines,
    refuse_depthwise,
    refuse_linear,
    refuse_parameters,
    requantization_fields,
)

NEEDS = frozenset({"thumb", "multiply"})
PIXELS = 4
WORD = 4
SUM_LIMIT = 1 << 29
"""Sums below this have a high halfword that times a halfword leaves room for the other products."""

MAX_TAPS = 63
CONVOLUTION_SHAPE_BYTES = 21 * 4

SUPPORT = Function("thumb_support", "thumb/support.c.j2", code_bytes=0, stack_bytes=0)


def _refuse_sums(site: Site) -> str | None:
    """Why weights, sums or requantization do not suit, whatever the geometry."""
    parameters = linear_parameters(site, site.attrs(Conv2DAttrs).activation)
    reason = refuse_parameters(parameters)
    if reason:
        return reason
    sums = 128 * np.abs(parameters.weights.astype(np.int64)).reshape(len(parameters.weights), -1).sum(axis=1)
    if int((sums + np.abs(parameters.folded.astype(np.int64))).max(initial=0)) >= SUM_LIMIT:
        return "its sums do not fit 29 bits"
    return None


def _refuse_convolution(site: Site) -> str | None:
    attrs = site.attrs(Conv2DAttrs)
    if attrs.groups != 1:
        return "it has groups"
    if min(attrs.pads) < 0:
        return "its padding crops"
    return refuse_linear(site) or _refuse_sums(site)


def _refuse_depthwise(site: Site) -> str | None:
    return refuse_depthwise(site, MAX_TAPS) or refuse_linear(site) or _refuse_sums(site)


def _output_instructions(clamp: bool) -> int:
    """Requantizing one sum."""
    return 25 if clamp else 21


def multiply_stream(weights: np.ndarray, bias: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
    """What `thumb/multiply.c.j2` reads: for every output its bias, weights by fours, multiplier; flat uint32.

    Args:
        weights: (outputs, depth) int8.
        bias, multiplier: (outputs,) int32.
    """
    outputs, depth = weights.shape
    padded = np.zeros((outputs, -(-depth // WORD) * WORD), np.int8)
    padded[:, :depth] = weights
    columns = [bias.astype(np.uint32)[:, None], padded.view(np.uint32), multiplier.astype(np.uint32)[:, None]]
    return np.concatenate(columns, axis=1).reshape(-1)


def _lower_convolution(site: Site) -> Lowered:
    attrs = site.attrs(Conv2DAttrs)
    parameters = linear_parameters(site, attrs.activation)
    images, height, width, channels = site.x().shape
    _, rows, columns, outputs = site.y.shape
    kh, kw = site.x(1).shape[1:3]
    clamp = clamps(parameters.requantization)
    multiply = Function(
        f"multiply_four_pixels{'_clamp' if clamp else ''}",
        "thumb/multiply.c.j2",
        {"clamp": clamp},
        (SUPPORT,),
        code_bytes=392 + 32 * clamp,
        stack_bytes=80,
    )
    function = Function(
        f"convolution_four_pixels{'_clamp' if clamp else ''}",
        "thumb/convolution.c.j2",
        {"multiply": multiply.name},
        (multiply,),
        code_bytes=414,
        stack_bytes=240,
    )
    depth = kh * kw * channels
    multiplier = np.broadcast_to(parameters.multiplier, (outputs,))
    stream = multiply_stream(parameters.weights.reshape(outputs, depth), parameters.folded, multiplier)
    words = -(-depth // WORD)
    pixels = rows * columns
    fields = initialisers(
        height=height,
        width=width,
        channels=channels,
        **window_fields((kh, kw), attrs),
        output_width=columns,
        pixels=pixels,
        outputs=outputs,
        zero=parameters.zero,
        column_words=words * WORD * PIXELS,
        stream_words=stream.size,
        **requantization_fields(parameters.requantization),
    )
    note = f"for each output channel bias, weights, multiplier times 2^-{parameters.requantization.shift}"
    per_output = 15 + 45 * words + PIXELS * (5 + _output_instructions(clamp))
    gather = PIXELS * (30 + kh * (12 + kw * (22 + 5 * channels)))
    return Lowered(
        calls=images_of(site, function, Const("stream"), Const("shape"), Scratch("int32_t")),
        tables=(Table("stream", stream, note),),
        records=(Record("shape", f"{function.name}_shape", fields, CONVOLUTION_SHAPE_BYTES),),
        scratch_bytes=4 * words * WORD * PIXELS,
        overlap=_overlap(site),
        instructions=images * math.ceil(pixels / PIXELS) * (60 + gather + outputs * per_output),
    )


def _overlap(site: Site) -> dict[int, int]:
    """Four pixels, which may cross the end of a row, are read before they are written."""
    if site.x().shape[0] != 1:
        return {}
    attrs = site.attrs(Conv2DAttrs)
    _, height, width, channels = site.x().shape
    _, rows, columns, outputs = site.y.shape
    first = np.arange(0, rows * columns, PIXELS)
    written = np.minimum(first + PIXELS, rows * columns) * outputs
    row, column = first // columns, first % columns
    # a group that goes on into the next row reads there no earlier than that row's first pixel
    oldest = []
    for r, c in ((row, column), (row + (column + PIXELS > columns), np.where(column + PIXELS > columns, 0, column))):
        y = np.clip(r * attrs.strides[0] - attrs.pads[0], 0, height - 1)
        x = np.clip(c * attrs.strides[1] - attrs.pads[1], 0, width - 1)
        oldest.append((y * width + x) * channels)
    return {0: safe_distance(written, np.minimum(*oldest), buffered=True)}


def _row(kernel: tuple[int, int], pixels: int, clamp: bool) -> Function:
    kh, kw = kernel
    taps = kh * kw
    group = 30 + kh * 2 + taps * (3 + 3 * pixels) + pixels * (3 + _output_instructions(clamp))
    return Function(
        f"depthwise_row_{kh}x{kw}_{pixels}{'_clamp' if clamp else ''}",
        "thumb/depthwise_row.c.j2",
        {"kernel_height": kh, "kernel_width": kw, "taps": taps, "pixels": pixels, "clamp": clamp},
        (SUPPORT,),
        code_bytes=2 * group + 90,
        stack_bytes=124,
    )


def _lower_depthwise(site: Site) -> Lowered:
    clamp = clamps(linear_parameters(site, site.attrs(Conv2DAttrs).activation).requantization)
    kh, kw = site.x(1).shape[1:3]
    taps = kh * kw

    def group_instructions(pixels: int) -> int:
        return 27 + pixels + kh + taps * (3 + 3 * pixels) + pixels * (3 + _output_instructions(clamp))

    return lower_lines(
        site,
        Rows(
            _row((kh, kw), PIXELS, clamp),
            _row((kh, kw), 1, clamp),
            group_instructions,
            per_row=200,
            per_byte=6.0,
            name=f"depthwise_{kh}x{kw}_four_pixels{'_clamp' if clamp else ''}",
        ),
    )


KERNELS = (
    Kernel("conv2d/thumb", "Conv2D", _refuse_convolution, _lower_convolution, NEEDS),
    Kernel("conv2d/thumb_depthwise", "Conv2D", _refuse_depthwise, _lower_depthwise, NEEDS),
)
