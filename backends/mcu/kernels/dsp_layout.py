"""Weight layouts of the DSP kernels: two output channels in every halfword, so that one SXTB16 unpacks four weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from boardfit.numerics import Requantization

HALFWORD_LOW, HALFWORD_HIGH = -(1 << 15), (1 << 15) - 1
PAIRED_SUM_LIMIT = 1 << 23
"""256 times the sum of an odd output channel must fit a signed 32-bit register."""


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """A matrix product on raw int8 inputs, its zero point already folded into the bias.

    Attributes:
        weights: (outputs, depth) int64, centred, each fits int8.
        bias: (outputs,) int64: bias - zero_point * sum(weights).
        requantization: to int8; one multiplier per output.
    """

    weights: np.ndarray
    bias: np.ndarray
    requantization: Requantization

    @property
    def outputs(self) -> int:
        """Output channels."""
        return int(self.weights.shape[0])

    def padded(self, outputs: int, depth: int) -> LinearLayer:
        """The layer with zero weights added up to `outputs` and `depth`."""
        rows, columns = self.weights.shape
        weights = np.zeros((outputs, depth), np.int64)
        weights[:rows, :columns] = self.weights
        bias = np.zeros(outputs, np.int64)
        bias[:rows] = self.bias
        multipliers = per_output(self.requantization, rows)
        r = self.requantization
        wide = Requantization((*multipliers, *[0] * (outputs - rows)), r.shift, r.zero_point, r.low, r.high)
        return LinearLayer(weights, bias, wide)


def per_output(requantization: Requantization, outputs: int) -> tuple[int, ...]:
    """One multiplier for every output channel."""
    m = requantization.multiplier
    return m * outputs if len(m) == 1 else m


def high_word_shift(requantization: Requantization) -> int:
    """What is left to shift after the high word of the product is taken."""
    return requantization.shift - 32


def addend(requantization: Requantization, extra: int = 0) -> int:
    """Zero point, lift for the upper bound, and one half, as added to the high word of a sum times 2**extra."""
    shift = high_word_shift(requantization) + extra
    return ((requantization.zero_point + 127 - requantization.high) << shift) + (1 << (shift - 1))


def clamp(requantization: Requantization) -> tuple[int, int]:
    """What to subtract between two saturations to int8, and to add after them, to clamp to [low, high].

    `addend` lifts the value by 127 - high, so that the first saturation cuts at `high`; the subtraction brings `low`
    to -128, where the second one cuts.
    """
    floor = requantization.low + 128
    return 127 - requantization.high + floor, floor


def clamps(requantization: Requantization) -> bool:
    """Whether one saturation to int8 is not enough."""
    return (requantization.low, requantization.high) != (-128, 127)


def refuse_requantization(requantization: Requantization, extra: int) -> str | None:
    """Why SMMLA and SSAT cannot do a requantization, or None."""
    shift = high_word_shift(requantization)
    if shift < 1 or shift + extra > 23:
        return f"requantization shift {requantization.shift}"
    if not -(1 << 31) <= addend(requantization, extra) < 1 << 31:
        return "the zero point does not fit the high word"
    if requantization.low < -128 or requantization.high > 127:
        return "its outputs are not int8"
    return None


def refuse_pairs(layer: LinearLayer) -> str | None:
    """Why two outputs cannot share halfwords, or None: `layer` has an even number of outputs."""
    low, high = layer.weights[0::2], layer.weights[1::2]
    shared = 256 * high + low
    if shared.min(initial=0) < HALFWORD_LOW or shared.max(initial=0) > HALFWORD_HIGH:
        return "a pair of weights does not fit a halfword"
    largest = np.abs(layer.bias[1::2]) + 128 * np.abs(high).sum(axis=1)
    if largest.max(initial=0) >= PAIRED_SUM_LIMIT:
        return "the sums of an output channel may exceed 23 bits"
    return None


def weight_words(layer: LinearLayer, *, wide: bool) -> np.ndarray:
    """(outputs / 2, depth / 2) uint32: for every four inputs k the word of k, k + 2, then that of k + 1, k + 3.

    That is the order in which SXTB16 widens four bytes. A halfword holds 256 * odd + even, or, if `wide`, the two
    weights as bytes. Depth must be a multiple of four.
    """
    even, odd = layer.weights[0::2], layer.weights[1::2]
    shared = (256 * odd + (even & 0xFF if wide else even)) & 0xFFFF
    groups = shared.reshape(len(shared), -1, 4)
    words = np.stack([groups[..., 0] | groups[..., 2] << 16, groups[..., 1] | groups[..., 3] << 16], axis=-1)
    return words.reshape(len(shared), -1).astype(np.uint32)


def start_sums(layer: LinearLayer, *, wide: bool) -> np.ndarray:
    """(outputs / 2, 2) uint32: start values of the low and the whole sum of every pair (if `wide`, of its two sums)."""
    even, odd = layer.bias[0::2], layer.bias[1::2]
    return np.stack([even, odd if wide else 256 * odd + even], axis=1).astype(np.uint32)


def multiply_stream(layer: LinearLayer, *, wide: bool) -> np.ndarray:
    """What `multiply.c.j2` reads for every two outputs: start sums, weights, multipliers; flat uint32."""
    multipliers = np.array(per_output(layer.requantization, layer.outputs), np.uint32).reshape(-1, 2)
    parts = [start_sums(layer, wide=wide), weight_words(layer, wide=wide), multipliers]
    return np.concatenate(parts, axis=1).reshape(-1)


def dense_stream(layer: LinearLayer, *, wide: bool) -> np.ndarray:
    """What `dense_rows.c.j2` reads for every four outputs: start sums, weights of both pairs by turns, multipliers."""
    words = weight_words(layer, wide=wide)
    groups = len(words) // 2
    by_turns = words.reshape(groups, 2, -1).transpose(0, 2, 1).reshape(groups, -1)
    sums = start_sums(layer, wide=wide).reshape(groups, 4)
    multipliers = np.array(per_output(layer.requantization, layer.outputs), np.uint32).reshape(groups, 4)
    return np.concatenate([sums, by_turns, multipliers], axis=1).reshape(-1)
