"""Depthwise convolution for Helium: 16 channels at a time, products added in halfwords while they cannot overflow."""

from __future__ import annotations

import math

import numpy as np

from boardfit.ops.conv2d import Conv2DAttrs

from ..kernel import Const, Function, Kernel, Lowered, Record, Scratch, Site, Table
from .common import LinearParameters, initialisers, linear_parameters
from .int8_layers import (
    addend,
    clamps,
    copied_rows,
    images_of,
    lines_overlap,
    padded_columns,
    refuse_depthwise,
    refuse_linear,
    refuse_parameters,
    round_up,
)
from .mve_layout import LANES, shift_left
from .mve_linear import NEEDS, SPREAD, SUPPORT, spread_instructions

MAX_TAPS = 31
SHAPE_BYTES = 13 * 4 + 17 * 4
WORD_ORDER = np.array([0, 4, 8, 12, 2, 6, 10, 14, 1, 5, 9, 13, 3, 7, 11, 15])
"""Lanes of the four vectors of words that VMULL and VMOVL give."""


def halfword_groups(weights: np.ndarray) -> tuple[int, ...]:
    """Lengths of runs of taps whose products, for any int8 inputs, add up to a halfword; as few and even as possible.

    Args:
        weights: (taps, channels) int8.
    """
    taps = len(weights)
    values = weights.astype(np.int64)
    high = np.where(values > 0, 127 * values, -128 * values)
    low = np.where(values > 0, 128 * values, -127 * values)
    for count in range(1, taps):
        runs = np.array_split(np.arange(taps), count)
        if all(high[run].sum(axis=0).max() <= 32767 and low[run].sum(axis=0).max() <= 32768 for run in runs):
            return tuple(map(len, runs))
    return (1,) * taps


def depthwise_stream(weights: np.ndarray, bias: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
    """What `mve/depthwise_row.c.j2` reads: for every 16 lanes the weights by taps, biases, multipliers.

    Args:
        weights: (taps, lanes) int8, a multiple of 16 lanes.
        bias, multiplier: (lanes,) int32.
    """
    blocks = weights.shape[1] // LANES
    by_block = weights.reshape(len(weights), blocks, LANES).transpose(1, 0, 2)
    words = np.ascontiguousarray(by_block).reshape(blocks, -1).view(np.uint32)
    constants = [values.reshape(blocks, LANES)[:, WORD_ORDER].astype(np.uint32) for values in (bias, multiplier)]
    return np.concatenate([words, *constants], axis=1).reshape(-1)


def _packed(site: Site) -> bool:
    """Whether neighbouring pixels share a vector: few channels, next to each other in the output as in the input."""
    channels = site.x().shape[3]
    return channels < LANES and LANES % channels == 0 and site.attrs(Conv2DAttrs).strides[1] == 1


def _refuse(site: Site) -> str | None:
    reason = refuse_linear(site)
    if reason:
        return reason
    reason = refuse_depthwise(site, MAX_TAPS)
    if reason:
        return reason
    attrs = site.attrs(Conv2DAttrs)
    return refuse_parameters(linear_parameters(site, attrs.activation))


def turn_instructions(groups: tuple[int, ...], kernel_height: int, packed: bool, clamp: bool) -> int:
    """Executed instructions for 16 outputs."""
    count = sum(4 + (size - 1) * (6 if number < 2 else 7) for number, size in enumerate(groups))
    merges = 4 if len(groups) == 1 else 12 + 8 * (len(groups) - 2)
    return count + merges + 24 + 3 + 3 + kernel_height + 1 + 2 * packed + 8 * clamp


def _row_function(site: Site, parameters: LinearParameters, groups: tuple[int, ...]) -> Function:
    packed, clamp = _packed(site), clamps(parameters.requantization)
    channels = site.x().shape[3]
    kh, kw = site.x(1).shape[1:3]
    sizes = "_".join(map(str, groups))
    name = f"mve_depthwise_row_{kh}x{kw}_{sizes}{f'_packed{channels}' if packed else ''}{'_clamp' if clamp else ''}"
    turn = turn_instructions(groups, kh, packed, clamp)
    return Function(
        name,
        "mve/depthwise_row.c.j2",
        {
            "kernel_height": kh,
            "kernel_width": kw,
            "taps": kh * kw,
            "tap_step": channels if packed else LANES,
            "packed": packed,
            "clamp": clamp,
            "groups": groups,
        },
        (SUPPORT,),
        code_bytes=4 * turn + 40 + (0 if packed else 56),
        stack_bytes=116,
    )


def _stream(site: Site, parameters: LinearParameters) -> Table:
    outputs, kh, kw, _ = parameters.weights.shape
    weights = parameters.weights.reshape(outputs, kh * kw).T
    bias, multiplier = parameters.folded, np.broadcast_to(parameters.multiplier, (outputs,))
    if _packed(site):
        copies = LANES // outputs
        weights, bias, multiplier = np.tile(weights, copies), np.tile(bias, copies), np.tile(multiplier, copies)
    else:
        missing = round_up(outputs, LANES) - outputs
        weights = np.pad(weights, ((0, 0), (0, missing)))
        bias, multiplier = np.pad(bias, (0, missing)), np.pad(multiplier, (0, missing))
    note = f"blocks of 16 channels: weights by taps, biases, multipliers times 2^-{parameters.requantization.shift}"
    return Table("stream", depthwise_stream(np.ascontiguousarray(weights), bias, multiplier), note)


def _lower(site: Site) -> Lowered:
    attrs = site.attrs(Conv2DAttrs)
    parameters = linear_parameters(site, attrs.activation)
    requantization = parameters.requantization
    images, height, width, channels = site.x().shape
    _, rows, columns, _ = site.y.shape
    kh, kw = site.x(1).shape[1:3]
    packed = _packed(site)
    groups = halfword_groups(parameters.weights.reshape(channels, kh * kw).T)
    row = _row_function(site, parameters, groups)
    function = Function(
        row.name.replace("depthwise_row", "depthwise"),
        "mve/depthwise.c.j2",
        {"row": row.name, "spread": SPREAD.name, "kernel_height": kh},
        (row, SPREAD),
        code_bytes=368,
        stack_bytes=140 + (row.stack_bytes or 0),
    )
    right, padded = padded_columns(site)
    distance = channels if packed else LANES
    blocks = math.ceil(channels / LANES)
    turns = math.ceil(columns * channels / LANES) if packed else columns
    x_step, y_step = (LANES, LANES) if packed else (LANES * attrs.strides[1], channels)
    frame = {
        "rows": "{0}",
        "stream": "0",
        "y": "0",
        "y_step": y_step,
        "addend": addend(requantization),
        "left": shift_left(requantization),
        "x_step": x_step,
        "lanes": columns * channels if packed else channels,
        "turns": turns,
        "row_delta": padded * LANES - turns * x_step,
        "y_delta": LANES - turns * y_step,
        "low": requantization.low,
        "high": requantization.high,
    }
    line = padded * distance * (1 if packed else blocks)
    fields = initialisers(
        height=height,
        width=width,
        channels=channels,
        stride_y=attrs.strides[0],
        top=attrs.pads[0],
        left=attrs.pads[1],
        right=right,
        output_height=rows,
        output_row=columns * channels,
        distance=distance,
        chunk=padded * LANES,
        line=line,
        zero=parameters.zero,
        row="{" + ", ".join(f".{name} = {value}" for name, value in frame.items()) + "}",
    )
    per_row = 70 + blocks * (15 + 2 * kh + turns * turn_instructions(groups, kh, packed, clamps(requantization)))
    return Lowered(
        calls=images_of(site, function, Const("stream"), Const("shape"), Scratch("int8_t")),
        tables=(_stream(site, parameters),),
        records=(Record("shape", f"{function.name}_shape", fields, SHAPE_BYTES),),
        scratch_bytes=kh * line + LANES * packed,
        overlap=lines_overlap(site),
        instructions=images * (100 + rows * per_row + copied_rows(site) * (30 + spread_instructions(width, channels))),
    )


KERNELS = (Kernel("conv2d/mve_depthwise", "Conv2D", _refuse, _lower, NEEDS),)
