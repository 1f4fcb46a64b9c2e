"""Mean over all pixels of an image for cores with the DSP extension: four channels at a time in halfword sums."""

from __future__ import annotations

from boardfit.numerics import Requantization
from boardfit.ops.average_pool2d import AveragePool2DAttrs, MeanArithmetic, average_requantization

from ..kernel import Call, Const, Function, Input, Kernel, Lowered, Output, Record, Site
from ..storage import S8
from .common import REQUANTIZATION_BYTES, affine_refusal, initialisers, requantization_literal, requantizer
from .dsp_convolution import NEEDS, SUPPORT

MAX_PIXELS = 255
"""128 * 255 fits a halfword."""

SHAPE_BYTES = 4 * 4 + REQUANTIZATION_BYTES


def _requantization(site: Site) -> tuple[int, Requantization]:
    """Multiplier of the only window, and its requantization."""
    attrs = site.attrs(AveragePool2DAttrs)
    table, requantization = average_requantization(attrs, site.x(), site.x_affine(), site.y_affine)
    return next(iter(table.values())), requantization


def _refuse(site: Site) -> str | None:
    reason = affine_refusal(site, 0)
    if reason:
        return reason
    attrs = site.attrs(AveragePool2DAttrs)
    if attrs.arithmetic is not MeanArithmetic.INTEGER:
        return "its average is stated in binary32"
    images, height, width, channels = site.x().shape
    if site.x_storage() != S8 or site.y_storage != S8:
        return "its tensors are not int8"
    if attrs.kernel != (height, width) or site.y.shape[1:3] != (1, 1) or any(attrs.all_pads) or images != 1:
        return "it is not one window that covers the image"
    if channels % 4 or height * width > MAX_PIXELS:
        return "its channels are no multiple of four or its sums do not fit halfwords"
    return None


def _lower(site: Site) -> Lowered:
    _, height, width, channels = site.x().shape
    pixels = height * width
    multiplier, requantization = _requantization(site)
    requantize = requantizer(requantization)
    function = Function(
        "mean_pixels" + requantize.name.removeprefix("requantize"),
        "dsp/mean.c.j2",
        {"requantize": requantize.name},
        (SUPPORT, requantize),
        code_bytes=300,
        stack_bytes=80,
    )
    fields = initialisers(
        pixels=pixels,
        channels=channels,
        multiplier=multiplier,
        offset=pixels * site.x_affine().zero_point[0],
        to=requantization_literal(requantization),
    )
    return Lowered(
        calls=(Call(function, (Input(), Output(), Const("shape"))),),
        records=(Record("shape", f"{function.name}_shape", fields, SHAPE_BYTES),),
        in_place=(0,),
        instructions=channels // 4 * (6 * pixels + 4 * 65 + 20) + 30,
    )


KERNELS = (Kernel("average_pool2d/dsp_mean", "AveragePool2D", _refuse, _lower, NEEDS),)
