"""Dense layers whose weights are stored as Huffman-coded (gap, value) pairs and decoded as they are multiplied."""

from __future__ import annotations

import functools
import math

import numpy as np

from boardfit.coding.pairs import (
    FEW_VALUES,
    FIRST_LENGTH,
    LENGTH_BITS,
    SYMBOL_COUNT_BITS,
    VALUE_OFFSET,
    PairCode,
    Widths,
    encode_pairs,
)
from boardfit.ops.activation import NONE
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs

from ..kernel import Call, Const, Function, Input, Kernel, Lowered, Output, Record, Scratch, Site, Table, Value
from .common import LinearParameters, initialisers, linear_parameters, requantizer
from .int8_layers import refuse_linear

BITS = Function("bit_reader", "coded/bits.c.j2", code_bytes=0, stack_bytes=0)
TABLE = Function(
    "code_table",
    "coded/table.c.j2",
    {"count_bits": SYMBOL_COUNT_BITS, "length_bits": LENGTH_BITS, "first_length": FIRST_LENGTH},
    (BITS,),
    code_bytes=200,
    stack_bytes=80,
)
SHAPE_BYTES = 16
MOST_SIZE = (1 << 16) - 1
WORTH = 0.75
"""Of the bytes of plain int8 weights: a code that does not save a quarter is not tried."""

PER_PAIR = 19.5
PER_OUTPUT = 50.0
PER_COLUMN = 6.0
PER_RUN = 80.0
PER_SYMBOL = 55.0
PER_ENTRY = 3.2
PER_CALL = 300.0
"""Instructions; symbols and table entries once, the others for each row of inputs."""


def expected_bytes(weights: np.ndarray) -> float:
    """A lower bound on the bytes of coded weights: entropy of places and of values, independent of each other."""
    _, counts = np.unique(weights[weights != 0], return_counts=True)
    total, count = weights.size, int(counts.sum())
    zero = total - count
    places = sum(n * math.log2(total / n) for n in (zero, count) if n)
    return float(places + (counts * np.log2(count / counts)).sum()) / 8 if count else 0.0


def coded_parameters(site: Site) -> LinearParameters:
    """Integer parameters of a dense layer or a convolution."""
    attrs = site.node.attrs
    activation = attrs.activation if isinstance(attrs, (DenseAttrs, Conv2DAttrs)) else NONE
    return linear_parameters(site, activation)


def refuse_coded(site: Site) -> str | None:
    """Why a layer's weights cannot or should not be entropy-coded."""
    reason = refuse_linear(site)
    if reason:
        return reason
    weights = coded_parameters(site).weights
    if weights.dtype != np.int8:
        return "its weights less their zero point do not fit int8"
    if max(len(weights), weights[0].size, math.prod(site.x().shape), math.prod(site.y.shape[:-1])) > MOST_SIZE:
        return "it has more than 65,535 inputs, outputs or rows"
    if expected_bytes(weights) > WORTH * weights.size:
        return "its weights are hardly shorter in a code"
    return None


@functools.lru_cache(maxsize=64)
def _encoded(weights: bytes, shape: tuple[int, int], bias: bytes) -> PairCode:
    matrix = np.frombuffer(weights, np.int8).reshape(shape).astype(np.int64)
    return encode_pairs(matrix, np.frombuffer(bias, np.int32).astype(np.int64))


def pair_code(parameters: LinearParameters) -> PairCode:
    """The coded weights (flattened to (outputs, inputs)) and biases of a layer."""
    weights = parameters.weights.reshape(len(parameters.weights), -1)
    return _encoded(weights.tobytes(), (weights.shape[0], weights.shape[1]), parameters.bias.tobytes())


def multiplier_table(parameters: LinearParameters) -> tuple[Table, int]:
    """Multipliers, one if all are equal, and the step from one output's to the next."""
    distinct = np.unique(parameters.multiplier)
    values = distinct if len(distinct) == 1 else parameters.multiplier
    return Table("multiplier", values, f"times 2^-{parameters.requantization.shift}"), int(len(distinct) > 1)


def table_context(widths: Widths) -> dict[str, Value]:
    """Template variables of a decoder of pairs."""
    return {
        "table": TABLE.name,
        "gap_width": widths.gap,
        "gap_entries": 1 << widths.gap,
        "value_width": widths.value,
        "value_entries": 1 << widths.value,
        "value_offset": VALUE_OFFSET,
    }


def _lower(site: Site) -> Lowered:
    parameters = coded_parameters(site)
    code = pair_code(parameters)
    multiplier, step = multiplier_table(parameters)
    to = parameters.requantization
    requantize = requantizer(to)
    widths = code.widths
    many = "" if widths == FEW_VALUES else "_many"
    function = Function(
        f"dense_huffman{many}{'' if requantize.name == 'requantize' else '_wide'}",
        "coded/dense_huffman.c.j2",
        {"requantize": requantize.name, **table_context(widths)},
        (BITS, requantize, TABLE),
        code_bytes=480,
        stack_bytes=120,
    )
    rows = math.prod(site.y.shape[:-1])
    fields = initialisers(
        rows=rows,
        inputs=code.columns,
        columns=code.used,
        outputs=code.rows,
        x_zero=parameters.zero,
        bias_bits=code.bias_bits,
        bias_shift=code.bias_shift,
        multiplier_step=step,
        y_zero=to.zero_point,
        low=to.low,
        high=to.high,
        shift=to.shift - (32 if requantize.name == "requantize" else 0),
    )
    entries = (1 << widths.gap) + (1 << widths.value)
    return Lowered(
        calls=(
            Call(
                function,
                (Input(), Output(), Const("stream"), Const("multiplier"), Const("shape"), Scratch("int16_t")),
            ),
        ),
        tables=(Table("stream", code.words, _note(code)), multiplier),
        records=(Record("shape", f"{function.name}_shape", fields, SHAPE_BYTES),),
        scratch_bytes=2 * (entries + max(code.used, code.symbols)),
        instructions=_instructions(code, rows, entries),
    )


def _instructions(code: PairCode, rows: int, entries: int) -> int:
    each = PER_PAIR * code.pairs + PER_OUTPUT * code.rows + PER_COLUMN * code.used + PER_RUN * code.runs
    return round(rows * each + PER_SYMBOL * code.symbols + PER_ENTRY * entries + PER_CALL)


def _note(code: PairCode) -> str:
    return (
        f"{code.bits} bits: {code.pairs} pairs of gap and value, biases of {code.bias_bits} bits times "
        f"2^{code.bias_shift}"
    )


KERNELS = (Kernel("dense/huffman", "Dense", refuse_coded, _lower, format="huffman"),)
