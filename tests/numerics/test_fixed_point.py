"""Every rounding and overflow mode of ap_fixed against exact rational arithmetic (UG1399)."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.ir import FixedPoint
from boardfit.ir.types import Overflow, Rounding
from boardfit.numerics import cast_fixed, quantize_fixed

HALF = Fraction(1, 2)


def exact_round(value: Fraction, mode: Rounding) -> int:
    """The definition of each mode on an exact value."""
    below = math.floor(value)
    nearest_is_tie = value - below == HALF
    if mode is Rounding.TRN:
        return below
    if mode is Rounding.TRN_ZERO:
        return math.trunc(value)
    if not nearest_is_tie:
        return math.floor(value + HALF)
    away = below if value < 0 else below + 1
    return {
        Rounding.RND: below + 1,
        Rounding.RND_MIN_INF: below,
        Rounding.RND_INF: away,
        Rounding.RND_ZERO: below + 1 if value < 0 else below,
        Rounding.RND_CONV: below + (below & 1),
    }[mode]


def exact_overflow(raw: int, element: FixedPoint) -> int:
    low, high = element.minimum, element.maximum
    if element.overflow is Overflow.WRAP:
        return (raw - low) % 2**element.width + low
    if element.overflow is Overflow.SAT_ZERO:
        return raw if low <= raw <= high else 0
    if element.overflow is Overflow.SAT_SYM and element.signed:
        low = -high
    return min(max(raw, low), high)


elements = st.builds(
    FixedPoint,
    st.booleans(),
    st.integers(2, 32),
    st.integers(-8, 40),
    st.sampled_from(list(Rounding)),
    st.sampled_from(list(Overflow)),
)


@given(elements, st.integers(-(2**40), 2**40), st.integers(0, 20))
@settings(max_examples=800)
def test_cast_is_exact(element: FixedPoint, raw: int, extra: int) -> None:
    """From `extra` more fraction bits than the target has."""
    value = Fraction(raw, 2**extra)  # in units of the target's last bit
    expected = exact_overflow(exact_round(value, element.rounding), element)
    assert int(cast_fixed(np.asarray([raw]), element.frac + extra, element)[0]) == expected


@given(elements, st.integers(-(2**20), 2**20), st.integers(1, 20))
@settings(max_examples=500)
def test_cast_to_more_fraction_bits_is_exact(element: FixedPoint, raw: int, fewer: int) -> None:
    expected = exact_overflow(raw * 2**fewer, element)
    assert int(cast_fixed(np.asarray([raw]), element.frac - fewer, element)[0]) == expected


@given(elements, st.floats(-(2.0**20), 2.0**20, allow_nan=False))
@settings(max_examples=800)
def test_real_values_are_assigned_exactly(element: FixedPoint, value: float) -> None:
    exact = Fraction(value) * Fraction(2) ** element.frac
    if abs(exact) >= 2**62:
        return
    expected = exact_overflow(exact_round(exact, element.rounding), element)
    assert int(quantize_fixed(np.asarray([value]), element)[0]) == expected


@given(st.sampled_from(list(Rounding)), st.integers(-40, 40))
def test_ties_of_real_values(mode: Rounding, twice: int) -> None:
    element = FixedPoint(True, 16, 0, mode, Overflow.SAT)
    assert int(quantize_fixed(np.asarray([twice / 2]), element)[0]) == exact_round(Fraction(twice, 2), mode)
