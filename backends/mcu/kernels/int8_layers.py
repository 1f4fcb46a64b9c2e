"""What the int8 kernels of several cores share: refusals, the requantization on the high word, depthwise rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from boardfit.numerics import Requantization
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.plan.overlap import safe_distance

from ..kernel import Call, Const, Function, Input, Lowered, Output, Record, Scratch, Site, Table
from ..storage import S8
from .common import LinearParameters, affine_refusal, initialisers, linear_parameters, linear_refusal

HIGH_WORD = 32
MOST_SHIFT = 23
MAX_ROWS = 5
LINES_SHAPE_BYTES = 16 * 4


def refuse_linear(site: Site) -> str | None:
    """Why a layer does not suit int8 matrix products, whatever its geometry."""
    reason = affine_refusal(site, 0) or linear_refusal(site)
    if reason:
        return reason
    if site.x_storage() != S8 or site.y_storage != S8:
        return "its activations are not int8"
    return None


def refuse_parameters(parameters: LinearParameters) -> str | None:
    """Why weights and requantization do not suit int8 products and the high word of a product, or None."""
    if parameters.weights.dtype != np.int8:
        return "its weights less their zero point do not fit int8"
    requantization = parameters.requantization
    if requantization.ties_to_even:
        return "its requantization rounds ties to even"
    if not 1 <= high_word_shift(requantization) <= MOST_SHIFT:
        return f"requantization shift {requantization.shift}"
    return None


def refuse_depthwise(site: Site, most_taps: int) -> str | None:
    """Why the geometry of a convolution is not that of `lower_lines`, or None."""
    attrs = site.attrs(Conv2DAttrs)
    kh, kw = site.x(1).shape[1:3]
    if attrs.groups != site.x().shape[3] or attrs.groups != site.y.shape[3]:
        return "it is not depthwise with one output per channel"
    if attrs.dilations != (1, 1):
        return "it is dilated"
    if min(attrs.pads) < 0:
        return "its padding crops"
    if kh > MAX_ROWS or kh * kw > most_taps:
        return f"a kernel of {kh}x{kw} is too large"
    return None


def high_word_shift(requantization: Requantization) -> int:
    """What is left to shift after the high word of the product is taken."""
    return requantization.shift - HIGH_WORD


def addend(requantization: Requantization) -> int:
    """Zero point and one half, as added to the high word of the product."""
    shift = high_word_shift(requantization)
    return (requantization.zero_point << shift) + (1 << (shift - 1))


def clamps(requantization: Requantization) -> bool:
    """Whether the activation bounds the output inside the int8 range."""
    return (requantization.low, requantization.high) != (-128, 127)


def requantization_fields(requantization: Requantization) -> dict[str, int]:
    """Members of the shape structs: addend, shift and bounds."""
    return {
        "addend": addend(requantization),
        "shift": high_word_shift(requantization),
        "low": requantization.low,
        "high": requantization.high,
    }


def round_up(value: int, unit: int) -> int:
    """The smallest multiple of `unit` that is not below `value`."""
    return -(-value // unit) * unit


def images_of(site: Site, function: Function, *after: Const | Scratch) -> tuple[Call, ...]:
    """One call for each image of the batch."""
    image_in, image_out = math.prod(site.x().shape[1:]), math.prod(site.y.shape[1:])
    return tuple(
        Call(function, (Input(0, i * image_in), Output(0, i * image_out), *after)) for i in range(site.x().shape[0])
    )


def padded_columns(site: Site) -> tuple[int, int]:
    """(columns the windows reach beyond the right edge, columns of a padded row)."""
    attrs = site.attrs(Conv2DAttrs)
    width, columns, kernel_width = site.x().shape[2], site.y.shape[2], site.x(1).shape[2]
    reach = (columns - 1) * attrs.strides[1] + (kernel_width - 1) * attrs.dilations[1] + 1
    right = max(0, reach - attrs.pads[1] - width)
    return right, attrs.pads[1] + width + right


def row_geometry(site: Site, zero: int) -> dict[str, int]:
    """Fields of the shape of a kernel that copies the rows under a row of outputs into scratch memory."""
    attrs = site.attrs(Conv2DAttrs)
    _, height, width, channels = site.x().shape
    return {
        "height": height,
        "width": width,
        "channels": channels,
        "kernel_height": site.x(1).shape[1],
        "stride_y": attrs.strides[0],
        "stride_x": attrs.strides[1],
        "dilation_y": attrs.dilations[0],
        "top": attrs.pads[0],
        "left": attrs.pads[1],
        "right": padded_columns(site)[0],
        "output_height": site.y.shape[1],
        "output_width": site.y.shape[2],
        "zero": zero,
    }


def lines_overlap(site: Site) -> dict[int, int]:
    """`Lowered.overlap` of a kernel that copies the input rows under an output row before it writes that row."""
    attrs = site.attrs(Conv2DAttrs)
    images, height, width, channels = site.x().shape
    _, rows, columns, outputs = site.y.shape
    index = np.arange(rows)
    first_read = np.clip((index - 1) * attrs.strides[0] + site.x(1).shape[1] - attrs.pads[0], 0, height) * (index > 0)
    distance = safe_distance((index + 1) * columns * outputs, first_read * width * channels, buffered=True)
    return {0: distance} if images == 1 else {}


def copied_rows(site: Site) -> int:
    """Padded input rows that such a kernel copies."""
    attrs = site.attrs(Conv2DAttrs)
    kernel_height = site.x(1).shape[1]
    every = site.x().shape[1] + attrs.pads[0] + attrs.pads[2]
    return min(site.y.shape[1] * min(attrs.strides[0], kernel_height) + kernel_height, every)


@dataclass(frozen=True, slots=True)
class Rows:
    """Functions that make a row of a depthwise convolution, for `lower_lines`.

    Attributes:
        function: four output pixels at a time.
        single: one output pixel at a time.
        group_instructions: output pixels at a time -> predicted instructions of a group of one channel.
        per_row, per_byte: predicted instructions around an output row, and of copying a byte.
        name: of the function around them.
    """

    function: Function
    single: Function
    group_instructions: Callable[[int], int]
    per_row: int
    per_byte: float
    name: str


def lower_lines(site: Site, rows: Rows) -> Lowered:
    """A depthwise convolution on copies of the input rows with their padding (`depthwise_lines.c.j2`)."""
    attrs = site.attrs(Conv2DAttrs)
    parameters = linear_parameters(site, attrs.activation)
    images, height, width, channels = site.x().shape
    kh, kw = site.x(1).shape[1:3]
    _, output_rows, columns, _ = site.y.shape
    function = Function(
        rows.name,
        "depthwise_lines.c.j2",
        {"row": rows.function.name, "single": rows.single.name, "kernel_height": kh},
        (rows.function, rows.single),
        code_bytes=490,
        stack_bytes=200 + (rows.function.stack_bytes or 0),
    )
    right, padded = padded_columns(site)
    groups, rest = divmod(columns, 4)
    fields = initialisers(
        height=height,
        row_bytes=width * channels,
        stride_y=attrs.strides[0],
        top=attrs.pads[0],
        left=attrs.pads[1] * channels,
        right=right * channels,
        output_height=output_rows,
        groups=groups,
        rest=rest,
        step=attrs.strides[1] * channels,
        channels=channels,
        zero=parameters.zero,
        **requantization_fields(parameters.requantization),
    )
    constants = np.stack([parameters.folded, np.broadcast_to(parameters.multiplier, (channels,))], axis=1)
    note = f"bias and multiplier times 2^-{parameters.requantization.shift} of each channel"
    line = padded * channels
    per_channel = groups * rows.group_instructions(4) + rest * rows.group_instructions(1)
    return Lowered(
        calls=images_of(site, function, Const("weights"), Const("constants"), Const("shape"), Scratch("int8_t")),
        tables=(
            Table("weights", parameters.weights.reshape(channels, kh * kw), f"{channels}x{kh}x{kw}"),
            Table("constants", constants, note),
        ),
        records=(Record("shape", f"{function.name}_shape", fields, LINES_SHAPE_BYTES),),
        scratch_bytes=kh * line,
        overlap=lines_overlap(site),
        instructions=images
        * (
            output_rows * (rows.per_row + channels * per_channel)
            + copied_rows(site) * (60 + round(rows.per_byte * line))
        ),
    )
