"""Dense layers for cores with the DSP extension: four outputs at a time, weights streamed once.

Measured on Cortex-M4: 1.0 instruction for each multiplication, 7 for each output.
"""

from __future__ import annotations

import math

import numpy as np

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
    NEEDS,
    SUPPORT,
    is_wide,
    refuse_layer,
    refuse_linear,
    requantization_fields,
    round_up,
    variant,
)
from .dsp_layout import LinearLayer, dense_stream

UNROLL = 2
STEP_INPUTS = 8
OUTPUTS = 4

FRAME = Function("vector_frame", "dsp/dense_frame.c.j2", code_bytes=0, stack_bytes=0)
DENSE = Function(
    "dense_rows",
    "dsp/dense.c.j2",
    {},
    (FRAME,),
    code_bytes=240,
    stack_bytes=170,
    headers=("string.h",),
)
SHAPE_BYTES = 13 * 4


def _layer(site: Site) -> LinearLayer:
    parameters = linear_parameters(site, site.attrs(DenseAttrs).activation)
    weights = parameters.weights.astype(np.int64)
    outputs, inputs = weights.shape
    layer = LinearLayer(weights, parameters.folded.astype(np.int64), parameters.requantization)
    return layer.padded(round_up(outputs, OUTPUTS), round_up(inputs, STEP_INPUTS))


def _refuse(site: Site) -> str | None:
    return refuse_linear(site) or refuse_layer(_layer(site))


def _step_bytes(layer: LinearLayer) -> int:
    return 156 if is_wide(layer) else 124


def _rows(layer: LinearLayer) -> Function:
    name, context = variant("multiply_vector", layer)
    return Function(
        name,
        "dsp/dense_rows.c.j2",
        {**context, "unroll": UNROLL, "step_bytes": _step_bytes(layer)},
        (SUPPORT, FRAME),
        code_bytes=378 + (64 if context["wide"] else 0) + (52 if context["clamp"] else 0),
        stack_bytes=72 + (8 if context["clamp"] else 0),
    )


def _lower(site: Site) -> Lowered:
    layer = _layer(site)
    stream = dense_stream(layer, wide=is_wide(layer))
    outputs, inputs = site.x(1).shape
    rows = math.prod(site.y.shape[:-1])
    groups, depth = len(layer.weights) // OUTPUTS, layer.weights.shape[1]
    steps = depth // STEP_INPUTS
    group_words = stream.size // groups
    note = f"fours of outputs: start sums, weights, multipliers times 2^-{layer.requantization.shift}"
    shape = Record(
        "shape",
        f"{DENSE.name}_shape",
        initialisers(
            rows=rows,
            inputs=inputs,
            padded_inputs=depth,
            outputs=outputs,
            full_words=outputs // OUTPUTS * group_words,
            group_words=group_words,
            **requantization_fields(layer, steps, _step_bytes(layer), UNROLL),
        ),
        SHAPE_BYTES,
    )
    aligned = depth == inputs and (rows == 1 or inputs % 4 == 0)
    per_step = 39 if is_wide(layer) else 31
    turns = (steps + UNROLL - 1) // UNROLL
    return Lowered(
        calls=(
            Call(
                DENSE,
                (
                    Input(),
                    Output(),
                    Const("stream"),
                    FunctionPointer(_rows(layer)),
                    Const("shape"),
                    Scratch("int8_t"),
                ),
            ),
        ),
        tables=(Table("stream", stream, note),),
        records=(shape,),
        scratch_bytes=4 if aligned else depth,
        instructions=rows * (70 + groups * (31 + per_step * steps + 2 * turns) + (0 if aligned else inputs)),
    )


KERNELS = (Kernel("dense/dsp", "Dense", _refuse, _lower, NEEDS),)
