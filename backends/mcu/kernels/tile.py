"""Matrix products and depthwise convolutions in C: tiles of sums in registers, for RISC-V and for Thumb-2 without DSP.

Measured for each multiplication of a convolution: 2.7 instructions on RV32IMC, 1.9 on Cortex-M3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from boardfit.ops.activation import Activation
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs

from ..kernel import Call, Const, Function, Input, Kernel, Literal, Lowered, Output, Record, Scratch, Site, Table
from .common import LinearParameters, initialisers, linear_parameters, pixel_overlap, window_overlap
from .int8_layers import (
    Rows,
    images_of,
    lower_lines,
    padded_columns,
    refuse_depthwise,
    refuse_linear,
    refuse_parameters,
    requantization_fields,
    row_geometry,
)

NEEDS = (frozenset({"riscv", "long-multiply"}), frozenset({"thumb", "long-multiply"}))
OUTPUTS = 4
PIXELS = {True: (3, 2, 1), False: (2, 1)}
"""Pixels that may share a tile, best first for long rows, with RISC-V's 31 registers and without."""

UNROLL = 4
MAX_TAPS = 15
PRODUCT_SHAPE_BYTES = 6 * 4
CONVOLUTION_SHAPE_BYTES = 13 * 4

SUPPORT = Function("tile_support", "tile/support.c.j2", code_bytes=0, stack_bytes=0)


def _refuse_linear(site: Site, activation: Activation) -> str | None:
    return refuse_linear(site) or refuse_parameters(linear_parameters(site, activation))


def _refuse_dense(site: Site) -> str | None:
    return _refuse_linear(site, site.attrs(DenseAttrs).activation)


def _refuse_convolution(site: Site) -> str | None:
    attrs = site.attrs(Conv2DAttrs)
    if attrs.groups != 1:
        return "it has groups"
    if attrs.dilations[1] != 1:
        return "its kernel is dilated along a row"
    if min(attrs.pads) < 0:
        return "its padding crops"
    return _refuse_linear(site, attrs.activation)


def _refuse_pointwise(site: Site) -> str | None:
    attrs = site.attrs(Conv2DAttrs)
    if site.x(1).shape[1:3] != (1, 1) or any(attrs.pads) or attrs.strides != (1, 1):
        return "it is not a 1x1 convolution with stride 1 and without padding"
    return _refuse_convolution(site)


def _refuse_depthwise(site: Site) -> str | None:
    return refuse_depthwise(site, MAX_TAPS) or _refuse_linear(site, site.attrs(Conv2DAttrs).activation)


def _multiply(pixels: int, outputs: int) -> Function:
    """The matrix product for this many pixels at a time."""
    ragged = outputs % OUTPUTS != 0
    return Function(
        f"multiply_{pixels}_by_{OUTPUTS}{'_ragged' if ragged else ''}",
        "tile/multiply.c.j2",
        {"pixels": pixels, "ragged": ragged, "unroll": UNROLL},
        (SUPPORT,),
        code_bytes=80 + 570 * pixels,
        stack_bytes=112,
    )


def tile_tables(weights: np.ndarray, parameters: LinearParameters) -> tuple[Table, Table]:
    """What `tile/multiply.c.j2` reads: weights of four outputs input by input, and their biases and multipliers.

    Args:
        weights: (outputs, depth) int8.
    """
    outputs, depth = weights.shape
    tiles = -(-outputs // OUTPUTS)
    padded = np.zeros((tiles * OUTPUTS, depth), np.int8)
    padded[:outputs] = weights
    by_input = np.ascontiguousarray(padded.reshape(tiles, OUTPUTS, depth).transpose(0, 2, 1))
    constants = np.zeros((2, tiles * OUTPUTS), np.int32)
    constants[0, :outputs] = parameters.folded
    constants[1, :outputs] = parameters.multiplier
    both = np.ascontiguousarray(constants.reshape(2, tiles, OUTPUTS).transpose(1, 0, 2))
    shift = parameters.requantization.shift
    return (
        Table("weights", by_input, "fours of output channels, input by input"),
        Table("constants", both, f"fours of biases and of multipliers times 2^-{shift}"),
    )


def _many_registers(site: Site) -> bool:
    return "riscv" in site.features


def product_instructions(pixels: int, count: int, depth: int, outputs: int, *, accumulate: bool) -> int:
    """Predicted instructions of `count` pixels; `accumulate`: whether the core multiplies and adds in one."""
    turn = OUTPUTS + pixels + (1 if accumulate else 2) * OUTPUTS * pixels + accumulate * pixels
    tile = 10 + 9 * pixels + depth * turn + depth // UNROLL * (pixels + 2) + depth % UNROLL * (pixels + 2)
    tile += OUTPUTS * pixels * 12
    return 30 + math.ceil(count / pixels) * (20 + math.ceil(outputs / OUTPUTS) * tile)


def _best_pixels(site: Site, count: int, depth: int, outputs: int) -> tuple[int, int]:
    """Pixels to take at a time for a row of `count`, and the instructions of the row."""
    many = _many_registers(site)
    costs = [
        (product_instructions(pixels, count, depth, outputs, accumulate=not many), -pixels) for pixels in PIXELS[many]
    ]
    cost, best = min(costs)
    return -best, cost


def _product(site: Site, parameters: LinearParameters, rows: int) -> Lowered:
    outputs = len(parameters.weights)
    weights = parameters.weights.reshape(outputs, -1)
    depth = weights.shape[1]
    pixels, cost = _best_pixels(site, rows, depth, outputs)
    function = _multiply(pixels, outputs)
    fields = initialisers(depth=depth, outputs=outputs, **requantization_fields(parameters.requantization))
    sizes = (Literal(str(rows)), Literal(str(depth)))
    pointwise = site.node.op == "Conv2D"
    return Lowered(
        calls=(Call(function, (Input(), Output(), *sizes, Const("weights"), Const("constants"), Const("shape"))),),
        tables=tile_tables(weights, parameters),
        records=(Record("shape", f"{function.name}_shape", fields, PRODUCT_SHAPE_BYTES),),
        overlap=pixel_overlap(site, pixels) if pointwise else {},
        instructions=cost,
    )


def _lower_dense(site: Site) -> Lowered:
    parameters = linear_parameters(site, site.attrs(DenseAttrs).activation)
    return _product(site, parameters, math.prod(site.y.shape[:-1]))


def _lower_pointwise(site: Site) -> Lowered:
    attrs = site.attrs(Conv2DAttrs)
    return _product(site, linear_parameters(site, attrs.activation), math.prod(site.y.shape[:-1]))


def _lower_convolution(site: Site) -> Lowered:
    parameters = linear_parameters(site, site.attrs(Conv2DAttrs).activation)
    columns, outputs = site.y.shape[2:]
    by_column = np.ascontiguousarray(parameters.weights.transpose(0, 2, 1, 3)).reshape(outputs, -1)
    depth = by_column.shape[1]
    pixels, cost = _best_pixels(site, columns, depth, outputs)
    multiply = _multiply(pixels, outputs)
    name = multiply.name.replace("multiply", "convolution")
    product = (depth, outputs, *requantization_fields(parameters.requantization).values())
    return row_convolution(site, parameters.zero, multiply, name, product, tile_tables(by_column, parameters), cost)


def row_convolution(
    site: Site,
    zero: int,
    multiply: Function,
    name: str,
    product: Sequence[object],
    tables: tuple[Table, ...],
    instructions: float,
) -> Lowered:
    """A convolution as one matrix product for each row of outputs, on padded copies of the input rows.

    Args:
        zero: zero point of the input, which pads.
        multiply: function of the product.
        name: of the convolution in C.
        product: members of the product's shape.
        tables: what the product reads: 'weights' and 'constants'.
        instructions: of the product of one row.
    """
    attrs = site.attrs(Conv2DAttrs)
    images, _, width, channels = site.x().shape
    rows, kernel_height = site.y.shape[1], site.x(1).shape[1]
    function = Function(
        name,
        "tile/convolution.c.j2",
        {"multiply": multiply.name},
        (multiply,),
        code_bytes=366,
        stack_bytes=96 + (multiply.stack_bytes or 0),
    )
    fields = initialisers(**row_geometry(site, zero), product=f"{{{', '.join(map(str, product))}}}")
    copied = rows * kernel_height * (20 + width * (9 + 5 * channels))
    return Lowered(
        calls=images_of(site, function, Const("weights"), Const("constants"), Const("shape"), Scratch("int8_t")),
        tables=tables,
        records=(Record("shape", f"{function.name}_shape", fields, CONVOLUTION_SHAPE_BYTES + 4 * len(product)),),
        scratch_bytes=padded_columns(site)[1] * kernel_height * channels,
        overlap=window_overlap(site, attrs.strides, attrs.pads, tile=0, buffered=True),
        instructions=round(images * (copied + rows * instructions)),
    )


def _row(kernel: tuple[int, int], stride: int, pixels: int) -> Function:
    kh, kw = kernel
    return Function(
        f"depthwise_row_{kh}x{kw}_stride{stride}_{pixels}",
        "tile/depthwise_row.c.j2",
        {
            "kernel_height": kh,
            "kernel_width": kw,
            "taps": kh * kw,
            "pixels": pixels,
            "stride": stride,
        },
        (SUPPORT,),
        code_bytes=60 + 7 * group_instructions(kernel, stride, pixels) // 2,
        stack_bytes=80,
    )


def group_instructions(kernel: tuple[int, int], stride: int, pixels: int, *, accumulate: bool = False) -> int:
    """Predicted instructions of one group of output pixels of one channel; see `product_instructions`."""
    kh, kw = kernel
    loads = (pixels - 1) * stride + kw if stride < kw else pixels * kw
    return 36 + kh * (1 + kw + loads + (pixels - 1) * stride + kw - 1 + (2 - accumulate) * pixels * kw) + pixels * 16


def _lower_depthwise(site: Site) -> Lowered:
    kernel, stride = site.x(1).shape[1:3], site.attrs(Conv2DAttrs).strides[1]
    kh, kw = kernel

    def cost(pixels: int) -> int:
        return group_instructions((kh, kw), stride, pixels, accumulate=not _many_registers(site))

    row, single = (_row((kh, kw), stride, pixels) for pixels in (4, 1))
    name = f"depthwise_{kh}x{kw}_stride{stride}"
    return lower_lines(site, Rows(row, single, cost, per_row=230, per_byte=6.5, name=name))


KERNELS = tuple(
    Kernel(name, op, refuse, lower, needs)
    for needs in NEEDS
    for name, op, refuse, lower in (
        ("dense/tile", "Dense", _refuse_dense, _lower_dense),
        ("conv2d/tile_pointwise", "Conv2D", _refuse_pointwise, _lower_pointwise),
        ("conv2d/tile", "Conv2D", _refuse_convolution, _lower_convolution),
        ("conv2d/tile_depthwise", "Conv2D", _refuse_depthwise, _lower_depthwise),
    )
)
