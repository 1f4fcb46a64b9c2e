"""Div: y = activation(a / b)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..ir.types import Affine
from ..numerics import choose_multipliers, clamp_bounds
from .elementwise import ElementwiseAttrs, centred_operands, float_elementwise, import_binary, infer_elementwise
from .spec import Invocation, OpSpec

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


class DivAttrs(ElementwiseAttrs):
    """Fused activation."""

    __slots__ = ()


DIVISION_SHIFT = 40
"""Upper bound of the shift: 2 * (9-bit difference) * 2**40 stays inside 64 bits."""


def division_multiplier(a: Affine, b: Affine, y: Affine) -> tuple[int, int]:
    """(multiplier, shift) of sa / (sb * sy)."""
    ratio = a.scale[0] / (b.scale[0] * y.scale[0])
    multipliers, shift = choose_multipliers([ratio], max_shift=DIVISION_SHIFT)
    return multipliers[0], shift


def _affine(call: Invocation) -> list[np.ndarray]:
    a, b = centred_operands(call)
    y = call.affine_out
    multiplier, shift = division_multiplier(call.affine(0), call.affine(1), y)
    sign = np.where(b < 0, -1, 1)
    numerator, divisor = a * sign * multiplier * 2, np.abs(b) << (shift + 1)
    half = divisor >> 1
    quotient = (numerator + half) // np.where(divisor == 0, 1, divisor)
    huge = int(math.ldexp(1, 30))
    quotient = np.where(divisor == 0, np.sign(a) * huge, quotient)  # x / 0 saturates, 0 / 0 is zero
    activation = call.attrs(DivAttrs).activation
    low, high = clamp_bounds(y, activation.low, activation.high)
    return [np.clip(quotient + y.zero_point[0], low, high)]


def import_div(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Div."""
    import_binary(context, node, "Div", DivAttrs())


DIV = OpSpec(
    name="Div",
    attrs=DivAttrs,
    doc="y = activation(a / b), broadcasting; in integer form x / 0 saturates and 0 / 0 is 0.",
    infer=infer_elementwise,
    run_float=float_elementwise(np.divide),
    run_affine=_affine,
    importers={"Div": import_div},
)
