"""Which ap_fixed type holds which values: integer bits from ranges, the rest fraction."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..ir.types import Affine, FixedPoint, Overflow, Rounding
from ..numerics import quantize_fixed

LOOKUP_BITS = 10
"""Widest address of a look-up table: 1,024 entries."""

MAX_WIDTH = 32
"""Widest value: products of two then still fit the 64-bit arithmetic of the interpreter."""

GRID = 4097
"""Points at which a function is sampled to find where it is flat."""


def range_type(low: float, high: float, width: int, *, signed: bool | None = None) -> FixedPoint:
    """The `width`-bit type with the finest step that holds [low, high]; rounds to nearest and saturates.

    Args:
        low, high: real bounds, low <= high; either may be cut by half a step, which rounding costs anyway.
        signed: None takes an unsigned type if `low` is not negative.
    """
    signed = low < 0 if signed is None else signed
    magnitude = width - signed
    limits = [_finest(high, (1 << magnitude) - 1, magnitude)] if high > 0 else []
    limits += [_finest(-low, 1 << magnitude, magnitude)] if low < 0 else []
    frac = min(limits, default=magnitude)
    return FixedPoint(signed, width, frac, Rounding.RND, Overflow.SAT)


def _finest(reach: float, limit: int, magnitude: int) -> int:
    """Largest number of fraction bits with reach * 2**frac <= limit + 1/2; `reach` is positive."""
    frac = magnitude - math.frexp(reach)[1] + 1
    while math.ldexp(reach, frac) > limit + 0.5:
        frac -= 1
    return frac


def constant_type(values: np.ndarray, width: int, *, max_frac: int | None = None) -> FixedPoint:
    """The narrowest type of at most `width` bits that holds constants as well as `width` bits can.

    Bits that are the same for all values are removed: weights that are powers of two or ternary get a few
    bits only. `max_frac` limits the fraction where finer steps are of no use.
    """
    values = np.asarray(values, np.float64)
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    if low == high == 0.0:
        return FixedPoint(False, 1, 0)
    element = range_type(low, high, width)
    if max_frac is not None and element.frac > max_frac:
        element = replace(element, frac=max_frac)
    raw = quantize_fixed(values, replace(element, rounding=Rounding.RND_CONV))
    if not raw.any():
        return FixedPoint(False, 1, 0)
    zeros = _trailing_zeros(int(np.bitwise_or.reduce(raw, axis=None)))
    raw = raw >> zeros
    signed = bool(raw.min() < 0)
    bits = max(int(raw.max()).bit_length(), (-int(raw.min()) - 1).bit_length() if signed else 0) + signed
    return FixedPoint(signed, max(bits, 1), element.frac - zeros)


def constant_raw(values: np.ndarray, element: FixedPoint) -> np.ndarray:
    """Raw integers of constants: to nearest, ties to even, saturated."""
    return quantize_fixed(values, replace(element, rounding=Rounding.RND_CONV, overflow=Overflow.SAT))


def fixed_of_affine(element: Affine) -> FixedPoint | None:
    """The fixed-point type with the same values and the same quantization, or None if there is none.

    There is one if the scale is one power of two and the zero point is 0.
    """
    if element.axis is not None or element.zero_point != (0,):
        return None
    mantissa, exponent = math.frexp(element.scale[0])
    if mantissa != 0.5:
        return None
    overflow = Overflow.SAT_SYM if element.narrow else Overflow.SAT
    return FixedPoint(element.signed, element.width, 1 - exponent, Rounding.RND_CONV, overflow)


def _trailing_zeros(value: int) -> int:
    return (value & -value).bit_length() - 1


def limit_fraction(element: FixedPoint, frac: int) -> FixedPoint:
    """`element` without fraction bits below 2**-frac (they would always be zero); at least one bit stays."""
    drop = min(element.frac - frac, element.width - 1 - element.signed)
    return element if drop <= 0 else replace(element, width=element.width - drop, frac=element.frac - drop)


def effective_range(inputs: np.ndarray, outputs: np.ndarray, tolerance: float) -> tuple[float, float]:
    """The part of an ascending sample of a function outside which it stays within `tolerance` of its ends."""
    left = np.abs(outputs - outputs[0]) > tolerance
    right = np.abs(outputs - outputs[-1]) > tolerance
    first = int(np.argmax(left)) if left.any() else 1
    last = len(inputs) - 1 - int(np.argmax(right[::-1])) if right.any() else len(inputs) - 2
    low, high = inputs[max(first - 1, 0)], inputs[min(last + 1, len(inputs) - 1)]
    return (float(low), float(high)) if low < high else (float(inputs[0]), float(inputs[-1]))
