"""Quantize, round, saturate and requantize on integers: the only place in boardfit that rounds.

All functions work on numpy arrays of int64 (raw integers) or float64 (real values) and are exact as
long as their stated bounds hold. The written contract is docs/semantics.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .errors import InternalError
from .ir.types import Affine, ElementType, FixedPoint, Float32, Overflow, Rounding

MULTIPLIER_BITS = 31
"""Multipliers of a requantization are below 2**31: they fit a signed 32-bit register."""

MAX_SHIFT = 54
"""Largest shift: 32 (the high word) plus 22, so that (zero_point << 22) + 2**21 fits 32 bits."""

EXACT_IN_BINARY32 = 23
"""Bits of integers whose differences binary32 holds exactly."""


def signed_digits(raw: np.ndarray) -> np.ndarray:
    """Non-zero digits of the canonical signed-digit form of each integer: the ones of 3n xor n (Reitwiesner 1960)."""
    magnitude = np.abs(np.asarray(raw, np.int64))
    pattern = ((3 * magnitude) ^ magnitude).astype("<u8")
    return np.unpackbits(pattern.reshape(-1, 1).view(np.uint8), axis=1).sum(axis=1).reshape(magnitude.shape)


def wrap(raw: np.ndarray, element: FixedPoint) -> np.ndarray:
    """Reduce modulo 2**width into the range of `element` (AP_WRAP)."""
    span = 1 << element.width if element.width < 64 else 0
    if span == 0:
        return raw
    return ((raw - element.minimum) % span) + element.minimum


def overflow(raw: np.ndarray, element: FixedPoint) -> np.ndarray:
    """Bring raw values (int64) into the range of `element` by its overflow mode (UG1399)."""
    if element.overflow is Overflow.WRAP:
        return wrap(raw, element)
    low, high = element.minimum, element.maximum
    if element.overflow is Overflow.SAT_ZERO:
        return np.where((raw < low) | (raw > high), 0, raw)
    if element.overflow is Overflow.SAT_SYM and element.signed:
        low = -high
    return np.clip(raw, low, high)


def shift_round(raw: np.ndarray, bits: int, rounding: Rounding) -> np.ndarray:
    """raw / 2**bits rounded to an integer; `bits` may be negative (an exact left shift).

    Args:
        raw: int64 values; |raw| < 2**62 and, for negative `bits`, |raw| * 2**-bits < 2**63.
    """
    if bits <= 0:
        return raw << -bits
    if bits > 62:
        raise InternalError(f"shift by {bits} bits")
    floor = raw >> bits
    rest = raw - (floor << bits)
    half = 1 << (bits - 1)
    if rounding is Rounding.TRN:
        return floor
    if rounding is Rounding.TRN_ZERO:
        return floor + ((rest != 0) & (raw < 0))
    up = rest > half
    tie = rest == half
    if rounding is Rounding.RND:
        up = up | tie
    elif rounding is Rounding.RND_ZERO:
        up = up | (tie & (raw < 0))
    elif rounding is Rounding.RND_INF:
        up = up | (tie & (raw >= 0))
    elif rounding is Rounding.RND_CONV:
        up = up | (tie & ((floor & 1) == 1))
    # RND_MIN_INF: a tie stays at the floor
    return floor + up


def cast_fixed(raw: np.ndarray, frac: int, element: FixedPoint) -> np.ndarray:
    """Assign exact values raw * 2**-frac to `element`: round, then overflow, as ap_fixed does.

    Returns int64 raw values of `element`.
    """
    return overflow(shift_round(raw, frac - element.frac, element.rounding), element)


def quantize_fixed(values: ArrayLike, element: FixedPoint) -> np.ndarray:
    """Assign real values to `element`, as ap_fixed does from a double.

    Values are scaled exactly (powers of two), so the only rounding is that of `element`.
    """
    scaled = np.ldexp(np.asarray(values, np.float64), element.frac)
    if element.rounding is Rounding.TRN:
        rounded = np.floor(scaled)
    elif element.rounding is Rounding.TRN_ZERO:
        rounded = np.trunc(scaled)
    elif element.rounding is Rounding.RND:
        floor = np.floor(scaled)
        rounded = floor + (scaled - floor >= 0.5)
    elif element.rounding is Rounding.RND_CONV:
        rounded = np.rint(scaled)
    elif element.rounding is Rounding.RND_INF:
        magnitude = np.floor(np.abs(scaled))
        magnitude += np.abs(scaled) - magnitude >= 0.5
        rounded = np.copysign(magnitude, scaled)
    elif element.rounding is Rounding.RND_ZERO:
        magnitude = np.ceil(np.abs(scaled))
        magnitude -= magnitude - np.abs(scaled) >= 0.5
        rounded = np.copysign(magnitude, scaled)
    else:  # RND_MIN_INF
        ceiling = np.ceil(scaled)
        rounded = ceiling - (ceiling - scaled >= 0.5)
    bound = float(1 << 62)
    return overflow(np.clip(rounded, -bound, bound).astype(np.int64), element)


def quantize_affine(values: ArrayLike, element: Affine, *, sample_axis: bool = False) -> np.ndarray:
    """QuantizeLinear: round half to even of value / scale, plus zero point, clamped (ONNX operators).

    The division is done in binary32, as onnxruntime does, so that ties fall the same way.

    Args:
        values: real values in the tensor's shape, with one leading sample axis if `sample_axis`.
        element: target type.
        sample_axis: whether `values` has the interpreter's leading sample axis.
    """
    values = np.asarray(values, np.float32)
    rank = values.ndim - sample_axis
    scale, zero = element.scale_for(rank).astype(np.float32), element.zero_for(rank)
    low, high = element.minimum - zero, element.maximum - zero
    if element.width > EXACT_IN_BINARY32:
        steps = np.rint((values / scale).astype(np.float64))
        return np.fmin(np.fmax(steps, low), high).astype(np.int64) + zero
    steps = np.asarray(values / scale)
    np.rint(steps, out=steps)
    np.fmax(steps, low.astype(np.float32), out=steps)  # not-a-number becomes the least value
    np.fmin(steps, high.astype(np.float32), out=steps)
    raw = steps.astype(np.int64)
    raw += zero
    return raw


def dequantize_affine(raw: np.ndarray, element: Affine, *, sample_axis: bool = False) -> np.ndarray:
    """DequantizeLinear: (raw - zero_point) * scale in binary32."""
    rank = raw.ndim - sample_axis
    difference = (np.asarray(raw, np.int64) - element.zero_for(rank)).astype(np.float32)
    return difference * element.scale_for(rank).astype(np.float32)


def quantize(values: ArrayLike, element: ElementType, *, sample_axis: bool = False) -> np.ndarray:
    """Real values to the raw integers (int64) of `element`; float32 stays what it is."""
    if isinstance(element, Float32):
        return np.asarray(values, np.float32)
    if isinstance(element, FixedPoint):
        return quantize_fixed(values, element)
    return quantize_affine(values, element, sample_axis=sample_axis)


def dequantize(raw: np.ndarray, element: ElementType, *, sample_axis: bool = False) -> np.ndarray:
    """Raw integers of `element` to real values (float32 for Affine, exact float64 for FixedPoint)."""
    if isinstance(element, Float32):
        return np.asarray(raw, np.float32)
    if isinstance(element, FixedPoint):
        return np.ldexp(np.asarray(raw, np.float64), -element.frac)
    return dequantize_affine(raw, element, sample_axis=sample_axis)


@dataclass(frozen=True, slots=True)
class Requantization:
    """From an exact accumulator to an output integer: multiply, add half, shift, add zero point, clamp.

    y = clamp(zero_point + floor((acc * multiplier[c] + 2**(shift - 1)) / 2**shift), low, high)

    One multiplier (per tensor) or one per output channel; all channels share the shift.
    Rounds once, half towards plus infinity. Bounds: 0 <= multiplier < 2**31, 1 <= shift <= 54.

    With `ties_to_even` an exact half goes to the even quotient instead, as QuantizeLinear does. Means use it: the mean
    of 2**k values in the type of those values is a tie once in 2**k times, and always rounding up would shift it.
    """

    multiplier: tuple[int, ...]
    shift: int
    zero_point: int
    low: int
    high: int
    ties_to_even: bool = False

    def apply(self, accumulator: np.ndarray, multiplier: np.ndarray | None = None) -> np.ndarray:
        """Requantize int64 accumulators with |acc| < 2**31.

        Args:
            multiplier: the multiplier of each accumulator, broadcasting; those of the last axis' channels if None.
        """
        factor = np.asarray(self.multiplier, np.int64) if multiplier is None else multiplier
        product, half = accumulator * factor, 1 << (self.shift - 1)
        scaled = (product + half) >> self.shift
        if self.ties_to_even:
            scaled = scaled - (scaled & ((product & ((half << 1) - 1)) == half))
        return np.clip(scaled + self.zero_point, self.low, self.high)


def choose_multipliers(
    ratios: Sequence[float], bits: int = MULTIPLIER_BITS, max_shift: int = MAX_SHIFT
) -> tuple[tuple[int, ...], int]:
    """Integer multipliers and one shift with ratio ~ multiplier / 2**shift for every ratio.

    The shift is the largest one at which every multiplier stays below 2**bits, so the largest ratio
    keeps `bits` significant bits; a ratio 2**k times smaller keeps k fewer.

    Raises:
        InternalError: a ratio is not finite, is negative, or is too large for `bits` at shift 1.
    """
    top = max(ratios)
    if not all(math.isfinite(r) and r >= 0.0 for r in ratios):
        raise InternalError(f"requantization ratio {top} is not a finite positive number")
    shift = max_shift
    if top > 0.0:
        shift = min(max_shift, bits - math.frexp(top)[1])
        if round(math.ldexp(top, shift)) >= 1 << bits:  # rounding up reached the power of two
            shift -= 1
    if shift < 1:
        raise InternalError(f"requantization ratio {top} is too large for {bits}-bit multipliers")
    return tuple(round(math.ldexp(r, shift)) for r in ratios), shift


def requantization(
    ratios: Sequence[float], element: Affine, low: float = -math.inf, high: float = math.inf
) -> Requantization:
    """Requantization to `element` (per tensor) with a fused clamp to the real interval [low, high].

    Args:
        ratios: real factor from accumulator units to output units, one or one per channel.
        element: output type; its scale turns the real bounds of the activation into integers.
    """
    multipliers, shift = choose_multipliers(ratios)
    bottom, top = clamp_bounds(element, low, high)
    return Requantization(multipliers, shift, element.zero_point[0], bottom, top)


def clamp_bounds(element: Affine, low: float, high: float) -> tuple[int, int]:
    """Integer bounds of a fused activation: real bounds quantized to `element` and clamped to its range."""
    bottom, top = element.minimum, element.maximum
    if math.isfinite(low):
        bottom = int(quantize_affine(np.float32(low), element))
    if math.isfinite(high):
        top = int(quantize_affine(np.float32(high), element))
    return bottom, max(bottom, top)


def signed_bits(low: int, high: int) -> int:
    """Width of the smallest signed integer that holds every value in [low, high]."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1


def exact_dtype(bound: int) -> type[np.float32] | type[np.float64] | type[np.int64]:
    """The fastest type in which sums bounded by `bound` are exact, in any order of additions.

    binary32 holds every integer below 2**24 and binary64 below 2**53; both have fast matrix products.
    """
    if bound < 1 << 24:
        return np.float32
    return np.float64 if bound < 1 << 53 else np.int64


def exact_matmul(left: np.ndarray, right: np.ndarray, bound: int) -> np.ndarray:
    """Integer matrix product (..., K) x (K, M), exact, in int64.

    Args:
        bound: bound on the absolute value of every partial sum.
    """
    dtype = exact_dtype(bound)
    return np.matmul(left.astype(dtype, copy=False), right.astype(dtype, copy=False)).astype(np.int64)
