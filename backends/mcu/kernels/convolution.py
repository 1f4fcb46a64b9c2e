"""Convolutions in portable C: gathered windows times a matrix, and depthwise; transposed ones are split by phase."""

from __future__ import annotations

import math

import numpy as np

from boardfit.ops.conv2d import Conv2DAttrs

from ..kernel import Call, Const, Function, Input, Kernel, Lowered, Output, Record, Scratch, Site
from .common import (
    CLIP,
    REQUANTIZATION_BYTES,
    TABLE_ARGUMENTS,
    LinearParameters,
    affine_refusal,
    initialisers,
    linear_parameters,
    linear_refusal,
    requantization_literal,
    requantizer,
    suffix,
    window_fields,
    window_overlap,
)
from .linear import SHAPE_BYTES as LINEAR_SHAPE_BYTES
from .linear import VARIANTS, linear_fields, linear_function, linear_instructions

PATCH_SHAPE_BYTES = 17 * 4 + LINEAR_SHAPE_BYTES
DEPTHWISE_SHAPE_BYTES = 16 * 4 + REQUANTIZATION_BYTES


def images(site: Site) -> int:
    """Images in a batch: each is one call."""
    return site.x().shape[0]


def patch_function(variant: str, site: Site, parameters: LinearParameters) -> Function:
    """The gathering convolution on top of a matrix product."""
    linear = linear_function(variant, site.x_storage(), parameters, site.y_storage)
    return Function(
        linear.name.replace("linear", "convolution", 1),
        "convolution.c.j2",
        {
            "x_type": site.x_storage().c_type,
            "w_type": parameters.storage.c_type,
            "y_type": site.y_storage.c_type,
            "linear": linear.name,
        },
        (linear,),
        size_key="convolution_" + linear.name.split("_", 2 if variant == "linear_small" else 1)[-1],
    )


def patch_record(
    stem: str,
    site: Site,
    function: Function,
    parameters: LinearParameters,
    attrs: Conv2DAttrs,
    kernel: tuple[int, int],
    size: tuple[int, int],
    strides: tuple[int, int],
) -> Record:
    """Shape struct of a gathering convolution.

    Args:
        kernel, size: kernel and output height and width.
        strides: from one output row, and one output pixel, to the next.
    """
    _, height, width, channels = site.x().shape
    outputs = site.y.shape[3] // attrs.groups
    depth = kernel[0] * kernel[1] * channels // attrs.groups
    row = ", ".join(value for _, value in linear_fields(parameters, 1, depth, outputs, outputs))
    fields = initialisers(
        height=height,
        width=width,
        channels=channels,
        groups=attrs.groups,
        **window_fields(kernel, attrs),
        output_height=size[0],
        output_width=size[1],
        row_stride=strides[0],
        pixel_stride=strides[1],
        zero=parameters.zero,
        row=f"{{{row}}}",
    )
    return Record(stem, f"{function.name}_shape", fields, PATCH_SHAPE_BYTES)


def patch_instructions(variant: str, pixels: int, groups: int, depth: int, taps: int, outputs: int) -> int:
    """Predicted instructions of a gathering convolution (sizes of one group)."""
    gather = depth * 3.5 + taps * 18 + 40
    return round(pixels * groups * gather) + linear_instructions(variant, pixels * groups, depth, outputs)


def _patch(variant: str) -> Kernel:
    def lower(site: Site) -> Lowered:
        attrs = site.attrs(Conv2DAttrs)
        parameters = linear_parameters(site, attrs.activation)
        out, kh, kw, per_group = parameters.weights.shape
        _, height, width, _ = site.y.shape
        function = patch_function(variant, site, parameters)
        record = patch_record("shape", site, function, parameters, attrs, (kh, kw), (height, width), (width * out, out))
        calls = tuple(
            Call(
                function,
                (
                    Input(0, image * math.prod(site.x().shape[1:])),
                    Output(0, image * height * width * out),
                    *TABLE_ARGUMENTS,
                    Const("shape"),
                    Scratch(site.x_storage().c_type),
                ),
            )
            for image in range(images(site))
        )
        depth = kh * kw * per_group
        pixels = images(site) * height * width
        return Lowered(
            calls=calls,
            tables=parameters.tables(parameters.weights.reshape(out, depth)),
            records=(record,),
            scratch_bytes=depth * site.x_storage().bytes,
            overlap=window_overlap(site, attrs.strides, attrs.pads, buffered=attrs.groups == 1),
            instructions=patch_instructions(variant, pixels, attrs.groups, depth, kh * kw, out // attrs.groups),
        )

    return Kernel(f"conv2d/patch_{variant}", "Conv2D", _refuse, lower)


def _refuse(site: Site) -> str | None:
    return affine_refusal(site, 0) or linear_refusal(site)


def _refuse_depthwise(site: Site) -> str | None:
    attrs = site.attrs(Conv2DAttrs)
    if attrs.groups != site.x().shape[3]:
        return "it is not depthwise"
    return _refuse(site)


def _lower_depthwise(site: Site) -> Lowered:
    attrs = site.attrs(Conv2DAttrs)
    parameters = linear_parameters(site, attrs.activation)
    out, kh, kw, _ = parameters.weights.shape
    _, height, width, channels = site.x().shape
    requantize = requantizer(parameters.requantization)
    storages = (site.x_storage(), parameters.storage, site.y_storage)
    function = Function(
        f"depthwise_{suffix(storages, requantize)}",
        "depthwise.c.j2",
        {
            "x_type": storages[0].c_type,
            "w_type": storages[1].c_type,
            "y_type": storages[2].c_type,
            "requantize": requantize.name,
        },
        (requantize, CLIP),
    )
    fields = initialisers(
        height=height,
        width=width,
        channels=channels,
        outputs_per_channel=out // channels,
        **window_fields((kh, kw), attrs),
        output_height=site.y.shape[1],
        output_width=site.y.shape[2],
        zero=parameters.zero,
        multiplier_step=parameters.multiplier_step,
        to=requantization_literal(parameters.requantization),
    )
    weights = np.ascontiguousarray(parameters.weights[..., 0].transpose(1, 2, 0))
    image_in, image_out = height * width * channels, math.prod(site.y.shape[1:])
    calls = tuple(
        Call(
            function,
            (Input(0, image * image_in), Output(0, image * image_out), *TABLE_ARGUMENTS, Const("shape")),
        )
        for image in range(images(site))
    )
    return Lowered(
        calls=calls,
        tables=parameters.tables(weights, folded=False),
        records=(Record("shape", f"{function.name}_shape", fields, DEPTHWISE_SHAPE_BYTES),),
        overlap=window_overlap(site, attrs.strides, attrs.pads),
        instructions=round(site.y.elements * (kh * kw * 7.0 + kh * 6.0 + 28.0)),
    )


DEPTHWISE = Kernel("conv2d/depthwise", "Conv2D", _refuse_depthwise, _lower_depthwise)

KERNELS = (*map(_patch, VARIANTS), DEPTHWISE)
