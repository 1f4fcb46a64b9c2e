"""Binary and ternary weights in training: what the forward pass sees of real weights, and what is stored at the end.

Gradients go straight through the rounding to the real weights (Courbariaux et al. 2015, BinaryConnect, algorithm 1);
what differs between the methods is how real weights are kept in reach of their signs and which scale stands for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from ..ir.types import Affine
from .runtime import tensorflow

Tensor = Any

SMALLEST_CURVATURE = 1e-8
"""Added to the square root of Adam's second moment, as in its update."""

POSITIVE, NEGATIVE = "positive", "negative"
"""Names of the two scales of trained ternary weights."""

TERNARY_BITS = 2
TOP = 127
"""Raw value of the larger one of two scales."""


@dataclass(frozen=True, slots=True, eq=False)
class FormState:
    """What the forms may look at beside the weights.

    Attributes:
        size: mean magnitude of the weights at the start.
        second: Adam's second moments of the weights, or None before there is an optimizer.
        learned: further variables of the form, by name.
        seed: two integers in a training step, None elsewhere.
    """

    size: float
    second: Tensor = None
    learned: Mapping[str, Tensor] = field(default_factory=dict)
    seed: Tensor = None


class BinaryMethod(str, Enum):
    """Where the scale of signs comes from."""

    CONNECT = "connect"  # fixed; real weights are clipped (BinaryConnect, Courbariaux et al. 2015)
    XNOR = "xnor"  # mean magnitude (XNOR-Net, Rastegari et al. 2016)
    LOSS_AWARE = "loss-aware"  # magnitudes weighted by the curvature of the loss (Hou, Yao, Kwok 2017)


@dataclass(frozen=True, slots=True)
class BinaryWeights:
    """Signs with one scale for each output channel (or the layer): one bit a weight.

    Loss-aware: the scale minimises the loss to second order, with its Hessian taken as diagonal and as the square
    root d of Adam's second moments: |d * w| / |d| in the 1-norm (Hou 2017, proposition 3.2). The step of the real
    weights, gradient / d, is Adam's.

    Attributes:
        method: where the scale comes from.
        per_channel: one scale for each output channel, else one for the layer.
        stochastic: signs are drawn in training, 1 with the chance (w / limit + 1) / 2, where the limit is that of
            clipping (BinaryConnect, section 2.3).
        clip: real weights stay below so many times their mean magnitude at the start; 0 lets them grow.
            BinaryConnect clips, so that weights do not move out of reach of their sign's change.
    """

    method: BinaryMethod = BinaryMethod.LOSS_AWARE
    per_channel: bool = True
    stochastic: bool = False
    clip: float = 0.0

    def learned(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Variables to train beside the weights: none."""
        return {}

    def __call__(self, weights: Tensor, state: FormState) -> Tensor:
        """Binary weights (out, ...)."""
        tf = tensorflow()
        sign = tf.where(weights >= 0, 1.0, -1.0)
        if self.stochastic and state.seed is not None:
            chance = tf.clip_by_value(weights / (2.0 * self._limit(state)) + 0.5, 0.0, 1.0)
            sign = tf.where(tf.random.stateless_uniform(weights.shape, state.seed) < chance, 1.0, -1.0)
        binary = tf.stop_gradient(sign * self.scale(weights, state))
        return binary + weights - tf.stop_gradient(weights)

    def scale(self, weights: Tensor, state: FormState) -> Tensor:
        """Scale (out, 1, ...) or (1, 1, ...)."""
        tf = tensorflow()
        if self.method is BinaryMethod.CONNECT:
            return tf.fill([1] * len(weights.shape), state.size)
        axes = list(range(1 if self.per_channel else 0, len(weights.shape)))
        curvature = tf.ones_like(weights)
        if self.method is BinaryMethod.LOSS_AWARE and state.second is not None:
            curvature = tf.sqrt(state.second) + SMALLEST_CURVATURE
        whole = tf.reduce_sum(curvature, axis=axes, keepdims=True)
        return tf.reduce_sum(curvature * tf.abs(weights), axis=axes, keepdims=True) / whole

    def _limit(self, state: FormState) -> float:
        return (self.clip or 1.0) * state.size

    def kept(self, weights: Tensor, state: FormState) -> Tensor:
        """The real weights after a step, clipped if asked for."""
        if not self.clip:
            return weights
        return tensorflow().clip_by_value(weights, -self._limit(state), self._limit(state))

    def stored(self, weights: np.ndarray, state: FormState) -> tuple[np.ndarray, np.ndarray]:
        """Raw values -1 and 1 (out, ...), and scales (out,)."""
        scale = np.asarray(self.scale(tensorflow().constant(weights), state), np.float64).reshape(-1)
        return np.where(weights >= 0, 1, -1), np.broadcast_to(scale, (len(weights),))

    @property
    def values(self) -> int:
        """Distinct raw values."""
        return 2


class TernaryMethod(str, Enum):
    """Where the scales of -, 0, + come from."""

    MEAN = "mean"  # mean magnitude of what is not zero (ternary weight networks, Li, Liu 2016)
    TRAINED = "trained"  # two scales, trained (trained ternary quantization, Zhu et al. 2017)
    LOSS_AWARE = "loss-aware"  # magnitudes weighted by the curvature (Hou, Kwok 2018)


@dataclass(frozen=True, slots=True)
class TernaryWeights:
    """Minus a scale, zero, or a scale: two bits a weight, zeros left out where a kernel can.

    Attributes:
        method: where the scales come from.
        threshold: weights below so many times the mean magnitude of their output channel become zero; 0.7 is nearly
            best for normal and uniform weights (Li, Liu 2016). Zhu et al. take a twentieth of the largest weight.
    """

    method: TernaryMethod = TernaryMethod.LOSS_AWARE
    threshold: float = 0.7

    def learned(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """The two scales of trained ternary weights, at first the mean magnitude of what is not zero."""
        if self.method is not TernaryMethod.TRAINED:
            return {}
        size = np.abs(weights)
        kept = size > self.threshold * size.mean()
        start = np.float32(size[kept].mean() if kept.any() else 1.0)
        return {POSITIVE: np.array(start), NEGATIVE: np.array(start)}

    def __call__(self, weights: Tensor, state: FormState) -> Tensor:
        """Ternary weights (out, ...)."""
        tf = tensorflow()
        sign = self._signs(weights)
        straight = weights - tf.stop_gradient(weights)
        if self.method is not TernaryMethod.TRAINED:
            return tf.stop_gradient(sign * self._scale(weights, sign, state)) + straight
        positive, negative = state.learned[POSITIVE], state.learned[NEGATIVE]
        size = tf.where(sign > 0, positive, tf.where(sign < 0, negative, 1.0))
        return tf.where(sign != 0, sign * size, 0.0) + tf.stop_gradient(size) * straight  # Zhu 2017, equation 8

    def _signs(self, weights: Tensor) -> Tensor:
        tf = tensorflow()
        axes = list(range(1, len(weights.shape)))
        least = self.threshold * tf.reduce_mean(tf.abs(weights), axis=axes, keepdims=True)
        return tf.stop_gradient(tf.where(tf.abs(weights) > least, tf.sign(weights), 0.0))

    def _scale(self, weights: Tensor, sign: Tensor, state: FormState) -> Tensor:
        tf = tensorflow()
        axes = list(range(1, len(weights.shape)))
        part = tf.abs(sign)
        if self.method is TernaryMethod.LOSS_AWARE and state.second is not None:
            part = part * (tf.sqrt(state.second) + SMALLEST_CURVATURE)
        whole = tf.maximum(tf.reduce_sum(part, axis=axes, keepdims=True), 1e-30)
        return tf.reduce_sum(part * tf.abs(weights), axis=axes, keepdims=True) / whole

    def kept(self, weights: Tensor, state: FormState) -> Tensor:
        """The real weights after a step, as they are."""
        return weights

    def stored(self, weights: np.ndarray, state: FormState) -> tuple[np.ndarray, np.ndarray]:
        """Raw values (out, ...) and scales (out,): -1, 0, 1, or of unequal scales the larger one as 127."""
        tf = tensorflow()
        sign = self._signs(tf.constant(weights))
        ones = np.asarray(sign, np.int64)
        if self.method is not TernaryMethod.TRAINED:
            scale = np.asarray(self._scale(tf.constant(weights), sign, state), np.float64).reshape(-1)
            return ones, np.where(scale > 0, scale, 1.0)
        sizes = np.array([float(np.asarray(state.learned[name])) for name in (NEGATIVE, POSITIVE)])
        top = max(float(np.abs(sizes).max()), 1e-30)
        negative, positive = np.rint(sizes / top * TOP).astype(np.int64)
        raw = np.where(ones > 0, positive, np.where(ones < 0, -negative, 0))
        return raw, np.full(len(weights), top / TOP)

    @property
    def values(self) -> int:
        """Distinct raw values."""
        return 3


LearnedForm = BinaryWeights | TernaryWeights
"""Forms whose scales follow the training."""


def integer_type(raw: np.ndarray, scales: np.ndarray) -> Affine:
    """The type of stored values: as narrow as they allow, a scale for each output channel."""
    width = TERNARY_BITS if np.abs(raw).max(initial=0) <= 1 else 8
    single = np.asarray(scales, np.float32)
    return Affine(True, width, tuple(map(float, single)), (0,) * len(single), 0, narrow=True)
