"""Requantization against exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.errors import InternalError
from boardfit.ir import Affine
from boardfit.numerics import MAX_SHIFT, MULTIPLIER_BITS, Requantization, choose_multipliers, requantization
from boardfit.ops.activation import NONE, RELU
from boardfit.ops.elementwise import OPERAND_BITS, sum_requantization

ratios = st.floats(min_value=2.0**-40, max_value=2.0**28, allow_nan=False, allow_subnormal=False)
accumulators = st.integers(-(2**31) + 1, 2**31 - 1)
INT32_MAX = 2**31 - 1


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def half_even(value: Fraction) -> int:
    return round(value)  # Fraction rounds ties to even


@given(accumulators, st.integers(0, 2**31 - 1), st.integers(1, MAX_SHIFT), st.integers(-128, 127), st.booleans())
@settings(max_examples=400)
def test_apply_is_the_exact_formula(accumulator: int, factor: int, shift: int, zero: int, even: bool) -> None:
    made = Requantization((factor,), shift, zero, -128, 127, ties_to_even=even)
    exact = Fraction(accumulator * factor, 2**shift)
    expected = min(max((half_even(exact) if even else half_up(exact)) + zero, -128), 127)
    assert int(made.apply(np.asarray([accumulator]))[0]) == expected


@pytest.mark.parametrize("count", [2, 4, 64])
def test_means_of_powers_of_two_round_ties_to_even(count: int) -> None:
    (factor,), shift = choose_multipliers([1.0 / count])
    made = Requantization((factor,), shift, 0, -(2**15), 2**15, ties_to_even=True)
    sums = np.arange(-8 * count, 8 * count + 1)
    np.testing.assert_array_equal(made.apply(sums), np.rint(sums / count))


@given(st.lists(ratios, min_size=1, max_size=8))
@settings(max_examples=400)
def test_multipliers_are_the_nearest_at_the_largest_shift(wanted: list[float]) -> None:
    made, shift = choose_multipliers(wanted)
    assert 1 <= shift <= MAX_SHIFT
    for ratio, factor in zip(wanted, made, strict=True):
        assert 0 <= factor < 2**MULTIPLIER_BITS
        assert abs(Fraction(factor, 2**shift) - Fraction(ratio)) <= Fraction(1, 2 ** (shift + 1))
    if shift < MAX_SHIFT:  # one bit more would overflow the largest
        assert round(math.ldexp(max(wanted), shift + 1)) >= 2**MULTIPLIER_BITS
        assert max(made) >= 2 ** (MULTIPLIER_BITS - 1)


@given(ratios, st.integers(-1000, 1000))
@settings(max_examples=400)
def test_result_is_the_exactly_scaled_value_but_near_ties(ratio: float, target: int) -> None:
    """With 31 bits the result differs from exact scaling only where that is within 2**-12 of a tie."""
    made = requantization([ratio], Affine(True, 16, (1.0,), (0,)))
    accumulator = min(max(round(target / ratio), -INT32_MAX), INT32_MAX)
    exact = Fraction(ratio) * accumulator
    got = int(made.apply(np.asarray([accumulator]))[0])
    error = Fraction(1, 2 ** (made.shift + 1)) * abs(accumulator)
    assert abs(got - exact) <= Fraction(1, 2) + error
    if made.shift < MAX_SHIFT:
        assert error <= abs(exact) / 2**30


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 2.0**31])
def test_impossible_ratios_are_refused(bad: float) -> None:
    with pytest.raises(InternalError):
        choose_multipliers([bad])


def test_a_ratio_just_below_a_power_of_two_does_not_overflow() -> None:
    (factor,), shift = choose_multipliers([np.nextafter(0.5, 0.0)])
    assert factor < 2**31 and shift == 31


scales = st.floats(min_value=2.0**-12, max_value=2.0**6, allow_nan=False)
bytes_ = st.integers(-128, 127)


@given(scales, scales, scales, bytes_, bytes_, bytes_, bytes_, bytes_, st.sampled_from([1, -1]))
@settings(max_examples=400)
def test_sums_fit_32_bits_and_are_exact_to_a_step(
    sa: float, sb: float, sy: float, za: int, zb: int, zy: int, a: int, b: int, sign: int
) -> None:
    x, other, y = (Affine(True, 8, (s,), (z,)) for s, z in ((sa, za), (sb, zb), (sy, zy)))
    made = sum_requantization(x, other, y, NONE, sign)
    assert max(made.left, abs(made.right)) < 2**OPERAND_BITS
    centred = a - za, b - zb
    total = abs(centred[0] * made.left) + abs(centred[1] * made.right) + 2 ** (made.shift - 1)
    assert total <= INT32_MAX
    exact = (Fraction(sa) * centred[0] + sign * Fraction(sb) * centred[1]) / Fraction(sy)
    bound = Fraction(1, 2) + Fraction(abs(centred[0]) + abs(centred[1]), 2 ** (made.shift + 1))
    got = int(made.apply(np.asarray([centred[0]]), np.asarray([centred[1]]))[0])
    low, high = exact - bound + zy, exact + bound + zy
    assert got in (-128, 127) or low <= got <= high


def test_fused_relu_clamps_at_the_zero_point() -> None:
    made = requantization([0.25], Affine(True, 8, (0.1,), (-20,)), RELU.low, RELU.high)
    assert (made.low, made.high) == (-20, 127)
