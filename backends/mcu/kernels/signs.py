"""Layers whose weights and inputs are two-valued: XNOR and a count of bits in the place of multiplications.

XNOR-Net (Rastegari et al. 2016), binarized networks (Hubara et al. 2016), for cores without an instruction that counts
bits. Measured on Cortex-M4: 13 instructions for 32 multiplications.
"""

from __future__ import annotations

import math

import numpy as np

from boardfit.ir import Affine, Graph
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs

from ..kernel import Call, Const, Function, Input, Kernel, Lowered, Output, Record, Scratch, Site, Table
from ..storage import S8
from .common import (
    REQUANTIZATION_BYTES,
    LinearParameters,
    affine_refusal,
    initialisers,
    linear_parameters,
    linear_refusal,
    requantization_literal,
    requantizer,
    suffix,
    window_fields,
)
from .int8_layers import images_of

WORD = 32
COUNT = Function("count_differences", "signs/count.c.j2", code_bytes=0, stack_bytes=0)
PACK = Function("pack_signs", "signs/pack.c.j2", code_bytes=0, stack_bytes=0)
DENSE_SHAPE_BYTES = 7 * 4 + REQUANTIZATION_BYTES
CONVOLUTION_SHAPE_BYTES = 18 * 4 + REQUANTIZATION_BYTES
MOVERS = ("Reshape", "Transpose", "MaxPool2D", "Slice", "Gather", "Concat")
"""Ops whose outputs are values of their inputs."""

PER_WORD, PER_OUTPUT, PER_INPUT = 13.0, 36.0, 8.0
"""Instructions for each word of an output, for each output, and for each input that is packed."""


def magnitude_of_signs(graph: Graph, tensor: str) -> int | None:
    """The a of a tensor whose raw values are its zero point plus or minus a, or None if it may hold others.

    Such a tensor comes from a table that has only these two values, and has only been moved since.
    """
    node, element = graph.producer(tensor), graph.types[tensor].element
    if node is None or not isinstance(element, Affine) or element.axis is not None:
        return None
    if node.op in MOVERS:
        found = {magnitude_of_signs(graph, name) for name in node.inputs if graph.types[name].element == element}
        return found.pop() if len(found) == 1 else None
    table = graph.constant(node.inputs[1]) if node.op == "Lookup" else None
    if table is None:
        return None
    sizes = np.unique(np.abs(np.asarray(table, np.int64) - element.zero_point[0]))
    return int(sizes[0]) if len(sizes) == 1 and sizes[0] > 0 else None


def _parameters(site: Site) -> LinearParameters:
    activation = (site.attrs(DenseAttrs) if site.node.op == "Dense" else site.attrs(Conv2DAttrs)).activation
    return linear_parameters(site, activation)


def _refuse(site: Site) -> str | None:
    reason = affine_refusal(site, 0) or linear_refusal(site)
    if reason:
        return reason
    if magnitude_of_signs(site.graph, site.node.inputs[0]) is None or site.x_storage() != S8:
        return "its inputs are not two values with the zero point in the middle"
    if len(np.unique(np.abs(_parameters(site).weights.astype(np.int64)))) != 1:
        return "its weights are not w and -w alone"
    if not _parameters(site).weights.any():
        return "its weights are all zero"
    return None


def _refuse_convolution(site: Site) -> str | None:
    attrs = site.attrs(Conv2DAttrs)
    if attrs.groups != 1:
        return "it has groups"
    if min(attrs.pads) < 0:
        return "its padding crops"
    return _refuse(site)


def sign_words(weights: np.ndarray) -> np.ndarray:
    """(rows, channels) to (rows, words): a bit for each weight, set where it is positive."""
    bits = np.pad((weights > 0).astype(np.int64), ((0, 0), (0, -weights.shape[1] % WORD)))
    words: np.ndarray = (bits.reshape(len(weights), -1, WORD) << np.arange(WORD)).sum(axis=2).astype(np.uint32)
    return words


def _function(site: Site, parameters: LinearParameters, template: str) -> Function:
    requantize = requantizer(parameters.requantization)
    return Function(
        f"signs_{template}_{suffix((site.y_storage,), requantize)}",
        f"signs/{template}.c.j2",
        {"y_type": site.y_storage.c_type, "requantize": requantize.name, "count": COUNT.name, "pack": PACK.name},
        (requantize, COUNT, PACK),
    )


def _common(site: Site, parameters: LinearParameters) -> dict[str, int | str]:
    """The last members of both shape structs."""
    size = magnitude_of_signs(site.graph, site.node.inputs[0]) or 0
    weight = int(np.abs(parameters.weights.astype(np.int64)).max())
    return {
        "zero": parameters.zero,
        "product": size * weight,
        "multiplier_step": parameters.multiplier_step,
        "to": requantization_literal(parameters.requantization),
    }


def _tables(parameters: LinearParameters, words: np.ndarray) -> tuple[Table, ...]:
    _, bias, multiplier = parameters.tables(parameters.weights, folded=False)
    return Table("weights", words, "signs of the weights, a bit each"), bias, multiplier


def _lower_dense(site: Site) -> Lowered:
    parameters = _parameters(site)
    outputs, inputs = parameters.weights.shape
    words = sign_words(parameters.weights)
    rows = math.prod(site.y.shape[:-1])
    function = _function(site, parameters, "dense")
    fields = initialisers(rows=rows, inputs=inputs, outputs=outputs, words=words.shape[1], **_common(site, parameters))
    arguments = (Input(), Output(), Const("weights"), Const("bias"), Const("multiplier"), Const("shape"))
    return Lowered(
        calls=(Call(function, (*arguments, Scratch("uint32_t"))),),
        tables=_tables(parameters, words),
        records=(Record("shape", f"{function.name}_shape", fields, DENSE_SHAPE_BYTES),),
        scratch_bytes=4 * words.shape[1],
        in_place=(0,) if rows == 1 else (),
        instructions=round(rows * (60 + PER_INPUT * inputs + outputs * (PER_OUTPUT + PER_WORD * words.shape[1]))),
    )


def _lower_convolution(site: Site) -> Lowered:
    attrs = site.attrs(Conv2DAttrs)
    parameters = _parameters(site)
    outputs, kh, kw, channels = parameters.weights.shape
    images, height, width, _ = site.x().shape
    _, rows, columns, _ = site.y.shape
    words = sign_words(parameters.weights.reshape(-1, channels)).reshape(outputs, -1)
    of_pixel = words.shape[1] // (kh * kw)
    function = _function(site, parameters, "convolution")
    fields = initialisers(
        height=height,
        width=width,
        channels=channels,
        words=of_pixel,
        **window_fields((kh, kw), attrs),
        output_height=rows,
        output_width=columns,
        outputs=outputs,
        **_common(site, parameters),
    )
    constants = (Const("weights"), Const("bias"), Const("multiplier"), Const("shape"), Scratch("uint32_t"))
    pixel = 120 + 12 * words.shape[1] + outputs * (PER_OUTPUT + 20 + PER_WORD * words.shape[1])
    return Lowered(
        calls=images_of(site, function, *constants),
        tables=_tables(parameters, words),
        records=(Record("shape", f"{function.name}_shape", fields, CONVOLUTION_SHAPE_BYTES),),
        scratch_bytes=4 * (height * width * of_pixel + words.shape[1]),
        in_place=(0,) if images == 1 else (),
        instructions=round(images * (height * width * (20 + PER_INPUT * channels) + rows * columns * pixel)),
    )


KERNELS = (
    Kernel("dense/signs", "Dense", _refuse, _lower_dense, format="binary"),
    Kernel("conv2d/signs", "Conv2D", _refuse_convolution, _lower_convolution, format="binary"),
)
