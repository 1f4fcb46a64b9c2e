"""Dense layers and 1x1 convolutions in portable C: rows of a matrix product on contiguous memory."""

from __future__ import annotations

import math
from dataclasses import replace

from boardfit.ops.activation import Activation
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs

from ..kernel import Call, Const, Function, Input, Kernel, Lowered, Output, Record, Site
from ..storage import Storage
from .common import (
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
    window_overlap,
)

SHAPE_BYTES = 20 + REQUANTIZATION_BYTES
VARIANTS = ("linear", "linear_small")
"""Four outputs at a time, and one at a time (less code)."""

COST = {"linear": (2.75, 24.0), "linear_small": (6.0, 22.0)}
"""Instructions for each multiplication and for each output."""


def linear_function(variant: str, x: Storage, parameters: LinearParameters, y: Storage) -> Function:
    """The C function for these element types."""
    requantize = requantizer(parameters.requantization)
    storages = (x, parameters.storage, y)
    return Function(
        f"{variant}_{suffix(storages, requantize)}",
        f"{variant}.c.j2",
        {"x_type": x.c_type, "w_type": parameters.storage.c_type, "y_type": y.c_type, "requantize": requantize.name},
        (requantize,),
    )


def linear_fields(
    parameters: LinearParameters, rows: int, depth: int, outputs: int, row_stride: int
) -> tuple[tuple[str, str], ...]:
    """Members of the shape struct."""
    return initialisers(
        rows=rows,
        depth=depth,
        outputs=outputs,
        row_stride=row_stride,
        multiplier_step=parameters.multiplier_step,
        to=requantization_literal(parameters.requantization),
    )


def linear_instructions(variant: str, rows: int, depth: int, outputs: int) -> int:
    """Predicted instructions of a matrix product."""
    per_product, per_output = COST[variant]
    return round(rows * outputs * (depth * per_product + per_output))


def _lower(variant: str, site: Site, activation: Activation, rows: int) -> Lowered:
    parameters = linear_parameters(site, activation)
    outputs = len(parameters.weights)
    weights = parameters.weights.reshape(outputs, -1)
    depth = weights.shape[1]
    function = linear_function(variant, site.x_storage(), parameters, site.y_storage)
    fields = linear_fields(parameters, rows, depth, outputs, outputs)
    return Lowered(
        calls=(Call(function, (Input(), Output(), *TABLE_ARGUMENTS, Const("shape"))),),
        tables=parameters.tables(weights),
        records=(Record("shape", f"{function.name}_shape", fields, SHAPE_BYTES),),
        instructions=linear_instructions(variant, rows, depth, outputs),
    )


def _refuse_weights(site: Site) -> str | None:
    return affine_refusal(site, 0) or linear_refusal(site)


def _refuse_pointwise(site: Site) -> str | None:
    attrs = site.attrs(Conv2DAttrs)
    if site.x(1).shape[1:3] != (1, 1) or attrs.strides != (1, 1) or any(attrs.pads) or attrs.groups != 1:
        return "it is not a 1x1 convolution"
    return _refuse_weights(site)


def _dense(variant: str) -> Kernel:
    def lower(site: Site) -> Lowered:
        return _lower(variant, site, site.attrs(DenseAttrs).activation, math.prod(site.y.shape[:-1]))

    return Kernel(f"dense/{variant}", "Dense", _refuse_weights, lower)


def _pointwise(variant: str) -> Kernel:
    def lower(site: Site) -> Lowered:
        lowered = _lower(variant, site, site.attrs(Conv2DAttrs).activation, math.prod(site.y.shape[:-1]))
        return replace(lowered, overlap=window_overlap(site, (1, 1), (0, 0, 0, 0)))

    return Kernel(f"conv2d/pointwise_{variant}", "Conv2D", _refuse_pointwise, lower)


KERNELS = (*map(_dense, VARIANTS), *map(_pointwise, VARIANTS))
