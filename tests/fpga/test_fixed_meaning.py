"""Fixed-point ops against exact rational arithmetic, and the promises of the type rules."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.compress.fixed_types import constant_raw, constant_type, effective_range, limit_fraction, range_type
from boardfit.errors import UsageError
from boardfit.ir import FixedPoint, Overflow, Rounding
from boardfit.numerics import dequantize
from boardfit.ops.activation import Activation
from boardfit.ops.average_pool2d import average_accumulator
from boardfit.ops.clamp import fixed_bounds
from boardfit.ops.softmax_fixed import (
    exponential_table,
    inverse_table,
    result_fraction,
    softmax_design,
    softmax_fixed,
)

from .networks import Builder, lowered

elements = st.builds(
    FixedPoint,
    signed=st.booleans(),
    width=st.integers(2, 24),
    frac=st.integers(-8, 30),
    rounding=st.just(Rounding.RND),
    overflow=st.just(Overflow.SAT),
)


@given(
    low=st.floats(-1e6, 0, allow_subnormal=False),
    high=st.floats(0, 1e6, allow_subnormal=False),
    width=st.integers(2, 24),
)
def test_range_type_is_the_finest_that_holds_the_range(low: float, high: float, width: int) -> None:
    element = range_type(low, high, width)
    assert element.width == width
    assert element.signed == (low < 0)
    half = element.step / 2
    assert element.minimum * element.step - half <= low
    assert element.maximum * element.step + half >= high
    if high > 1e-3 or low < -1e-3:
        finer = element.step / 2
        fits = element.minimum * finer - finer / 2 <= low and element.maximum * finer + finer / 2 >= high
        assert not fits


@given(values=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20), width=st.integers(2, 20))
def test_constant_types_are_tight_and_as_good_as_the_full_width(values: list[float], width: int) -> None:
    array = np.array(values)
    element = constant_type(array, width)
    full = range_type(min([*values, 0.0]), max([*values, 0.0]), width)
    assert element.width <= max(width, 1)
    error = np.abs(dequantize(constant_raw(array, element), element) - array).max()
    assert error <= full.step / 2 * (1 + 1e-9)


def test_ternary_weights_need_two_bits() -> None:
    element = constant_type(np.array([-0.25, 0.0, 0.25]), 16)
    assert (element.width, element.frac) == (2, 2)
    assert constant_type(np.array([0.0, 0.5]), 16).width == 1


@given(element=elements, frac=st.integers(-10, 20))
def test_limited_fractions_lose_only_zeros(element: FixedPoint, frac: int) -> None:
    limited = limit_fraction(element, frac)
    assert limited.integer == element.integer
    assert limited.frac <= max(frac, element.frac - element.width + 1 + element.signed)


def test_flat_ends_of_a_function_are_cut_off() -> None:
    x = np.linspace(-20.0, 20.0, 4001)
    low, high = effective_range(x, 1 / (1 + np.exp(-x)), 2.0**-9)
    assert -6.5 < low < -6.0 and 6.0 < high < 6.5


@pytest.mark.parametrize("classes", [2, 5, 10, 100])
@pytest.mark.parametrize("frac", [-1, 0, 3, 7, 9, 12])
@pytest.mark.parametrize("width", [6, 10, 16])
def test_softmax_keeps_the_order_of_the_largest(classes: int, frac: int, width: int) -> None:
    x = FixedPoint(True, width, frac)
    out = FixedPoint(False, result_fraction(x, classes), result_fraction(x, classes), Rounding.RND, Overflow.SAT)
    random = np.random.default_rng(classes + frac)
    raw = random.integers(x.minimum, x.maximum + 1, (400, classes))
    raw[:200] = np.clip(raw[:200, :1] + random.integers(-2, 3, (200, classes)), x.minimum, x.maximum)
    y = softmax_fixed(raw, 1, x, out)
    top = np.sort(raw, axis=1)
    clear = top[:, -1] > top[:, -2]
    assert (y.argmax(axis=1) == raw.argmax(axis=1))[clear].all()
    ordered = np.sort(y, axis=1)
    assert (ordered[clear, -1] > ordered[clear, -2]).all()


def test_softmax_is_close_to_the_real_one() -> None:
    x = FixedPoint(True, 13, 7)
    out = FixedPoint(False, 16, 16, Rounding.RND, Overflow.SAT)
    raw = np.random.default_rng(0).integers(-900, 900, (500, 10))
    real = np.exp(dequantize(raw, x) - dequantize(raw, x).max(axis=1, keepdims=True))
    real /= real.sum(axis=1, keepdims=True)
    assert np.abs(dequantize(softmax_fixed(raw, 1, x, out), out) - real).max() < 0.01


def test_softmax_tables_do_not_depend_on_the_c_library() -> None:
    for frac in range(-3, 16):
        design = softmax_design(FixedPoint(True, 16, frac), 10)
        table = exponential_table(design)
        assert table[0] == 1 << design.exponential.frac
        assert (np.diff(table) <= 0).all()
        reference = [
            math.floor(
                Fraction(math.exp(-Fraction(k) * Fraction(2) ** -frac)) * 2**design.exponential.frac + Fraction(1, 2)
            )
            for k in (1, 2, 100, 1023)
        ]
        assert [int(table[k]) for k in (1, 2, 100, 1023)] == reference
        assert inverse_table(design)[design.inverse_input.maximum] > 0


@given(x=elements, y=elements, count=st.integers(1, 200))
def test_average_accumulators_hold_every_sum(x: FixedPoint, y: FixedPoint, count: int) -> None:
    if x.integer + count.bit_length() + max(x.frac, y.frac + 2) > 60:
        return
    accumulator = average_accumulator(x, y, count)
    shift = accumulator.frac - x.frac
    assert accumulator.minimum <= x.minimum * count << shift
    assert (x.maximum * count) << shift <= accumulator.maximum


@settings(max_examples=50)
@given(element=elements, low=st.floats(-1e5, 1e5), span=st.floats(0, 1e5))
def test_clamp_bounds_stay_in_range(element: FixedPoint, low: float, span: float) -> None:
    bottom, top = fixed_bounds(Activation(low, low + span), element)
    assert element.minimum <= bottom <= top <= element.maximum


def test_types_that_are_too_wide_to_be_exact_are_refused_with_the_node() -> None:
    b = Builder(0)
    b.dense(b.input("x", 8), 3, out=True)
    with pytest.raises(UsageError, match=r"needs \d+-bit arithmetic") as caught:
        lowered(b.editor.finish(), width=32)
    assert caught.value.node == "/Dense"
    assert caught.value.hint == "give a smaller --width"
