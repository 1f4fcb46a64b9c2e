"""Dense layers whose rows are Walsh rows (Fastfood layers): sums and differences, no multiplication with weights.

n log2 n additions for n inputs and up to n outputs, and two bytes for each row. Ailon and Chazelle (2006) for the use
in projections, Yang et al., "Deep fried convnets" (2015) for layers.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from boardfit.ir.walsh import Walsh, find_walsh
from boardfit.ops.dense import DenseAttrs

from ..kernel import Call, Const, Function, Input, Kernel, Lowered, Output, Record, Scratch, Site, Table
from .common import LinearParameters, initialisers, linear_parameters
from .int8_layers import refuse_linear, refuse_parameters, requantization_fields
from .stored import core_of
from .thumb import SUPPORT as HALVES
from .tile import SUPPORT as WORD

LARGEST = 1 << 15
"""Rows whose number and sign fit 16 bits."""

LEAST = 8
SHAPE_BYTES = 10 * 4
HALVES_LIMIT = 1 << 29

COSTS = {"m3": (7.0, 24.0, 32.0), "m0": (9.0, 30.0, 54.0), "rv32": (7.0, 30.0, 38.5)}
"""Core -> instructions for an input, four sums of two rounds, an output; the DSP extension changes nothing."""


@functools.lru_cache(maxsize=64)
def _found(weights: bytes, shape: tuple[int, int]) -> Walsh | None:
    return find_walsh(np.frombuffer(weights, np.int8).reshape(shape).astype(np.int64))


def _parameters(site: Site) -> tuple[LinearParameters, Walsh | None]:
    parameters = linear_parameters(site, site.attrs(DenseAttrs).activation)
    outputs, inputs = parameters.weights.shape
    return parameters, _found(parameters.weights.tobytes(), (outputs, inputs))


def _refuse(site: Site) -> str | None:
    reason = refuse_linear(site)
    if reason:
        return reason
    parameters = linear_parameters(site, site.attrs(DenseAttrs).activation)
    reason = refuse_parameters(parameters)
    if reason:
        return reason
    if not LEAST <= parameters.weights.shape[1] <= LARGEST:
        return f"its inputs are not {LEAST} to {LARGEST}"
    found = _parameters(site)[1]
    if found is None:
        return "its rows are no Walsh rows"
    if len(np.unique(np.abs(found.factors))) > 1:
        return "its weights have several magnitudes"
    return None


def _lower(site: Site) -> Lowered:
    parameters, found = _parameters(site)
    if found is None:
        raise site.error("its rows are no Walsh rows")
    outputs, inputs = parameters.weights.shape
    rows = math.prod(site.y.shape[:-1])
    magnitude = abs(int(found.factors[0]))
    largest = int(np.abs(parameters.folded.astype(np.int64)).max(initial=0)) + 128 * magnitude * inputs
    halves = "long-multiply" not in site.features and largest < HALVES_LIMIT
    function = Function(
        f"dense_walsh{'_halves' if halves else ''}",
        "walsh/dense.c.j2",
        {"requantize": "requantize_halves" if halves else "requantize_word"},
        (HALVES if halves else WORD,),
        code_bytes=320,
        stack_bytes=90,
    )
    bias = parameters.folded
    same = bool(np.all(bias == bias[0]))
    places = (2 * found.rows + (found.factors < 0)).astype(np.uint16)
    multiplier = np.broadcast_to(parameters.multiplier, (outputs,)).copy()
    fields = initialisers(
        vectors=rows,
        inputs=inputs,
        outputs=outputs,
        size=found.size,
        magnitude=magnitude,
        bias_step=int(not same),
        **requantization_fields(parameters.requantization),
    )
    each_input, quad, each_output = COSTS[core_of(site.features)]
    rounds = (found.size.bit_length() - 1) / 2
    return Lowered(
        calls=(
            Call(
                function,
                (
                    Input(),
                    Output(),
                    Const("rows"),
                    Const("bias"),
                    Const("multiplier"),
                    Const("shape"),
                    Scratch("int32_t"),
                ),
            ),
        ),
        tables=(
            Table("rows", places, f"of a Walsh-Hadamard matrix of {found.size}: twice the row, plus one for a minus"),
            Table("bias", bias[:1] if same else bias, "bias, the input's zero point folded in"),
            Table("multiplier", multiplier, f"times 2^-{parameters.requantization.shift}"),
        ),
        records=(Record("shape", f"{function.name}_shape", fields, SHAPE_BYTES),),
        scratch_bytes=4 * found.size,
        instructions=round(
            rows * (60 + each_input * found.size + quad * found.size / 4 * rounds + each_output * outputs)
        ),
    )


KERNELS = (Kernel("dense/walsh", "Dense", _refuse, _lower, format="walsh"),)
