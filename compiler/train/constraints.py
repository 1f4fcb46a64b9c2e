"""What training has to keep: pruned weights, shared weights, widths; read from what the graph promises.

A weight tensor is made from what is trained through the forms here: a mask or a table of shared values, then rounding
whose gradient is that of the identity (straight-through: Bengio et al. 2013; Jacob et al. 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compress.layers import WeightLayer
from ..ir.circulant import Circulant
from ..ir.encoding import Compressed, Tie
from .binary import LearnedForm
from .runtime import tensorflow

Tensor = Any


@dataclass(frozen=True, slots=True)
class WeightQuantizer:
    """Rounds weights as quantization will: symmetric, without the most negative value.

    Attributes:
        width: bits, 2 to 8 (1 stands for the two values -s and s).
        per_channel: one scale for each output channel (axis 0), else one for the tensor.
        power_of_two: magnitudes are powers of two (or zero): multiplications become shifts.
    """

    width: int = 8
    per_channel: bool = True
    power_of_two: bool = False

    def __call__(self, weights: Tensor) -> Tensor:
        """Rounded weights (out, ...); the scale follows the largest magnitude."""
        tf = tensorflow()
        axes = list(range(1 if self.per_channel else 0, len(weights.shape)))
        magnitude = tf.maximum(tf.reduce_max(tf.abs(weights), axis=axes, keepdims=True), 1e-30)
        if self.power_of_two:
            rounded = self._powers(tf, weights, magnitude)
        elif self.width == 1:
            mean = tf.reduce_mean(tf.abs(weights), axis=axes, keepdims=True)
            rounded = tf.where(weights >= 0, mean, -mean)
        else:
            scale = magnitude / float((1 << (self.width - 1)) - 1)
            rounded = tf.round(weights / scale) * scale
        return weights + tf.stop_gradient(rounded - weights)

    def _powers(self, tf: Any, weights: Tensor, magnitude: Tensor) -> Tensor:
        """sign * top * 2**-k, k from 0, top the power of two nearest to the largest magnitude.

        As many powers as fit beside the zero and the sign, but no more than an 8-bit integer holds (1, 2, ... 64).
        """
        lowest = -min((1 << (self.width - 1)) - 2, 6)
        top = tf.round(tf.math.log(magnitude) / np.log(2.0))
        exponent = tf.round(tf.math.log(tf.maximum(tf.abs(weights), 1e-30)) / np.log(2.0)) - top
        power = tf.sign(weights) * tf.pow(2.0, tf.minimum(exponent, 0.0) + top)
        return tf.where(exponent < float(lowest), tf.zeros_like(power), power)


@dataclass(frozen=True, slots=True)
class FixedPointParameters:
    """Parameters live on a fixed-point grid: every update is rounded to it (Gupta et al. 2015, section 3).

    Attributes:
        width: bits with the sign.
        fraction: bits behind the point.
        stochastic: round up with a chance equal to the distance from the lower neighbour, so that the mean of many
            small updates is kept; else to the nearest, which loses every update below half a step.
    """

    width: int = 16
    fraction: int = 12
    stochastic: bool = True

    def __call__(self, values: Tensor, seed: Tensor) -> Tensor:
        """`values` on the grid, saturated; `seed` two integers."""
        tf = tensorflow()
        scaled = values * float(2**self.fraction)
        if self.stochastic:
            scaled = tf.floor(scaled + tf.random.stateless_uniform(values.shape, seed))
        else:
            scaled = tf.floor(scaled + 0.5)
        top = float(2 ** (self.width - 1))
        return tf.clip_by_value(scaled, -top, top - 1.0) / float(2**self.fraction)


@dataclass(frozen=True, slots=True, eq=False)
class Sharing:
    """Which shared value each live weight takes: weights[positions] = signs * values[indices], zero elsewhere.

    Attributes:
        shape: of the weights.
        positions: flat positions of the weights that are not pruned, (n, 1) int32.
        indices: (n,) int32.
        signs: (n,) float32; -1 where values are shared up to their sign (HashedNets).
        values: (k,) start values, float32.
    """

    shape: tuple[int, ...]
    positions: np.ndarray
    indices: np.ndarray
    signs: np.ndarray
    values: np.ndarray

    def expand(self, values: Tensor) -> Tensor:
        """The weights; the gradient of a shared value is the sum over the weights that share it."""
        tf = tensorflow()
        live = tf.gather(values, self.indices) * self.signs
        size = int(np.prod(self.shape))
        if len(self.positions) == size:  # all in their order
            return tf.reshape(live, self.shape)
        return tf.reshape(tf.scatter_nd(self.positions, live, [size]), self.shape)


def sharing_of(weights: np.ndarray, *, keep_zeros: bool) -> Sharing:
    """The sharing that the equal values of `weights` show; zeros stay zero if asked for.

    Where most values have their negative among them, to the last bit, v and -v are one value with a sign: weights
    tied by a hash with a sign look like that, clusters of k-means do not.
    """
    flat = weights.reshape(-1).astype(np.float32)
    positions = np.flatnonzero(flat) if keep_zeros else np.arange(flat.size)
    live = flat[positions]
    values, indices = np.unique(live, return_inverse=True)
    signs = np.ones(len(live), np.float32)
    if len(values) > 2 and 2 * np.isin(-values, values).sum() > len(values):
        signs = np.where(live < 0, np.float32(-1), np.float32(1))
        values, indices = np.unique(np.abs(live), return_inverse=True)
    return Sharing(
        weights.shape,
        positions.astype(np.int32)[:, None],
        indices.reshape(-1).astype(np.int32),
        signs,
        values.astype(np.float32),
    )


def circulant_sharing(weights: np.ndarray, structure: Circulant) -> Sharing:
    """The sharing of block-circulant weights (out, ...): one value for every entry of a block's vector.

    The gradient of an entry is then the circular correlation that circulant layers are trained with (Cheng et al.
    2015, section 3.3), summed over the wrapped diagonal.
    """
    matrix = weights.reshape(len(weights), -1)
    index, signs = structure.places((matrix.shape[0], matrix.shape[1]))
    used, indices = np.unique(index, return_inverse=True)  # cut blocks have entries that nobody reads
    values = structure.exact_vectors(matrix).reshape(-1)[used].astype(np.float32)
    return Sharing(
        weights.shape,
        np.arange(weights.size, dtype=np.int32)[:, None],
        indices.reshape(-1).astype(np.int32),
        signs.reshape(-1).astype(np.float32),
        values,
    )


@dataclass(frozen=True, slots=True, eq=False)
class RowMagnitudes:
    """One trained number for each output channel: weights[o, ...] = signs[o, ...] * values[o] (Fastfood's diagonals).

    Attributes:
        signs: float32 of -1 and 1, the shape of the weights.
        values: (out,) start values, float32.
    """

    signs: np.ndarray
    values: np.ndarray

    def expand(self, values: Tensor) -> Tensor:
        """The weights; the gradient of a number is the sum over its channel."""
        return tensorflow().reshape(values, [-1] + [1] * (self.signs.ndim - 1)) * self.signs


def row_magnitudes(weights: np.ndarray) -> RowMagnitudes:
    """The numbers and signs of weights (out, ...) of one magnitude in each channel."""
    values = np.abs(weights.reshape(len(weights), -1)[:, 0]).astype(np.float32)
    return RowMagnitudes(np.where(weights < 0, np.float32(-1), np.float32(1)), values)


def tied_sharing(weights: np.ndarray, tie: Tie, *, keep_zeros: bool) -> Sharing:
    """The sharing that a tie promises; zeros stay zero if asked for."""
    flat = weights.reshape(-1).astype(np.float32)
    positions = np.flatnonzero(flat) if keep_zeros else np.arange(flat.size)
    return Sharing(
        weights.shape,
        positions.astype(np.int32)[:, None],
        tie.indices[positions].astype(np.int32),
        tie.signs[positions].astype(np.float32),
        tie.free(flat).astype(np.float32),
    )


@dataclass(frozen=True, slots=True, eq=False)
class WeightRule:
    """How the weights of one layer are trained.

    Attributes:
        frozen: not at all (their integer grid is stated).
        mask: bool, False where they are pruned, or None.
        sharing: or None.
        quantizer: rounding in the forward pass, or None.
    """

    frozen: bool = False
    mask: np.ndarray | None = None
    sharing: Sharing | RowMagnitudes | None = None
    quantizer: WeightQuantizer | LearnedForm | None = None


def rule_of(layer: WeightLayer, quantizer: WeightQuantizer | LearnedForm | None) -> WeightRule:
    """The rule that keeps what is promised of a layer's weights.

    Args:
        quantizer: for this layer; None takes one from a promised width below 8 bits.
    """
    if layer.element is not None:
        return WeightRule(frozen=True)
    promise = layer.encoding if isinstance(layer.encoding, Compressed) else None
    if promise is None:
        return WeightRule(quantizer=quantizer)
    if quantizer is None and promise.width < 8:
        per_channel = promise.clusters is None and promise.circulant is None
        quantizer = WeightQuantizer(promise.width, per_channel=per_channel)
    if promise.circulant is not None:
        return WeightRule(sharing=circulant_sharing(layer.weights, promise.circulant), quantizer=quantizer)
    if promise.signs:
        return WeightRule(sharing=row_magnitudes(layer.weights), quantizer=quantizer)
    mask = layer.weights != 0 if promise.zeros or promise.group else None
    if promise.tie is not None:
        sharing = tied_sharing(layer.weights, promise.tie, keep_zeros=mask is not None)
        return WeightRule(sharing=sharing, quantizer=quantizer)
    if promise.clusters is None:
        return WeightRule(mask=mask, quantizer=quantizer)
    return WeightRule(sharing=sharing_of(layer.weights, keep_zeros=mask is not None), quantizer=quantizer)
