"""Dense layers and convolutions for Helium: VMLADAV over 16 inputs, four output channels and two pixels at a time."""

from __future__ import annotations

import math

import numpy as np

from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs

from ..kernel import Call, Const, Function, Input, Kernel, Lowered, Output, Record, Scratch, Site, Table
from .common import LinearParameters, initialisers, linear_parameters, pixel_overlap, window_overlap
from .int8_layers import (
    addend,
    clamps,
    images_of,
    padded_columns,
    refuse_linear,
    refuse_parameters,
    round_up,
    row_geometry,
)
from .mve_layout import LANES, TILE, shift_left, tile_stream

NEEDS = frozenset({"mve"})
SUPPORT = Function("mve_support", "mve/support.c.j2", code_bytes=0, stack_bytes=0)
SPREAD = Function("mve_spread", "mve/spread.c.j2", code_bytes=78, stack_bytes=24)
DENSE_SHAPE_BYTES = 9 * 4
POINTWISE_SHAPE_BYTES = 11 * 4
CONVOLUTION_SHAPE_BYTES = 20 * 4


def _multiply(pixels: int, parameters: LinearParameters) -> Function:
    """The matrix product for one or two pixels; clamps and predicated stores only where they are needed."""
    ragged = len(parameters.weights) % TILE != 0
    clamp = clamps(parameters.requantization)
    name = f"mve_multiply_{'pair' if pixels == 2 else 'row'}{'_clamp' if clamp else ''}{'_ragged' if ragged else ''}"
    return Function(
        name,
        "mve/multiply.c.j2",
        {"pixels": pixels, "ragged": ragged, "clamp": clamp},
        (SUPPORT,),
        code_bytes=(296 if pixels == 2 else 176) + 32 * clamp + 20 * ragged,
        stack_bytes=84 if pixels == 2 else 64,
    )


def _suffix(multiply: Function, stem: str) -> str:
    return multiply.name.replace("multiply_pair", stem).replace("multiply_row", stem)


def _pixels(multiply: Function) -> Function:
    return Function(
        _suffix(multiply, "pixels"),
        "mve/pixels.c.j2",
        {"multiply": multiply.name},
        (multiply,),
        code_bytes=0,  # inlined
        stack_bytes=28 + (multiply.stack_bytes or 0),
    )


def tile_instructions(pixels: int, depth: int, parameters: LinearParameters) -> int:
    """Executed instructions of one tile of four outputs."""
    later = round_up(depth, LANES) // LANES - 1
    clamp, ragged = clamps(parameters.requantization), len(parameters.weights) % TILE != 0
    if pixels == 2:
        return 39 + 16 * later + 7 * clamp + 5 * ragged
    return 27 + 10 * later + 5 * clamp + 5 * ragged


def _stream(parameters: LinearParameters, weights: np.ndarray) -> Table:
    multiplier = np.broadcast_to(parameters.multiplier, (len(weights),))
    note = f"fours of output channels: weights, biases, multipliers times 2^-{parameters.requantization.shift}"
    return Table("stream", tile_stream(weights, parameters.folded, multiplier), note)


def _fields(parameters: LinearParameters, depth: int, shift: str = "left") -> dict[str, int | str]:
    r = parameters.requantization
    blocks = round_up(depth, LANES) // LANES
    return {
        "blocks": f"{blocks - 1}u",
        "masked": f"{blocks * LANES - depth}u",
        "addend": addend(r),
        shift: shift_left(r),
        "low": r.low,
        "high": r.high,
    }


def _refuse_dense(site: Site) -> str | None:
    return refuse_linear(site) or refuse_parameters(linear_parameters(site, site.attrs(DenseAttrs).activation))


def _lower_dense(site: Site) -> Lowered:
    parameters = linear_parameters(site, site.attrs(DenseAttrs).activation)
    multiply = _multiply(1, parameters)
    outputs, inputs = parameters.weights.shape
    rows = math.prod(site.y.shape[:-1])
    function = Function(
        _suffix(multiply, "dense"),
        "mve/dense.c.j2",
        {"multiply": multiply.name},
        (multiply,),
        code_bytes=88,
        stack_bytes=64 + (multiply.stack_bytes or 0),
    )
    fields = initialisers(rows=rows, inputs=inputs, outputs=outputs, **_fields(parameters, inputs))
    tiles = math.ceil(outputs / TILE)
    return Lowered(
        calls=(Call(function, (Input(), Output(), Const("stream"), Const("shape"))),),
        tables=(_stream(parameters, parameters.weights),),
        records=(Record("shape", f"{function.name}_shape", fields, DENSE_SHAPE_BYTES),),
        instructions=38 + rows * (26 + tiles * tile_instructions(1, inputs, parameters)),
    )


def _refuse_convolution(site: Site) -> str | None:
    reason = refuse_linear(site)
    if reason:
        return reason
    attrs = site.attrs(Conv2DAttrs)
    if attrs.groups != 1:
        return "it has groups"
    if attrs.dilations[1] != 1:
        return "its kernel is dilated along a row"
    if min(attrs.pads) < 0:
        return "its padding crops"
    return refuse_parameters(linear_parameters(site, attrs.activation))


def _refuse_pointwise(site: Site) -> str | None:
    attrs = site.attrs(Conv2DAttrs)
    if site.x(1).shape[1:3] != (1, 1) or any(attrs.pads):
        return "it is not a 1x1 convolution without padding"
    return _refuse_convolution(site)


def _pixel_instructions(rows: int, columns: int, depth: int, outputs: int, parameters: LinearParameters) -> int:
    """All pixels of an image: pairs of a row, its last pixel alone."""
    tiles = math.ceil(outputs / TILE) * tile_instructions(2, depth, parameters)
    pairs, odd = columns // 2, columns % 2
    return rows * (44 + pairs * (tiles + 14) + odd * (tiles + 50))


def _lower_pointwise(site: Site) -> Lowered:
    attrs = site.attrs(Conv2DAttrs)
    parameters = linear_parameters(site, attrs.activation)
    pixels = _pixels(_multiply(2, parameters))
    images, _, width, channels = site.x().shape
    _, rows, columns, outputs = site.y.shape
    row_step = attrs.strides[0] * width * channels
    if attrs.strides == (1, 1):
        rows, columns = 1, images * rows * columns
        images = 1
    function = Function(
        _suffix(pixels, "pointwise").replace("pixels", "pointwise"),
        "mve/pointwise.c.j2",
        {"multiply": pixels.context["multiply"], "pixels": pixels.name},
        (pixels,),
        code_bytes=184,
        stack_bytes=100 + (pixels.stack_bytes or 0),
    )
    fields = initialisers(
        rows=rows,
        columns=columns,
        row_step=row_step,
        step=attrs.strides[1] * channels,
        outputs=outputs,
        **_fields(parameters, channels),
    )
    return Lowered(
        calls=images_of(site, function, Const("stream"), Const("shape"))[:images],
        tables=(_stream(parameters, parameters.weights.reshape(outputs, channels)),),
        records=(Record("shape", f"{function.name}_shape", fields, POINTWISE_SHAPE_BYTES),),
        overlap=pixel_overlap(site, 2, buffered=outputs <= TILE)
        if attrs.strides == (1, 1)
        else window_overlap(site, attrs.strides, attrs.pads, tile=2, buffered=outputs <= TILE),
        instructions=images * (50 + _pixel_instructions(rows, columns, channels, outputs, parameters)),
    )


def spread_instructions(columns: int, channels: int) -> int:
    """Copying one row of pixels."""
    return 10 + math.ceil(channels / LANES) * (10 + 6 * columns)


def _lower_convolution(site: Site) -> Lowered:
    attrs = site.attrs(Conv2DAttrs)
    parameters = linear_parameters(site, attrs.activation)
    pixels = _pixels(_multiply(2, parameters))
    images, _, width, channels = site.x().shape
    _, rows, columns, outputs = site.y.shape
    kh, kw = site.x(1).shape[1:3]
    _, padded = padded_columns(site)
    function = Function(
        pixels.name.replace("pixels", "convolution"),
        "mve/convolution.c.j2",
        {"multiply": pixels.context["multiply"], "pixels": pixels.name, "spread": SPREAD.name},
        (pixels, SPREAD),
        code_bytes=364,
        stack_bytes=130 + (pixels.stack_bytes or 0),
    )
    depth = kh * kw * channels
    fields = initialisers(
        **row_geometry(site, parameters.zero),
        outputs=outputs,
        **_fields(parameters, depth, "shift_left"),
    )
    by_column = parameters.weights.transpose(0, 2, 1, 3).reshape(outputs, depth)
    return Lowered(
        calls=images_of(site, function, Const("stream"), Const("shape"), Scratch("int8_t")),
        tables=(_stream(parameters, by_column),),
        records=(Record("shape", f"{function.name}_shape", fields, CONVOLUTION_SHAPE_BYTES),),
        scratch_bytes=padded * kh * channels,
        overlap=window_overlap(site, attrs.strides, attrs.pads, tile=0, buffered=True),
        instructions=images
        * (
            100
            + rows * kh * (22 + spread_instructions(width, channels))
            + _pixel_instructions(rows, columns, depth, outputs, parameters)
        ),
    )


KERNELS = (
    Kernel("dense/mve", "Dense", _refuse_dense, _lower_dense, NEEDS),
    Kernel("conv2d/mve_pointwise", "Conv2D", _refuse_pointwise, _lower_pointwise, NEEDS),
    Kernel("conv2d/mve", "Conv2D", _refuse_convolution, _lower_convolution, NEEDS),
)
