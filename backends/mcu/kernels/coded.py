"""Layers with entropy-coded weights: every row of weights is decoded once into a list and applied at all its places.

The list is the only memory for weights. It serves convolutions in either code, and dense layers in the arithmetic one,
whose decoder takes so much longer than the products that streaming would gain nothing.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from boardfit.coding import contexts
from boardfit.coding.contexts import ContextCode, encode_contexts, least_decisions
from boardfit.coding.pairs import FEW_VALUES, Widths
from boardfit.coding.range_coder import START
from boardfit.ops.conv2d import Conv2DAttrs

from ..kernel import (
    Bound,
    Call,
    Const,
    Function,
    FunctionPointer,
    Input,
    Kernel,
    Literal,
    Lowered,
    Output,
    Record,
    Scratch,
    Site,
    Table,
)
from .common import LinearParameters, initialisers, requantizer
from .huffman import (
    BITS,
    MOST_SIZE,
    PER_ENTRY,
    PER_SYMBOL,
    TABLE,
    coded_parameters,
    multiplier_table,
    pair_code,
    refuse_coded,
    table_context,
)

SHAPE_BYTES = 16


STATE = Function("coded_state", "coded/state.c.j2", code_bytes=0, stack_bytes=0)
RANGE = Function(
    "range_decoder",
    "coded/range.c.j2",
    code_bytes=0,
    stack_bytes=0,
)
NUMBER = Function(
    "range_number",
    "coded/number.c.j2",
    {"prefixes": contexts.PREFIXES, "start": START},
    (RANGE,),
    code_bytes=280,
    stack_bytes=56,
)
RANK = Function("range_rank", "coded/rank.c.j2", {}, (RANGE,), code_bytes=150, stack_bytes=40)
ARITHMETIC_ROW = Function(
    "arithmetic_row",
    "coded/arithmetic_row.c.j2",
    {
        "start": START,
        "gaps": contexts.GAPS,
        "skipped": contexts.SKIPPED,
        "taken": contexts.TAKEN,
        "biases": contexts.BIASES,
        "signs": contexts.SIGNS,
        "most_signs": contexts.MOST_SIGNS,
        "ranks": contexts.RANKS,
        "near": contexts.NEAR,
    },
    (STATE, RANGE, NUMBER, RANK),
    code_bytes=700,
    stack_bytes=100,
)

PER_WEIGHT = 8.0
PER_PLACE = 26.0
PER_PLACE_WIDE = 46.0
PER_ROW = 60.0
PER_DECISION = 36.0
PER_PAIR_LISTED = 30.0
PER_USED = 8.0
PER_RUN = 70.0
"""Instructions."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a row of weights is applied, and how many of its inputs lie side by side; no step where none is made."""

    rows: int
    columns: int
    row_step: int
    column_step: int
    line: int
    line_step: int

    @property
    def places(self) -> int:
        """How often a row of weights is applied."""
        return self.rows * self.columns

    def offsets(self, inputs: int) -> np.ndarray:
        """Place of each input of a row of weights in x."""
        index = np.arange(inputs)
        return index + index // self.line * self.line_step


@dataclass(frozen=True, slots=True, eq=False)
class _Coded:
    """A code as the driver needs it.

    `bits`, `reach`: members of `coded_shape`; `work` and `decoding`: 16-bit words and instructions of the decoder.
    """

    stream: np.ndarray
    decode: Function
    used: int
    bits: int
    reach: int
    bias_shift: int
    work: int
    decoding: float
    note: str


def geometry(site: Site) -> Geometry:
    """Geometry of a dense layer, or of a convolution without padding and dilation."""
    x, y = site.x().shape, site.y.shape
    if site.node.op == "Dense":
        rows = math.prod(y[:-1])
        return Geometry(rows, 1, x[-1] if rows > 1 else 0, 0, x[-1], 0)
    strides = site.attrs(Conv2DAttrs).strides
    line = site.x(1).shape[2] * x[3]
    row_step = strides[0] * x[2] * x[3] if y[1] > 1 else 0
    column_step = strides[1] * x[3] if y[2] > 1 else 0
    return Geometry(y[1], y[2], row_step, column_step, line, x[2] * x[3] - line)


def _refuse(site: Site) -> str | None:
    if site.node.op == "Conv2D":
        attrs = site.attrs(Conv2DAttrs)
        if attrs.groups != 1:
            return "it is a grouped convolution"
        if any(attrs.pads):
            return "its padding is not zero"
        if attrs.dilations != (1, 1):
            return "it is dilated"
        if site.x().shape[0] != 1:
            return "it has several images"
        if attrs.strides[0] * math.prod(site.x().shape[2:]) > MOST_SIZE:
            return "its rows are too long"
    return refuse_coded(site)


@functools.lru_cache(maxsize=64)
def _context_code(weights: bytes, shape: tuple[int, int], bias: bytes, line: tuple[int, int]) -> ContextCode:
    matrix = np.frombuffer(weights, np.int8).reshape(shape).astype(np.int64)
    places = Geometry(1, 1, 0, 0, *line).offsets(shape[1])
    return encode_contexts(matrix, np.frombuffer(bias, np.int32).astype(np.int64), places)


def _arithmetic(parameters: LinearParameters, where: Geometry) -> _Coded:
    weights = parameters.weights.reshape(len(parameters.weights), -1)
    code = _context_code(weights.tobytes(), weights.shape, parameters.bias.tobytes(), (where.line, where.line_step))
    return _Coded(
        np.frombuffer(code.data, np.uint8),
        ARITHMETIC_ROW,
        code.used,
        code.rank_bits,
        code.reach,
        code.bias_shift,
        code.contexts + (2 << code.rank_bits),
        PER_DECISION * code.decisions + 3 * code.contexts,
        f"{len(code.data)} bytes: {code.decisions} binary decisions, biases times 2^{code.bias_shift}",
    )


def _huffman_row(widths: Widths) -> Function:
    return Function(
        f"huffman_row{'' if widths == FEW_VALUES else '_many'}",
        "coded/huffman_row.c.j2",
        table_context(widths),
        (STATE, BITS, TABLE),
        code_bytes=500,
        stack_bytes=90,
    )


def _huffman(parameters: LinearParameters, where: Geometry) -> _Coded:
    code = pair_code(parameters)
    entries = (1 << code.widths.gap) + (1 << code.widths.value)
    return _Coded(
        code.words,
        _huffman_row(code.widths),
        code.used,
        code.bias_bits,
        0,
        code.bias_shift,
        entries + code.symbols,
        PER_PAIR_LISTED * code.pairs + PER_SYMBOL * code.symbols + PER_ENTRY * entries + PER_RUN * code.runs,
        f"{code.bits} bits: {code.pairs} pairs of gap and value, biases of {code.bias_bits} bits times "
        f"2^{code.bias_shift}",
    )


def _lower(site: Site, format_name: str) -> Lowered:
    parameters = coded_parameters(site)
    where = geometry(site)
    coded = (_arithmetic if format_name == "arithmetic" else _huffman)(parameters, where)
    multiplier, step = multiplier_table(parameters)
    to = parameters.requantization
    requantize = requantizer(to)
    function = Function(
        f"coded_layer{'' if requantize.name == 'requantize' else '_wide'}",
        "coded/layer.c.j2",
        {"requantize": requantize.name},
        (STATE, requantize),
        code_bytes=360,
        stack_bytes=170,
    )
    weights = parameters.weights.reshape(len(parameters.weights), -1)
    listed = int(np.count_nonzero(weights, axis=1).max(initial=0))
    shape = initialisers(
        outputs=len(weights),
        columns=coded.used,
        line=where.line,
        reach=coded.reach,
        x_zero=parameters.zero,
        bits=coded.bits,
        bias_shift=coded.bias_shift,
        multiplier_step=step,
        y_zero=to.zero_point,
        low=to.low,
        high=to.high,
        shift=to.shift - (32 if requantize.name == "requantize" else 0),
    )
    places = (where.rows, where.columns, where.row_step, where.column_step, where.line_step)
    arguments = (
        Input(),
        Output(),
        Const("stream"),
        Const("multiplier"),
        FunctionPointer(coded.decode),
        Const("shape"),
        Const("places"),
        Scratch("uint16_t"),
        Literal(str(2 * listed)),
    )
    count = int(np.count_nonzero(weights))
    per_place = PER_PLACE if requantize.name == "requantize" else PER_PLACE_WIDE
    applied = (PER_WEIGHT * count + per_place * len(weights)) * where.places + (PER_ROW + 6) * len(weights) + 5 * count
    return Lowered(
        calls=(Call(function, arguments),),
        tables=(
            Table("stream", coded.stream, coded.note),
            multiplier,
            Table("places", np.array(places, np.uint16), "rows, columns, steps", parameter=False),
        ),
        records=(Record("shape", "coded_shape", shape, SHAPE_BYTES),),
        scratch_bytes=4 * listed + 2 * (coded.used + coded.work),
        instructions=round(applied + coded.decoding + PER_USED * coded.used),
    )


def _least(site: Site) -> Bound:
    """What the arithmetic code costs at least, without coding anything."""
    weights = coded_parameters(site).weights
    matrix = weights.reshape(len(weights), -1)
    count, used = int(np.count_nonzero(matrix)), int((matrix != 0).any(axis=0).sum())
    applied = (PER_WEIGHT * count + PER_PLACE * len(matrix)) * geometry(site).places
    listed = int(np.count_nonzero(matrix, axis=1).max(initial=0))
    return Bound(round(applied + PER_DECISION * least_decisions(matrix)), 0, 4 * listed + 2 * used)


def _kernel(op: str, format_name: str) -> Kernel:
    return Kernel(
        f"{op.lower()}/{format_name}",
        op,
        _refuse,
        functools.partial(_lower, format_name=format_name),
        format=format_name,
        bound=_least if format_name == "arithmetic" else None,
    )


KERNELS = (_kernel("Dense", "arithmetic"), _kernel("Conv2D", "arithmetic"), _kernel("Conv2D", "huffman"))
