"""Maximum and average pooling in portable C."""

from __future__ import annotations

import math

import numpy as np

from boardfit.ops.average_pool2d import AveragePool2DAttrs, MeanArithmetic, average_requantization
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.pooling import PoolAttrs

from ..kernel import Argument, Call, Const, Function, Input, Kernel, Lowered, Output, Record, Site, Table
from .common import (
    CLIP,
    REQUANTIZATION_BYTES,
    affine_refusal,
    initialisers,
    requantization_literal,
    requantizer,
    suffix,
    window_fields,
    window_overlap,
)

MAX_SHAPE_BYTES = 13 * 4
AVERAGE_SHAPE_BYTES = 19 * 4 + REQUANTIZATION_BYTES


def windows_outside(attrs: PoolAttrs, site: Site) -> bool:
    """Whether some window covers no pixel at all."""
    for axis in (0, 1):
        size = site.x().shape[1 + axis]
        for position in range(site.y.shape[1 + axis]):
            start = position * attrs.strides[axis] - attrs.pads[axis]
            taps = range(start, start + attrs.kernel[axis] * attrs.dilations[axis], attrs.dilations[axis])
            if not any(0 <= tap < size for tap in taps):
                return True
    return False


def _refuse_max(site: Site) -> str | None:
    if windows_outside(site.attrs(MaxPool2DAttrs), site):
        return "a window lies outside the image"
    return affine_refusal(site, 0)


def _geometry(site: Site, attrs: PoolAttrs) -> dict[str, int | str]:
    _, height, width, channels = site.x().shape
    return {
        "height": height,
        "width": width,
        "channels": channels,
        **window_fields(attrs.kernel, attrs),
    }


def _calls(site: Site, function: Function, *middle: Argument) -> tuple[Call, ...]:
    image_in, image_out = math.prod(site.x().shape[1:]), math.prod(site.y.shape[1:])
    return tuple(
        Call(function, (Input(0, image * image_in), Output(0, image * image_out), *middle, Const("shape")))
        for image in range(site.x().shape[0])
    )


def _lower_max(site: Site) -> Lowered:
    attrs = site.attrs(MaxPool2DAttrs)
    storage = site.x_storage()
    function = Function(f"max_pool_{storage.tag}", "max_pool.c.j2", {"x_type": storage.c_type}, (CLIP,))
    fields = initialisers(**_geometry(site, attrs), output_height=site.y.shape[1], output_width=site.y.shape[2])
    taps = attrs.kernel[0] * attrs.kernel[1]
    return Lowered(
        calls=_calls(site, function),
        records=(Record("shape", f"{function.name}_shape", fields, MAX_SHAPE_BYTES),),
        overlap=window_overlap(site, attrs.strides, attrs.pads),
        instructions=round(site.y.elements * (taps * 6.0 + attrs.kernel[0] * 5.0 + 10.0)),
    )


def _refuse_average(site: Site) -> str | None:
    attrs = site.attrs(AveragePool2DAttrs)
    if attrs.arithmetic is not MeanArithmetic.INTEGER:
        return "its average is stated in binary32"
    if windows_outside(attrs, site):
        return "a window lies outside the image"
    return affine_refusal(site, 0)


def _average_geometry(site: Site, attrs: AveragePool2DAttrs) -> dict[str, int | str]:
    counted = attrs.pads if attrs.count_pads else (0, 0, 0, 0)
    names = ("counted_top", "counted_left", "counted_bottom", "counted_right")
    sizes = {"output_height": site.y.shape[1], "output_width": site.y.shape[2]}
    return {**_geometry(site, attrs), **dict(zip(names, counted, strict=True)), **sizes}


def _lower_average(site: Site) -> Lowered:
    attrs = site.attrs(AveragePool2DAttrs)
    x, y = site.x_affine(), site.y_affine
    table, requantization = average_requantization(attrs, site.x(), x, y)
    requantize = requantizer(requantization)
    storages = (site.x_storage(), site.y_storage)
    function = Function(
        f"average_pool_{suffix(storages, requantize)}",
        "average_pool.c.j2",
        {"x_type": storages[0].c_type, "y_type": storages[1].c_type, "requantize": requantize.name},
        (requantize, CLIP),
    )
    fields = initialisers(
        **_average_geometry(site, attrs),
        zero=x.zero_point[0],
        sizes=len(table),
        to=requantization_literal(requantization),
    )
    pairs = np.array([number for pair in table.items() for number in pair], np.int32)
    taps = attrs.kernel[0] * attrs.kernel[1]
    return Lowered(
        calls=_calls(site, function, Const("multipliers")),
        tables=(
            Table(
                "multipliers",
                pairs,
                f"pairs (window size, multiplier times 2^-{requantization.shift})",
                parameter=False,
            ),
        ),
        records=(Record("shape", f"{function.name}_shape", fields, AVERAGE_SHAPE_BYTES),),
        overlap=window_overlap(site, attrs.strides, attrs.pads),
        instructions=round(site.y.elements * (taps * 4.0 + attrs.kernel[0] * 5.0 + 54.0)),
    )


BINARY32_SHAPE_BYTES = 25 * 4
BINARY32 = Function("binary32", "binary32.c.j2", code_bytes=0, stack_bytes=0)


def _parts(scale: float) -> tuple[int, int]:
    """(significand of 24 bits, exponent) of a binary32 number."""
    fraction, exponent = math.frexp(float(np.float32(scale)))
    return int(math.ldexp(fraction, 24)), exponent - 24


def _refuse_binary32(site: Site) -> str | None:
    attrs = site.attrs(AveragePool2DAttrs)
    if attrs.arithmetic is not MeanArithmetic.BINARY32:
        return "it is an integer average"
    if windows_outside(attrs, site):
        return "a window lies outside the image"
    return affine_refusal(site, 0)


def _lower_binary32(site: Site) -> Lowered:
    attrs = site.attrs(AveragePool2DAttrs)
    x, y = site.x_affine(), site.y_affine
    storages = (site.x_storage(), site.y_storage)
    function = Function(
        f"average_pool_binary32_{suffix(storages)}",
        "average_pool_binary32.c.j2",
        {"x_type": storages[0].c_type, "y_type": storages[1].c_type, "narrow": x.width <= 8},
        (BINARY32, CLIP),
    )
    significand, exponent = _parts(x.scale[0])
    divisor, divisor_exponent = _parts(y.scale[0])
    fields = initialisers(
        **_average_geometry(site, attrs),
        x_zero=x.zero_point[0],
        x_significand=f"{significand}u",
        x_exponent=exponent,
        y_scale=f"{{{divisor}u, {divisor_exponent}}}",
        y_zero=y.zero_point[0],
        low=y.minimum,
        high=y.maximum,
    )
    taps = attrs.kernel[0] * attrs.kernel[1]
    return Lowered(
        calls=_calls(site, function),
        records=(Record("shape", f"{function.name}_shape", fields, BINARY32_SHAPE_BYTES),),
        overlap=window_overlap(site, attrs.strides, attrs.pads),
        instructions=round(site.y.elements * (taps * 45.0 + attrs.kernel[0] * 5.0 + 600.0)),
    )


MAX_POOL = Kernel("max_pool2d/portable", "MaxPool2D", _refuse_max, _lower_max)

KERNELS = (
    MAX_POOL,
    Kernel("average_pool2d/portable", "AveragePool2D", _refuse_average, _lower_average),
    Kernel("average_pool2d/binary32", "AveragePool2D", _refuse_binary32, _lower_binary32),
)
