"""Convolutions for Thumb cores whose only fast product is 32 x 32 -> 32 bits (Cortex-M0+; also M3).

Four output pixels share each weight; sums live in the high registers. Measured on Armv6-M code: 2.8 instructions for
each multiplication of a convolution, 30 for each output.
"""

from __future__ import annotations

import math

import numpy as np

from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.plan.overlap import safe_distance

from ..kernel import Call, Const, Function, Input, Kernel, Lowered, Output, Record, Scratch, Site, Table
from ..storage import S8
from .common import LinearParameters, affine_refusal, initialisers, linear_parameters, linear_refusal

NEEDS = frozenset({"thumb", "multiply"})
PIXELS = 4
WORD = 4
HIGH_WORD = 32
MOST_SHIFT = 23
SUM_LIMIT = 1 << 29
"""Sums below this have a high halfword that times a halfword leaves room for the other products."""

MAX_ROWS = 5
MAX_TAPS = 63
CONVOLUTION_SHAPE_BYTES = 21 * 4
DEPTHWISE_SHAPE_BYTES = 16 * 4

SUPPORT = Function("thumb_support", "thumb/support.c.j2", code_bytes=0, stack_bytes=0)


def _refuse_linear(site: Site) -> str | None:
    """Why a layer does not suit, whatever its geometry."""
    reason = affine_refusal(site, 0) or linear_refusal(site)
    if reason:
        return reason
    if site.x_storage() != S8 or site.y_storage != S8:
        return "its activations are not int8"
    attrs = site.attrs(Conv2DAttrs)
    if min(attrs.pads) < 0:
        return "its padding crops"
    parameters = linear_parameters(site, attrs.activation)
    if parameters.weights.dtype != np.int8:
        return "its weights less their zero point do not fit int8"
    shift = parameters.requantization.shift - HIGH_WORD
    if shift < 1 or shift > MOST_SHIFT:
        return f"requantization shift {parameters.requantization.shift}"
    sums = 128 * np.abs(parameters.weights.astype(np.int64)).reshape(len(parameters.weights), -1).sum(axis=1)
    if int((sums + np.abs(parameters.folded.astype(np.int64))).max(initial=0)) >= SUM_LIMIT:
        return "its sums do not fit 29 bits"
    return None


def _refuse_convolution(site: Site) -> str | None:
    return "it has groups" if site.attrs(Conv2DAttrs).groups != 1 else _refuse_linear(site)


def _refuse_depthwise(site: Site) -> str | None:
    attrs = site.attrs(Conv2DAttrs)
    kh, kw = site.x(1).shape[1:3]
    if attrs.groups != site.x().shape[3] or attrs.groups != site.y.shape[3]:
        return "it is not depthwise with one output per channel"
    if attrs.dilations != (1, 1):
        return "it is dilated"
    if kh > MAX_ROWS or kh * kw > MAX_TAPS:
        return f"a kernel of {kh}x{kw} is too large"
    return _refuse_linear(site)


def _clamps(parameters: LinearParameters) -> bool:
    r = parameters.requantization
    return (r.low, r.high) != (-128, 127)


def _requantization_fields(parameters: LinearParameters) -> dict[str, int]:
    r = parameters.requantization
    shift = r.shift - HIGH_WORD
    return {"addend": (r.zero_point << shift) + (1 << (shift - 1)), "shift": shift, "low": r.low, "high": r.high}


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
    clamp = _clamps(parameters)
    multiply = Function(
        f"multiply_four_pixels{'_clamp' if clamp else ''}",
        "thumb/multiply.c.j2",
        {"clamp": clamp},
        (SUPPORT,),
        code_bytes=420 + 32 * clamp,
        stack_bytes=80,
    )
    function = Function(
        f"convolution_four_pixels{'_clamp' if clamp else ''}",
        "thumb/convolution.c.j2",
        {"multiply": multiply.name},
        (multiply,),
        code_bytes=400,
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
        kernel_height=kh,
        kernel_width=kw,
        stride_y=attrs.strides[0],
        stride_x=attrs.strides[1],
        dilation_y=attrs.dilations[0],
        dilation_x=attrs.dilations[1],
        top=attrs.pads[0],
        left=attrs.pads[1],
        output_width=columns,
        pixels=pixels,
        outputs=outputs,
        zero=parameters.zero,
        column_words=words * WORD * PIXELS,
        stream_words=stream.size,
        **_requantization_fields(parameters),
    )
    note = f"for each output channel bias, weights, multiplier times 2^-{parameters.requantization.shift}"
    image_in, image_out = math.prod(site.x().shape[1:]), math.prod(site.y.shape[1:])
    constants = (Const("stream"), Const("shape"), Scratch("int32_t"))
    per_output = 15 + 45 * words + PIXELS * (5 + _output_instructions(clamp))
    gather = PIXELS * (30 + kh * (12 + kw * (22 + 5 * channels)))
    return Lowered(
        calls=tuple(
            Call(function, (Input(0, i * image_in), Output(0, i * image_out), *constants)) for i in range(images)
        ),
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
        code_bytes=2 * group + 120,
        stack_bytes=124,
    )


def group_instructions(kernel: tuple[int, int], pixels: int, clamp: bool) -> int:
    """Executed instructions of one group of output pixels of one channel."""
    kh, kw = kernel
    taps = kh * kw
    return 22 + pixels + 2 * kh + taps * (3 + 3 * pixels) - kh + pixels * (3 + _output_instructions(clamp))


def _lower_depthwise(site: Site) -> Lowered:
    attrs = site.attrs(Conv2DAttrs)
    parameters = linear_parameters(site, attrs.activation)
    images, height, width, channels = site.x().shape
    _, rows, columns, _ = site.y.shape
    kh, kw = site.x(1).shape[1:3]
    clamp = _clamps(parameters)
    row, single = (_row((kh, kw), pixels, clamp) for pixels in (PIXELS, 1))
    function = Function(
        f"depthwise_{kh}x{kw}_four_pixels{'_clamp' if clamp else ''}",
        "depthwise_lines.c.j2",
        {"row": row.name, "single": single.name, "kernel_height": kh},
        (row, single),
        code_bytes=480,
        stack_bytes=200 + (row.stack_bytes or 0),
    )
    right = max(0, (columns - 1) * attrs.strides[1] + kw - attrs.pads[1] - width)
    groups, rest = divmod(columns, PIXELS)
    fields = initialisers(
        height=height,
        row_bytes=width * channels,
        stride_y=attrs.strides[0],
        top=attrs.pads[0],
        left=attrs.pads[1] * channels,
        right=right * channels,
        output_height=rows,
        groups=groups,
        rest=rest,
        step=attrs.strides[1] * channels,
        channels=channels,
        zero=parameters.zero,
        **_requantization_fields(parameters),
    )
    multiplier = np.broadcast_to(parameters.multiplier, (channels,))
    constants = np.stack([parameters.folded, multiplier], axis=1)
    weights = parameters.weights.reshape(channels, kh * kw)
    line = (attrs.pads[1] + width + right) * channels
    shift = parameters.requantization.shift
    image_in, image_out = math.prod(site.x().shape[1:]), math.prod(site.y.shape[1:])
    arguments = (Const("weights"), Const("constants"), Const("shape"), Scratch("int8_t"))
    index = np.arange(rows)  # a row is written after the input rows up to its kernel's end have been copied
    first_read = np.clip((index - 1) * attrs.strides[0] + kh - attrs.pads[0], 0, height) * (index > 0)
    distance = safe_distance((index + 1) * columns * channels, first_read * width * channels, buffered=True)
    per_channel = groups * group_instructions((kh, kw), PIXELS, clamp) + (20 if groups else 0)
    per_channel += rest * group_instructions((kh, kw), 1, clamp) + (20 if rest else 0)
    copied = min(rows * min(attrs.strides[0], kh) + kh, height + attrs.pads[0] + attrs.pads[2])
    return Lowered(
        calls=tuple(
            Call(function, (Input(0, i * image_in), Output(0, i * image_out), *arguments)) for i in range(images)
        ),
        tables=(
            Table("weights", weights, f"{channels}x{kh}x{kw}"),
            Table("constants", constants, f"bias and multiplier times 2^-{shift} of each channel"),
        ),
        records=(Record("shape", f"{function.name}_shape", fields, DEPTHWISE_SHAPE_BYTES),),
        scratch_bytes=kh * line,
        overlap={0: distance} if images == 1 else {},
        instructions=images * (rows * (200 + channels * per_channel) + copied * (60 + 6 * line)),
    )


KERNELS = (
    Kernel("conv2d/thumb", "Conv2D", _refuse_convolution, _lower_convolution, NEEDS),
    Kernel("conv2d/thumb_depthwise", "Conv2D", _refuse_depthwise, _lower_depthwise, NEEDS),
)
