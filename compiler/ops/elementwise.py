"""Two-input element-wise ops with numpy broadcasting: what add, subtract, multiply ... share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import Affine, TensorType
from ..numerics import cast_fixed, choose_multipliers, clamp_bounds
from .activation import NONE, Activation
from .spec import Invocation, Run, Types, required

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode

OPERAND_BITS = 21
"""Multipliers of an addition stay below 2**21, so that two 9-bit differences times them fit 32 bits."""


@dataclass(frozen=True, slots=True)
class ElementwiseAttrs(Attrs):
    """Fused activation."""

    activation: Activation = NONE


def infer_elementwise(attrs: Attrs, inputs: Types) -> list[TensorType]:
    """Output type of a broadcasting op."""
    a, b = required(inputs, 0), required(inputs, 1)
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise ValueError(f"shapes {a.shape} and {b.shape} cannot be broadcast") from None
    return [TensorType(tuple(int(d) for d in shape), a.element)]


def aligned(call: Invocation) -> tuple[np.ndarray, np.ndarray]:
    """Both operands with the output's rank behind the sample axis."""
    rank = call.output_types[0].rank
    found = []
    for index in (0, 1):
        array = call.array(index)
        missing = rank - (array.ndim - 1)
        found.append(array.reshape(array.shape[0], *[1] * missing, *array.shape[1:]))
    return found[0], found[1]


def centred_operands(call: Invocation) -> tuple[np.ndarray, np.ndarray]:
    """Both operands less their zero points."""
    a, b = aligned(call)
    return a - call.affine(0).zero_point[0], b - call.affine(1).zero_point[0]


def float_elementwise(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Callable[[Invocation], list[np.ndarray]]:
    """`run_float` of an element-wise op."""

    def run(call: Invocation) -> list[np.ndarray]:
        a, b = aligned(call)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            y = function(a, b)
        return [call.attrs(ElementwiseAttrs).activation.apply(y)]

    return run


@dataclass(frozen=True, slots=True)
class SumRequantization:
    """Add and subtract on integers.

    y = clamp(zero_point + floor((a * left + b * right + 2**(shift - 1)) / 2**shift), low, high)
    with a and b less their zero points; `right` is negative for a subtraction. Rounds once.
    """

    left: int
    right: int
    shift: int
    zero_point: int
    low: int
    high: int

    def apply(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Requantize a sum of int64 operands."""
        total = (a * self.left + b * self.right + (1 << (self.shift - 1))) >> self.shift
        return np.clip(total + self.zero_point, self.low, self.high)


def sum_requantization(a: Affine, b: Affine, y: Affine, activation: Activation, sign: int = 1) -> SumRequantization:
    """Multipliers of a + sign * b, the same for interpreter and backends."""
    ratios = [a.scale[0] / y.scale[0], b.scale[0] / y.scale[0]]
    # 30 is enough for every ratio above 2**-9, and keeps 2**(shift - 1) inside 32 bits
    (left, right), shift = choose_multipliers(ratios, bits=OPERAND_BITS, max_shift=30)
    low, high = clamp_bounds(y, activation.low, activation.high)
    return SumRequantization(left, sign * right, shift, y.zero_point[0], low, high)


def sum_runs(sign: int) -> tuple[Run, Run]:
    """(run_affine, run_fixed) of a + sign * b."""

    def run_affine(call: Invocation) -> list[np.ndarray]:
        a, b = centred_operands(call)
        activation = call.attrs(ElementwiseAttrs).activation
        return [sum_requantization(call.affine(0), call.affine(1), call.affine_out, activation, sign).apply(a, b)]

    def run_fixed(call: Invocation) -> list[np.ndarray]:
        a, b = aligned(call)
        frac = max(call.fixed(0).frac, call.fixed(1).frac)
        total = (a << (frac - call.fixed(0).frac)) + sign * (b << (frac - call.fixed(1).frac))
        return [cast_fixed(total, frac, call.fixed_out)]

    return run_affine, run_fixed


def import_binary(context: ImportContext, node: OnnxNode, op: str, attrs: Attrs) -> None:
    """A two-input ONNX operator; before opset 7 the second operand may be aligned at `axis`."""
    a, b = context.tensor(node, 0), context.tensor(node, 1)
    if node.opset < 7 and node.integer("broadcast", 0):
        rank, shape = context.type(a).rank, context.type(b).shape
        axis = node.integer("axis", rank - len(shape))
        b = context.reshape(node, b, (*shape, *[1] * (rank - len(shape) - axis)), "broadcast")
    context.result(node, op, [a, b], attrs)


def import_chain(context: ImportContext, node: OnnxNode, op: str, attrs: Attrs) -> None:
    """An n-ary ONNX operator as a chain of two-input nodes."""
    total = context.tensor(node, 0)
    for index in range(1, len(node.inputs)):
        total = context.emit(node, op, [total, context.tensor(node, index)], attrs, suffix=str(index))
    context.bind(node.outputs[0], total)
