"""Fixed-point softmax: the arithmetic of hls4ml's `softmax_stable`, with types chosen so that the argmax is kept.

d[i]  = norm(max(x) - x[i])                      exact unless it saturates
e[i]  = exp_table[d[i]]                          exp_table[k] = exp_element(expf(-k * 2**-f))
t     = sum of e                                 exact
y[i]  = result(e[i] * inverse_table[inverse_input(t)])

Source: hls4ml 1.3.0, nnet_utils/nnet_activation.h and nnet_activation_stream.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InternalError
from ..ir.types import FixedPoint, Overflow, Rounding
from ..numerics import cast_fixed, quantize_fixed

TABLE_BITS = 10
"""Address bits of both tables: 1,024 entries of 18 bits fill one 18 Kbit block RAM."""

TABLE_FRACTIONS = range(17, 9, -1)
"""Fraction bits tried for the exponential table, best first; 17 + 1 is the width of an 18 Kbit block RAM."""


@dataclass(frozen=True, slots=True)
class SoftmaxDesign:
    """Every type inside a fixed-point softmax of n classes; a function of the input type and n alone.

    Attributes:
        norm: type of max - x, and address of the exponential table.
        exponential: type of the exponential table.
        accumulator: type of the sum, exact.
        inverse_input: type the sum is rounded to, and address of the inverse table.
        inverse: type of the inverse table.
    """

    norm: FixedPoint
    exponential: FixedPoint
    accumulator: FixedPoint
    inverse_input: FixedPoint
    inverse: FixedPoint


def _table_type(frac: int) -> FixedPoint:
    """ap_ufixed with one integer bit: holds 0 to 1."""
    return FixedPoint(False, frac + 1, frac, Rounding.RND, Overflow.SAT)


def _exponentials(norm: FixedPoint) -> tuple[np.ndarray, np.ndarray]:
    """exp(-k * step) for every address k as the two binary32 values that enclose it."""
    exact = np.exp(-np.ldexp(np.arange(norm.maximum + 1, dtype=np.float64), -norm.frac))
    nearest = exact.astype(np.float32)
    below = np.where(nearest > exact, np.nextafter(nearest, np.float32(0)), nearest)
    above = np.where(nearest < exact, np.nextafter(nearest, np.float32(2)), nearest)
    return below, above


def softmax_design(x: FixedPoint, classes: int) -> SoftmaxDesign:
    """The types of a softmax over `classes` values of type `x`.

    The exponential table gets as many fraction bits as possible such that every entry is the same for any
    `expf` that is off by less than one unit in the last place: the table is then independent of the C library.

    Raises:
        InternalError: no table type is independent of the C library (not seen for any input type).
    """
    width = min(TABLE_BITS, x.width)
    norm = FixedPoint(False, width, x.frac, Rounding.TRN, Overflow.SAT)
    below, above = _exponentials(norm)
    for frac in TABLE_FRACTIONS:
        exponential = _table_type(frac)
        if np.array_equal(quantize_fixed(below, exponential), quantize_fixed(above, exponential)):
            break
    else:
        raise InternalError(f"no exponential table for softmax of {x}")
    whole = max(classes.bit_length(), 1)  # sums reach `classes`
    accumulator = FixedPoint(False, whole + exponential.frac, exponential.frac)
    inverse_width = min(TABLE_BITS, accumulator.width)
    inverse_input = FixedPoint(False, inverse_width, inverse_width - whole, Rounding.RND, Overflow.SAT)
    return SoftmaxDesign(norm, exponential, accumulator, inverse_input, _table_type(TABLE_FRACTIONS[0]))


def result_fraction(x: FixedPoint, classes: int) -> int:
    """Fraction bits of the result that keep the argmax: neighbouring inputs give different outputs.

    The two largest table entries differ by at least 2**-(f + 1), and the inverse is at least 1 / classes.
    """
    return x.frac + 1 + classes.bit_length()


def exponential_table(design: SoftmaxDesign) -> np.ndarray:
    """Raw entries of the exponential table, one for each address."""
    return quantize_fixed(_exponentials(design.norm)[0], design.exponential)


def inverse_table(design: SoftmaxDesign) -> np.ndarray:
    """Raw entries of the inverse table; entry 0 is never addressed, because every sum is at least 1."""
    element = design.inverse_input
    values = np.ldexp(np.arange(element.maximum + 1, dtype=np.float64), -element.frac).astype(np.float32)
    values[0] = 1.0
    return quantize_fixed(np.float32(1.0) / values, design.inverse)


def softmax_fixed(x: np.ndarray, axis: int, element: FixedPoint, out: FixedPoint) -> np.ndarray:
    """Softmax of raw values along `axis`."""
    design = softmax_design(element, x.shape[axis])
    distance = x.max(axis=axis, keepdims=True) - x
    address = cast_fixed(distance, element.frac, design.norm)
    e = exponential_table(design)[address]
    total = e.sum(axis=axis, keepdims=True)
    inverse = inverse_table(design)[cast_fixed(total, design.exponential.frac, design.inverse_input)]
    return cast_fixed(e * inverse, design.exponential.frac + design.inverse.frac, out)
