"""Depthwise 3x3 convolution for cores with the DSP extension, one channel at a time, in place.

Each channel is copied into a padded plane of halfwords, where two taps of a row are one word for SMLAD: 6 multiply
instructions for 9 taps. Measured on Cortex-M4: 13.5 instructions for an output at stride 1, 15 at stride 2, and 3 for
each input copied.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from boardfit.errors import InternalError
from boardfit.ops.conv2d import Conv2DAttrs

from ..kernel import (
    Call,
    Const,
    Function,
    FunctionPointer,
    Input,
    Kernel,
    Lowered,
    Output,
    Record,
    Scratch,
    Site,
    Table,
)
from .common import initialisers, linear_parameters
from .dsp_convolution import NEEDS, SUPPORT, refuse_linear
from .dsp_layout import addend, high_word_shift, per_output

PITCHES = (56, 104, 208, 416)
"""Bytes of a plane row; few values, so that layers share code. LDRD reaches 1020 bytes: two rows."""

SHIFTS = (8, 16, 22)
"""Shift after the high word; smaller ones are brought to it by scaling the weights by up to 2**8."""

SHAPE_BYTES = 16 * 4

FRAME = Function("depthwise_frame", "dsp/depthwise_frame.c.j2", code_bytes=0, stack_bytes=0)
DEPTHWISE = Function(
    "depthwise_3x3",
    "dsp/depthwise.c.j2",
    requires=(FRAME,),
    code_bytes=412,
    stack_bytes=190,
    headers=("string.h",),
)


@dataclass(frozen=True, slots=True)
class _Axis:
    """One direction of the image: sizes and padding, and the distance of its elements in memory."""

    inputs: int
    outputs: int
    before: int
    input_step: int
    output_step: int


@dataclass(frozen=True, slots=True)
class _Plane:
    """How a channel lies in the plane: along which direction its rows run."""

    rows: _Axis
    columns: _Axis
    stride: int
    turned: bool
    pitch: int

    @property
    def even_outputs(self) -> int:
        """Outputs of a row, made in pairs."""
        return (self.columns.outputs + 1) // 2 * 2

    @property
    def height(self) -> int:
        """Rows of the plane."""
        return (self.rows.outputs - 1) * self.stride + 3

    @property
    def instructions(self) -> int:
        """Predicted for one channel."""
        pairs = self.rows.outputs * self.even_outputs // 2
        copied = self.rows.inputs * (self.columns.inputs * 3 + 10)
        return pairs * (27 if self.stride == 1 else 30) + self.rows.outputs * 9 + copied + 130


def _width(outputs: int, stride: int) -> int:
    """Halfwords of a plane row that are read."""
    return (outputs + 1) // 2 * 2 * stride + 2


def _plane(site: Site) -> _Plane | None:
    """The cheaper of the two directions, or None if no plane row holds the image."""
    attrs = site.attrs(Conv2DAttrs)
    _, height, width, channels = site.x().shape
    _, output_height, output_width, _ = site.y.shape
    stride = attrs.strides[0]
    vertical = _Axis(height, output_height, attrs.pads[0], width * channels, output_width * channels)
    horizontal = _Axis(width, output_width, attrs.pads[1], channels, channels)
    found: list[_Plane] = []
    for turned, rows, columns in ((False, vertical, horizontal), (True, horizontal, vertical)):
        pitch = next((p for p in PITCHES if p >= 2 * _width(columns.outputs, stride)), None)
        if pitch is not None:
            found.append(_Plane(rows, columns, stride, turned, pitch))
    return min(found, key=lambda plane: plane.instructions, default=None)


def _shift(shift: int) -> int | None:
    return next((s for s in SHIFTS if s - 8 <= shift <= s), None)


def _refuse(site: Site) -> str | None:
    attrs = site.attrs(Conv2DAttrs)
    channels = site.x().shape[3]
    if attrs.groups != channels or site.y.shape[3] != channels or site.x().shape[0] != 1:
        return "it is not depthwise with one filter a channel"
    if site.x(1).shape[1:3] != (3, 3) or attrs.dilations != (1, 1) or attrs.strides not in ((1, 1), (2, 2)):
        return "it is not 3x3 with stride 1 or 2"
    if min(attrs.pads) < 0 or _plane(site) is None:
        return "the image does not fit a plane"
    reason = refuse_linear(site)
    if reason:
        return reason
    parameters = linear_parameters(site, attrs.activation)
    r = parameters.requantization
    if parameters.weights.dtype != np.int8 or _shift(high_word_shift(r)) is None:
        return "its weights or multipliers do not fit"
    if (r.low, r.high) != (-128, 127):
        return "the activation clamps inside the int8 range"
    largest = np.abs(parameters.folded.astype(np.int64)) + 9 * (1 << 14)
    if int(largest.max(initial=0)) >= 1 << 23:
        return "its sums do not fit 23 bits"
    return None


def _lower(site: Site) -> Lowered:
    attrs = site.attrs(Conv2DAttrs)
    plane = _plane(site)
    if plane is None:
        raise InternalError(f"'{site.node.name}' does not fit a plane")
    parameters = linear_parameters(site, attrs.activation)
    r = parameters.requantization
    shift = high_word_shift(r)
    target = _shift(shift) or 0
    rows, columns, stride, pitch = plane.rows, plane.columns, plane.stride, plane.pitch
    channels = site.x().shape[3]
    channel = Function(
        f"depthwise_channel_s{stride}_p{pitch}_n{target}",
        "dsp/depthwise_channel.c.j2",
        {"stride": stride, "pitch": pitch, "shift": target},
        (SUPPORT, FRAME),
        code_bytes=150 if stride == 1 else 162,
        stack_bytes=64,
    )
    copied_columns = min(columns.inputs, _width(columns.outputs, stride) - columns.before)
    copied_rows = min(rows.inputs, plane.height - rows.before)
    shape = Record(
        "shape",
        f"{DEPTHWISE.name}_shape",
        initialisers(
            channels=channels,
            rows=copied_rows,
            columns=copied_columns,
            row_step=rows.input_step,
            column_step=columns.input_step,
            first=rows.before * pitch // 2 + columns.before,
            pitch=pitch // 2,
            plane_words=pitch // 4 * plane.height,
            zero=parameters.zero,
            scale=1 << (target - shift),
            addend=addend(r, target - shift),
            step=columns.output_step,
            row_fix=rows.output_step - plane.even_outputs * columns.output_step,
            output_rows=rows.outputs,
            source_gap=pitch * stride - 2 * plane.even_outputs * stride,
            row_bytes=2 * columns.outputs * stride,
        ),
        SHAPE_BYTES,
    )
    weights = parameters.weights[..., 0]
    if plane.turned:
        weights = weights.transpose(0, 2, 1)
    bias = (parameters.folded.astype(np.int64) << (target - shift)).astype(np.uint32)
    sums = np.stack([bias, np.array(per_output(r, channels), np.uint32)], axis=1).reshape(-1)
    return Lowered(
        calls=(
            Call(
                DEPTHWISE,
                (
                    Input(),
                    Output(),
                    Const("weights"),
                    Const("sums"),
                    FunctionPointer(channel),
                    Const("shape"),
                    Scratch("int16_t"),
                ),
            ),
        ),
        tables=(
            Table("weights", np.ascontiguousarray(weights).reshape(-1), "3x3 taps of every channel"),
            Table("sums", sums, f"of every channel: start sum, multiplier times 2^-{r.shift}"),
        ),
        records=(shape,),
        scratch_bytes=pitch * plane.height,
        in_place=(0,),
        instructions=channels * plane.instructions + 3 * pitch // 4 * plane.height,
        note="turned plane" if plane.turned else "",
    )


KERNELS = (Kernel("conv2d/dsp_depthwise3x3", "Conv2D", _refuse, _lower, NEEDS),)
