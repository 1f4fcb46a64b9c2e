"""Layers whose weights are stored in fewer bytes than int8 and multiplied as they are, for the DSP extension.

Convolutions share the drivers of the dense kernels (`dsp_convolution.py`): the inner loop alone knows the format.
Measured on Cortex-M4, convolution / dense layer: instructions for each stored block 16 / 7.3, each packed position at
4 bits 0.84 / 1.2, each pair of codebook places 7.5 / 4, each weight that is not zero 10 / 4.5 (csr), 11 / 8 (bitmask).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs

from ..kernel import (
    Call,
    Const,
    Function,
    FunctionPointer,
    Input,
    Kernel,
    Lowered,
    Output,
    Record,
    Scratch,
    Site,
    Table,
)
from .common import initialisers, linear_parameters
from .dsp_convolution import (
    FRAME,
    NEEDS,
    PIXELS,
    SUPPORT,
    Inner,
    lower_rows,
    lower_windows,
    refuse_geometry,
    refuse_linear,
    refuse_row_channels,
    round_up,
)
from .dsp_layout import LinearLayer, addend, clamp, clamps, high_word_shift, refuse_requantization
from .dsp_stored_formats import PAIRS_BYTES, PAIRS_INSTRUCTIONS, ROW_FINISH, STORED, Stored

DENSE = Function(
    "dense_columns",
    "dsp/stored/dense.c.j2",
    {},
    (SUPPORT, FRAME),
    code_bytes=260,
    stack_bytes=120,
    headers=("string.h",),
)
DENSE_SHAPE_BYTES = 11 * 4
PIXEL_FINISH = 23
PIXEL_CLAMP, ROW_CLAMP = 13, 4
SUM_LIMIT = 1 << 31
LEAST_SHIFT = 33
"""Of a requantization by SMMLA, which takes the high word of a product."""

LARGEST_WEIGHT = 127


def _layer(stored: Stored, weights: np.ndarray, layer: LinearLayer, unit: int, group: int) -> LinearLayer:
    """The layer with its depth and outputs filled up.

    What is added meets inputs that are zero, or is not an output: its weights are any that the format has.
    """
    outputs, depth = weights.shape
    wide = layer.padded(round_up(outputs, group), round_up(depth, unit))
    if stored.template in ("packed", "codebook"):
        fill = int(weights.min())
        wide.weights[:, depth:] = fill
        wide.weights[outputs:] = fill
    return wide


def linear_layer(site: Site) -> LinearLayer:
    """The matrix product of a dense layer or a convolution."""
    return site.once("layer", lambda: _linear_layer(site))


def _linear_layer(site: Site) -> LinearLayer:
    activation = (site.attrs(DenseAttrs) if site.node.op == "Dense" else site.attrs(Conv2DAttrs)).activation
    parameters = linear_parameters(site, activation)
    weights = parameters.weights.reshape(len(parameters.weights), -1).astype(np.int64)
    return lifted(LinearLayer(weights, parameters.folded.astype(np.int64), parameters.requantization))


def lifted(layer: LinearLayer) -> LinearLayer:
    """The same layer with weights, start sums and divisor times a power of two, if that brings its shift above 32.

    Weights of few bits have large scales, so that a sum is not much larger than an output: the high word alone of its
    product with the multiplier would lose bits that count. (2**e sum * m + 2**(s + e - 1)) >> (s + e) is exact.
    """
    r = layer.requantization
    extra = LEAST_SHIFT - r.shift
    if extra <= 0 or int(np.abs(layer.weights).max(initial=0)) << extra > LARGEST_WEIGHT:
        return layer
    return LinearLayer(layer.weights << extra, layer.bias << extra, replace(r, shift=r.shift + extra))


def refuse_sums(site: Site, extra: int = 0) -> str | None:
    """Why the kernels cannot do a layer, whatever its weights: types, sums times 2**extra, requantization."""
    reason = refuse_linear(site)
    if reason:
        return reason
    layer = linear_layer(site)
    if layer.weights.min(initial=0) < -128 or layer.weights.max(initial=0) > 127:
        return "its weights less their zero point do not fit int8"
    if layer.requantization.ties_to_even:
        return "its requantization rounds ties to even"
    sums = np.abs(layer.bias) + 128 * np.abs(layer.weights).sum(axis=1)
    if int(sums.max(initial=0)) << extra >= SUM_LIMIT:
        return "the sums of an output channel are too large"
    return refuse_requantization(layer.requantization, extra)


def _refuse(stored: Stored, site: Site) -> str | None:
    def reason() -> str | None:
        return refuse_sums(site, stored.extra) or stored.refuse(linear_layer(site).weights)

    return site.once(("refuse", stored.label), reason)


def shape_fields(layer: LinearLayer, extra: int) -> dict[str, str]:
    """Members of the shape structs of the drivers of convolutions."""
    r = layer.requantization
    below, floor = clamp(r)
    return {
        "skip": "0u",
        "addend": f"{{{addend(r, extra)}, 0}}",
        "shift": f"{{{high_word_shift(r) + extra}u, 0u}}",
        "clamp": f"{{{below}, {floor}}}",
    }


def _inner(stored: Stored, site: Site) -> Inner:
    return site.once(("inner", stored.label), lambda: _inner_loop(stored, site))


def _inner_loop(stored: Stored, site: Site) -> Inner:
    layer = linear_layer(site)
    layer = _layer(stored, layer.weights, layer, 4, 1)
    note = f"{stored.format}: start sums, weights, multipliers times 2^-{layer.requantization.shift}"
    function = stored.function(layer, PIXELS)
    end = PIXEL_FINISH + (PIXEL_CLAMP if clamps(layer.requantization) else 0)
    instructions = round(45 + stored.column_instructions(layer) + layer.outputs * end)
    prepare, tables = stored.prepared(layer)
    return Inner(
        Table("stream", stored.columns(layer), note),
        shape_fields(layer, stored.extra),
        function,
        function,
        instructions,
        instructions,
        stored.overrun(layer, PIXELS),
        PAIRS_BYTES if prepare else 0,
        prepare,
        tables,
    )


def _lower_dense(stored: Stored, site: Site) -> Lowered:
    outputs, inputs = site.x(1).shape
    layer = linear_layer(site)
    layer = _layer(stored, layer.weights, layer, 4, stored.row_group)
    depth = layer.weights.shape[1]
    stream = stored.row(layer)
    below, floor = clamp(layer.requantization)
    rows = math.prod(site.y.shape[:-1])
    shape = Record(
        "shape",
        f"{DENSE.name}_shape",
        initialisers(
            rows=rows,
            inputs=inputs,
            padded_inputs=depth,
            outputs=outputs,
            stored_outputs=layer.outputs,
            widen=int(stored.widen),
            stream_words=stream.size,
            addend=addend(layer.requantization, stored.extra),
            shift=f"{high_word_shift(layer.requantization) + stored.extra}u",
            clamp=f"{{{below}, {floor}}}",
        ),
        DENSE_SHAPE_BYTES,
    )
    prepare, tables = stored.prepared(layer)
    before = PAIRS_BYTES if prepare else 0
    copied = depth * 0.75 + (depth / 4 * 7 if stored.widen else 0)
    end = ROW_FINISH + (ROW_CLAMP if clamps(layer.requantization) else 0)
    scratch = depth * (2 if stored.widen else 1)
    call = Call(
        DENSE,
        (
            Input(),
            Output(),
            Const("stream"),
            FunctionPointer(stored.function(layer, 1)),
            Const("shape"),
            Scratch("uint32_t", before),
        ),
    )
    note = f"{stored.format}: start sums, weights, multipliers times 2^-{layer.requantization.shift}"
    return Lowered(
        calls=(*prepare, call),
        tables=(Table("stream", stream, note), *tables),
        records=(shape,),
        scratch_bytes=before + scratch + max(round_up(layer.outputs, 4), stored.overrun(layer, 1)),
        instructions=round(
            PAIRS_INSTRUCTIONS * len(prepare)
            + rows * (90 + copied + stored.row_instructions(layer) + layer.outputs * end)
        ),
    )


def _convolution(stored: Stored, lower: Callable[[Site, Inner], Lowered], rows: bool) -> Kernel:
    def refuse(site: Site) -> str | None:
        reason = refuse_geometry(site) or (refuse_row_channels(site) if rows else None)
        return reason or _refuse(stored, site)

    def lowered(site: Site) -> Lowered:
        inner = _inner(stored, site)
        found = lower(site, inner)
        return replace(found, instructions=found.instructions + PAIRS_INSTRUCTIONS * len(inner.prepare))

    name = f"conv2d/dsp_{'rows' if rows else 'windows'}_{stored.label}"
    return Kernel(name, "Conv2D", refuse, lowered, NEEDS, stored.format)


def _kernels() -> Iterator[Kernel]:
    for stored in STORED:
        yield Kernel(
            f"dense/dsp_{stored.label}",
            "Dense",
            functools.partial(_refuse, stored),
            functools.partial(_lower_dense, stored),
            NEEDS,
            stored.format,
        )
        yield _convolution(stored, lower_rows, rows=True)
        yield _convolution(stored, lower_windows, rows=False)


KERNELS = tuple(_kernels())
