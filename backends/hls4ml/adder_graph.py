"""A matrix of constants as a graph of adders: made by da4ml, kept as integers, written as HLS code.

da4ml writes HLS code too, with one ap_fixed type for each of its values. Every pair of types is another instance of the
library's templates, and g++ takes minutes for a few hundred adders. Here a value is the raw integer of its type and
sums are made in `long long`; storing them in an `ap_int` of the proven width tells the tool how wide its adders are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boardfit.errors import InternalError
from boardfit.ir import FixedPoint

from .render import render

SUM_BITS = 62
"""Widest value: sums are made in `long long`."""

EXTRA_DEPTH = 2
"""Adders an output may be deeper than its shortest tree if that saves adders (hls4ml's choice as well)."""

INPUT, ADD, SUBTRACT, ADD_CONSTANT, CONSTANT = -1, 0, 1, 4, 5
"""Operations of da4ml that a constant matrix takes."""


@dataclass(frozen=True, slots=True)
class Value:
    """One integer of the graph: left * 2**left_shift + sign * right * 2**right_shift + constant.

    Attributes:
        low, high: its range.
        frac: its real value is the integer times 2**-frac.
        left, right: indices of earlier values, or None.
        input: index of the input it is, or None.
        level: adders on the longest way from an input.
    """

    low: int
    high: int
    frac: int
    left: int | None = None
    left_shift: int = 0
    right: int | None = None
    right_shift: int = 0
    sign: int = 1
    constant: int = 0
    input: int | None = None
    level: int = 0

    @property
    def signed(self) -> bool:
        return self.low < 0

    @property
    def width(self) -> int:
        """Bits that hold the range."""
        magnitude = max(self.high, -self.low - 1, 0)
        return max(1, magnitude.bit_length() + self.signed)

    @property
    def adder_bits(self) -> int:
        """Bits that take a cell of an adder: not those below the other operand's last bit, which are wires."""
        if self.left is None:
            return 0
        if self.right is None:
            return self.width if self.constant else 0
        wires = self.right_shift if self.sign < 0 else max(self.left_shift, self.right_shift)
        return max(self.width - wires, 1)


@dataclass(frozen=True, slots=True)
class Output:
    """An output: sign * values[value] * 2**shift, or zero where `value` is None."""

    value: int | None
    shift: int = 0
    sign: int = 1


@dataclass(frozen=True, slots=True)
class AdderGraph:
    """Values in an order in which they can be computed, and the outputs.

    Attributes:
        frac: fraction bits all outputs are given with.
    """

    values: tuple[Value, ...]
    outputs: tuple[Output, ...]
    frac: int

    @property
    def adders(self) -> int:
        return sum(value.adder_bits > 0 for value in self.values)

    @property
    def adder_bits(self) -> int:
        """Cells of all adders."""
        return sum(value.adder_bits for value in self.values)

    @property
    def depth(self) -> int:
        """Adders on the longest way."""
        return max((value.level for value in self.values), default=0)

    def live_bits(self) -> tuple[int, ...]:
        """Bits that cross from each level to the next, the inputs' level first: registers of a pipeline cut there."""
        last = [value.level for value in self.values]
        for value in self.values:
            for source in (value.left, value.right):
                if source is not None:
                    last[source] = max(last[source], value.level)
        for output in self.outputs:
            if output.value is not None:
                last[output.value] = self.depth + 1
        return tuple(
            sum(v.width for v, end in zip(self.values, last, strict=True) if v.level <= level < end)
            for level in range(self.depth)
        )

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Raw inputs (S, n_in) to raw outputs (S, n_out) with `frac` fraction bits."""
        found: list[np.ndarray] = []
        for value in self.values:
            result = np.full(len(inputs), value.constant, np.int64)
            if value.input is not None:
                result = inputs[:, value.input].astype(np.int64)
            if value.left is not None:
                result = result + (found[value.left] << value.left_shift)
            if value.right is not None:
                result = result + value.sign * (found[value.right] << value.right_shift)
            found.append(result)
        columns = [
            np.zeros(len(inputs), np.int64) if o.value is None else o.sign * (found[o.value] << o.shift)
            for o in self.outputs
        ]
        return np.stack(columns, axis=1)

    def hls_code(self, name: str, wrapper: str) -> str:
        """A C++ function template `name(inputs, outputs)` over ap_fixed types, and a class around it."""
        low, high = self._output_range()
        exact = Value(low, high, self.frac)
        if max(value.width for value in (*self.values, exact)) > SUM_BITS:
            raise InternalError(f"an adder graph has values wider than {SUM_BITS} bits")
        return render(
            "adder_graph.h.j2",
            name=name,
            wrapper=wrapper,
            n_in=sum(value.input is not None for value in self.values),
            adders=self.adders,
            depth=self.depth,
            lines=[_line(index, value) for index, value in enumerate(self.values)],
            outputs=[_term(output.value, output.shift, output.sign, first=True) for output in self.outputs],
            sum_type=f"ap_{'' if exact.signed else 'u'}fixed<{exact.width}, {exact.width - self.frac}>",
            sum_bits=exact.width,
        )

    def _output_range(self) -> tuple[int, int]:
        low = high = 0
        for output in self.outputs:
            if output.value is not None:
                value = self.values[output.value]
                ends = sorted(output.sign * (end << output.shift) for end in (value.low, value.high))
                low, high = min(low, ends[0]), max(high, ends[1])
        return low, high


def _type(value: Value) -> str:
    return f"ap_{'' if value.signed else 'u'}int<{value.width}>"


def _term(source: int | None, shift: int, sign: int, *, first: bool) -> str:
    if source is None:
        return "0"
    scale = f" * {1 << shift}LL" if shift else ""
    prefix = ("-" if sign < 0 else "") if first else (" - " if sign < 0 else " + ")
    return f"{prefix}(long long)v{source}{scale}"


def _line(index: int, value: Value) -> str:
    """The declaration of one value."""
    if value.input is not None:
        return f"{_type(value)} v{index} = inputs[{value.input}].range({value.width - 1}, 0);"
    terms = "" if value.left is None else _term(value.left, value.left_shift, 1, first=True)
    if value.right is not None:
        terms += _term(value.right, value.right_shift, value.sign, first=False)
    if value.constant or not terms:
        sign = "-" if value.constant < 0 else "+"
        terms = f"{terms} {sign} {abs(value.constant)}LL" if terms else f"{value.constant}LL"
    return f"{_type(value)} v{index} = {terms};"


def make_adder_graph(weights: np.ndarray, bias: np.ndarray | None, element: FixedPoint) -> AdderGraph:
    """Let da4ml share the adders of a matrix.

    Args:
        weights: real values (n_in, n_out), exact multiples of a power of two.
        bias: real values (n_out,), likewise; None for none.
        element: type of the inputs.

    Raises:
        InternalError: da4ml answers with something a matrix does not take.
    """
    from da4ml.trace import FixedVariableArray, HWConfig, comb_trace

    n_in = len(weights)
    signs = np.full(n_in, int(element.signed), np.int16)
    integers = np.full(n_in, element.integer - int(element.signed), np.int16)
    fractions = np.full(n_in, element.frac, np.int16)
    options = {"hard_dc": EXTRA_DEPTH, "search_all_decompose_dc": True}
    inputs = FixedVariableArray.from_kif(signs, integers, fractions, HWConfig(1, -1, -1), solver_options=options)
    outputs = inputs @ weights
    if bias is not None:
        outputs = outputs + bias
    return _converted(comb_trace(inputs, outputs), element)


def _converted(found: object, element: FixedPoint) -> AdderGraph:
    values: list[Value] = []
    for op in found.ops:  # type: ignore[attr-defined]  # da4ml's CombLogic; its types are not installed everywhere
        values.append(_value(op, values, element))
    shifts = [_exponent(shift) for shift in found.out_shifts]  # type: ignore[attr-defined]
    indices = [int(index) for index in found.out_idxs]  # type: ignore[attr-defined]
    negated = [bool(negative) for negative in found.out_negs]  # type: ignore[attr-defined]
    fracs = [values[i].frac - shift for i, shift in zip(indices, shifts, strict=True) if i >= 0]
    frac = max(fracs, default=0)
    outputs = [
        Output(None) if i < 0 else Output(i, frac - (values[i].frac - shift), -1 if negative else 1)
        for i, shift, negative in zip(indices, shifts, negated, strict=True)
    ]
    return AdderGraph(tuple(values), tuple(outputs), frac)


def _exponent(value: float) -> int:
    return round(float(value))


def _value(op: object, values: Sequence[Value], element: FixedPoint) -> Value:
    id0, id1, opcode, data, interval = (getattr(op, name) for name in ("id0", "id1", "opcode", "data", "qint"))
    if opcode == INPUT:
        return Value(element.minimum, element.maximum, element.frac, input=int(id0))
    frac = -round(float(np.log2(interval.step)))
    low, high = round(interval.min / interval.step), round(interval.max / interval.step)
    if opcode == CONSTANT:
        return Value(low, high, frac, constant=int(data))
    left = values[id0]
    if opcode == ADD_CONSTANT:
        return Value(low, high, frac, id0, frac - left.frac, constant=int(data), level=left.level + 1)
    if opcode not in (ADD, SUBTRACT):
        raise InternalError(f"da4ml used operation {opcode} for a matrix")
    right = values[id1]
    level = max(left.level, right.level) + 1
    right_shift = frac - right.frac + int(data)
    sign = -1 if opcode == SUBTRACT else 1
    return Value(low, high, frac, id0, frac - left.frac, id1, right_shift, sign, level=level)
