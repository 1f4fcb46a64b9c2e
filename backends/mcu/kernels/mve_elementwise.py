"""Sums of two tensors and pooling for Helium."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from boardfit.ops.average_pool2d import AveragePool2DAttrs, MeanArithmetic, average_requantization
from boardfit.ops.elementwise import ElementwiseAttrs, SumRequantization, sum_requantization
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.pooling import PoolAttrs

from ..kernel import Argument, Call, Const, Function, Input, Kernel, Lowered, Output, Record, Scratch, Site, Table
from ..storage import S8
from .common import (
    CLIP,
    INT32_MAX,
    REQUANTIZATION_BYTES,
    affine_refusal,
    initialisers,
    requantization_literal,
    requantizer,
    suffix,
    window_overlap,
)
from .mve_layout import TOP_BYTE
from .mve_linear import NEEDS
from .pooling import windows_outside

SUM_BYTES = 7 * 4
AVERAGE_SHAPE_BYTES = 17 * 4 + REQUANTIZATION_BYTES
MAX_SHAPE_BYTES = 11 * 4
MOST_HALFWORD_TERMS = 255

WINDOW_SUM = Function("mve_window_sum", "mve/window.c.j2", {"operation": "sum"}, (), code_bytes=68, stack_bytes=24)
WINDOW_MAX = Function("mve_window_max", "mve/window.c.j2", {"operation": "max"}, (), code_bytes=68, stack_bytes=24)


def _sum_terms(site: Site, sign: int) -> tuple[SumRequantization, int]:
    """Multipliers, and what is added to the products: zero points and one half."""
    a, b = site.x_affine(0), site.x_affine(1)
    to = sum_requantization(a, b, site.y_affine, site.attrs(ElementwiseAttrs).activation, sign)
    offset = (1 << (to.shift - 1)) - a.zero_point[0] * to.left - b.zero_point[0] * to.right
    return to, offset + (to.zero_point << to.shift)


def _refuse_sum(sign: int) -> Callable[[Site], str | None]:
    def refuse(site: Site) -> str | None:
        reason = affine_refusal(site, 0, 1)
        if reason:
            return reason
        if {site.x_storage(0), site.x_storage(1), site.y_storage} != {S8}:
            return "its tensors are not int8"
        if site.x(0).elements != site.y.elements or site.x(1).elements != site.y.elements:
            return "it broadcasts"
        to, offset = _sum_terms(site, sign)
        if 128 * (abs(to.left) + abs(to.right)) + abs(offset) > INT32_MAX:
            return "its sums do not fit 32 bits"
        return None

    return refuse


def _lower_sum(sign: int) -> Callable[[Site], Lowered]:
    def lower(site: Site) -> Lowered:
        to, offset = _sum_terms(site, sign)
        clamp = (to.low, to.high) != (-128, 127)
        function = Function(
            "mve_sum_clamp" if clamp else "mve_sum",
            "mve/add.c.j2",
            {"clamp": clamp},
            code_bytes=52 + 16 * clamp,
            stack_bytes=32,
        )
        count = site.y.elements
        fields = initialisers(
            count=count,
            left=to.left,
            right=to.right,
            offset=offset,
            to_top=TOP_BYTE - to.shift,
            low=to.low,
            high=to.high,
        )
        return Lowered(
            calls=(Call(function, (Input(0), Input(1), Output(), Const("shape"))),),
            records=(Record("shape", f"{function.name}_shape", fields, SUM_BYTES),),
            in_place=(0, 1),
            instructions=10 + math.ceil(count / 4) * (8 + 3 * clamp),
        )

    return lower


def _refuse_pool(site: Site) -> str | None:
    attrs = site.attrs(PoolAttrs)
    reason = affine_refusal(site, 0)
    if reason:
        return reason
    if site.x_storage() != S8 or site.y_storage != S8:
        return "its activations are not int8"
    if attrs.dilations != (1, 1):
        return "it is dilated"
    return "a window lies outside the image" if windows_outside(attrs, site) else None


def _refuse_average(site: Site) -> str | None:
    if site.attrs(AveragePool2DAttrs).arithmetic is not MeanArithmetic.INTEGER:
        return "its average is stated in binary32"
    if math.prod(site.attrs(PoolAttrs).kernel) > MOST_HALFWORD_TERMS:
        return f"a window has more than {MOST_HALFWORD_TERMS} pixels"
    return _refuse_pool(site)


def _geometry(site: Site, attrs: PoolAttrs) -> dict[str, int | str]:
    _, height, width, channels = site.x().shape
    return {
        "height": height,
        "width": width,
        "channels": channels,
        "kernel_height": attrs.kernel[0],
        "kernel_width": attrs.kernel[1],
        "stride_y": attrs.strides[0],
        "stride_x": attrs.strides[1],
        "top": attrs.pads[0],
        "left": attrs.pads[1],
    }


def _calls(site: Site, function: Function, *after: Argument) -> tuple[Call, ...]:
    image_in, image_out = math.prod(site.x().shape[1:]), math.prod(site.y.shape[1:])
    return tuple(
        Call(function, (Input(0, image * image_in), Output(0, image * image_out), *after))
        for image in range(site.x().shape[0])
    )


def window_instructions(channels: int, kernel: tuple[int, int], lanes: int) -> int:
    """Executed instructions of one window."""
    return 6 + math.ceil(channels / lanes) * (9 + kernel[0] * (4 + 5 * kernel[1]))


def _lower_max(site: Site) -> Lowered:
    attrs = site.attrs(MaxPool2DAttrs)
    function = Function(
        "mve_max_pool",
        "mve/max_pool.c.j2",
        {"window": WINDOW_MAX.name},
        (CLIP, WINDOW_MAX),
        code_bytes=220,
        stack_bytes=110,
    )
    images, rows, columns, channels = site.y.shape
    fields = initialisers(**_geometry(site, attrs), output_height=rows, output_width=columns)
    return Lowered(
        calls=_calls(site, function, Const("shape")),
        records=(Record("shape", f"{function.name}_shape", fields, MAX_SHAPE_BYTES),),
        overlap=window_overlap(site, attrs.strides, attrs.pads),
        instructions=images * rows * (40 + columns * (50 + window_instructions(channels, attrs.kernel, 16))),
    )


def _lower_average(site: Site) -> Lowered:
    attrs = site.attrs(AveragePool2DAttrs)
    table, requantization = average_requantization(attrs, site.x(), site.x_affine(), site.y_affine)
    requantize = requantizer(requantization)
    function = Function(
        f"mve_average_pool_{suffix((S8,), requantize)}",
        "mve/average_pool.c.j2",
        {"requantize": requantize.name, "window": WINDOW_SUM.name},
        (requantize, CLIP, WINDOW_SUM),
        code_bytes=728,
        stack_bytes=150,
    )
    counted = attrs.pads if attrs.count_pads else (0, 0, 0, 0)
    images, rows, columns, channels = site.y.shape
    fields = initialisers(
        **_geometry(site, attrs),
        counted_top=counted[0],
        counted_left=counted[1],
        counted_bottom=counted[2],
        counted_right=counted[3],
        output_height=rows,
        output_width=columns,
        zero=site.x_affine().zero_point[0],
        sizes=len(table),
        to=requantization_literal(requantization),
    )
    pairs = np.array([number for pair in table.items() for number in pair], np.int32)
    note = f"pairs (window size, multiplier times 2^-{requantization.shift})"
    window = 90 + 55 * channels + window_instructions(channels, attrs.kernel, 8)
    return Lowered(
        calls=_calls(site, function, Const("multipliers"), Const("shape"), Scratch("int16_t")),
        tables=(Table("multipliers", pairs, note, parameter=False),),
        records=(Record("shape", f"{function.name}_shape", fields, AVERAGE_SHAPE_BYTES),),
        scratch_bytes=2 * channels,
        overlap=window_overlap(site, attrs.strides, attrs.pads, buffered=True),
        instructions=images * rows * (50 + columns * window),
    )


KERNELS = (
    Kernel("add/mve", "Add", _refuse_sum(1), _lower_sum(1), NEEDS),
    Kernel("sub/mve", "Sub", _refuse_sum(-1), _lower_sum(-1), NEEDS),
    Kernel("max_pool2d/mve", "MaxPool2D", _refuse_pool, _lower_max, NEEDS),
    Kernel("average_pool2d/mve", "AveragePool2D", _refuse_average, _lower_average, NEEDS),
)
