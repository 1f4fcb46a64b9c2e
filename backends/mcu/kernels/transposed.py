"""Transposed convolution in portable C: one ordinary convolution for each phase of the output.

Output row oy = stride * q + p receives input row iy through kernel row r where oy + top = stride * iy + r * dilation.
For a phase p only the kernel rows with (p + top - r * dilation) divisible by the stride take part, and they form an
ordinary convolution over q with unit stride: no product is with a zero that was stuffed between pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.conv_transpose2d import ConvTranspose2DAttrs

from ..kernel import Call, Const, Input, Kernel, Lowered, Output, Record, Scratch, Site, Table
from .common import LinearParameters, affine_refusal, linear_parameters, linear_refusal
from .convolution import patch_function, patch_instructions, patch_record
from .linear import VARIANTS


@dataclass(frozen=True, slots=True)
class Phase:
    """One axis of one phase: kernel taps in the order of rising input positions, and where they start.

    `outputs` positions of the output belong to it; `start` is the input position of the first tap for the first one.
    """

    taps: tuple[int, ...]
    start: int
    dilation: int
    outputs: int


def phases(stride: int, dilation: int, kernel: int, before: int, size: int) -> list[Phase]:
    """The phases of one axis with `size` output positions; every kernel tap is in exactly one of each cycle."""
    found: list[Phase] = []
    for phase in range(min(stride, size)):
        taps = [tap for tap in range(kernel) if (phase + before - tap * dilation) % stride == 0]
        taps.reverse()  # a later tap reads an earlier position
        positions = [(phase + before - tap * dilation) // stride for tap in taps]
        gap = positions[1] - positions[0] if len(positions) > 1 else 1
        outputs = -(-(size - phase) // stride)
        found.append(Phase(tuple(taps), positions[0] if positions else 0, gap, outputs))
    return found


def _refuse(site: Site) -> str | None:
    return affine_refusal(site, 0) or linear_refusal(site)


def _phase_weights(parameters: LinearParameters, rows: Phase, columns: Phase) -> np.ndarray:
    """(out, taps of the phase * in / groups); one zero tap where the phase has none: its output is the bias alone."""
    out, _, _, per_group = parameters.weights.shape
    if not rows.taps or not columns.taps:
        return np.zeros((out, per_group), parameters.weights.dtype)
    picked = parameters.weights[:, list(rows.taps)][:, :, list(columns.taps)]
    return np.ascontiguousarray(picked).reshape(out, -1)


def _lower(variant: str, site: Site) -> Lowered:
    attrs = site.attrs(ConvTranspose2DAttrs)
    parameters = linear_parameters(site, attrs.activation)
    out, kh, kw, _ = parameters.weights.shape
    batch, height, width, channels = site.y.shape
    function = patch_function(variant, site, parameters)
    requantization = parameters.requantization
    tables: list[Table] = [Table("multiplier", parameters.multiplier, f"times 2^-{requantization.shift}")]
    records: list[Record] = []
    calls: list[Call] = []
    instructions, patch = 0, 0
    image_in, image_out = math.prod(site.x().shape[1:]), height * width * channels
    for i, rows in enumerate(phases(attrs.strides[0], attrs.dilations[0], kh, attrs.pads[0], height)):
        for j, columns in enumerate(phases(attrs.strides[1], attrs.dilations[1], kw, attrs.pads[1], width)):
            weights = _phase_weights(parameters, rows, columns)
            bias = parameters.bias - parameters.zero * weights.astype(np.int64).sum(axis=1)
            taps = (max(len(rows.taps), 1), max(len(columns.taps), 1))
            if not rows.taps or not columns.taps:
                taps = (1, 1)
            stem = f"{i}_{j}"
            geometry = Conv2DAttrs(
                pads=(-rows.start, -columns.start, 0, 0),
                dilations=(rows.dilation, columns.dilation),
                groups=attrs.groups,
            )
            strides = (attrs.strides[0] * width * out, attrs.strides[1] * out)
            size = (rows.outputs, columns.outputs)
            records.append(patch_record(f"shape_{stem}", site, function, parameters, geometry, taps, size, strides))
            tables.append(Table(f"weights_{stem}", weights, f"phase {i}, {j}: {weights.shape[0]}x{weights.shape[1]}"))
            tables.append(Table(f"bias_{stem}", bias.astype(np.int32), "bias, the input's zero point folded in"))
            patch = max(patch, weights.shape[1])
            pixels = batch * rows.outputs * columns.outputs
            instructions += patch_instructions(
                variant, pixels, attrs.groups, weights.shape[1], taps[0] * taps[1], out // attrs.groups
            )
            calls += [
                Call(
                    function,
                    (
                        Input(0, image * image_in),
                        Output(0, image * image_out + (i * width + j) * out),
                        Const(f"weights_{stem}"),
                        Const(f"bias_{stem}"),
                        Const("multiplier"),
                        Const(f"shape_{stem}"),
                        Scratch(site.x_storage().c_type),
                    ),
                )
                for image in range(batch)
            ]
    return Lowered(
        calls=tuple(calls),
        tables=tuple(tables),
        records=tuple(records),
        scratch_bytes=patch * site.x_storage().bytes,
        instructions=instructions,
    )


def _kernel(variant: str) -> Kernel:
    def lower(site: Site) -> Lowered:
        return _lower(variant, site)

    return Kernel(f"conv_transpose2d/phases_{variant}", "ConvTranspose2D", _refuse, lower)


KERNELS = tuple(map(_kernel, VARIANTS))
