"""Which affine type represents a range of real values: activations and weights of integer networks."""

from __future__ import annotations

import numpy as np

from .types import Affine

ACTIVATION_BITS = 8
WEIGHT_BITS = 8

TINY = 1e-30
"""A range below this is one of zeros: its scale carries no information and would only overflow ratios."""


def activation_type(low: float, high: float, width: int = ACTIVATION_BITS) -> Affine:
    """Signed asymmetric per-tensor type that covers [low, high] and represents zero exactly.

    scale = (high - low) / (2**width - 1) in binary32, after the interval was widened to contain zero;
    the zero point is the integer nearest to where zero falls (Jacob et al. 2018, "Quantization and Training of
    Neural Networks for Efficient Integer-Arithmetic-Only Inference", section 2.1).
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < TINY:
        return Affine(True, width, (1.0,), (0,))
    minimum, maximum = -(1 << (width - 1)), (1 << (width - 1)) - 1
    scale = float(np.float32((high - low) / (maximum - minimum)))
    zero = round(minimum - low / scale)
    return Affine(True, width, (scale,), (min(max(zero, minimum), maximum),))


def real_range(element: Affine) -> tuple[float, float]:
    """Smallest and largest real value of a per-tensor type."""
    zero, scale = element.zero_point[0], element.scale[0]
    return (element.minimum - zero) * scale, (element.maximum - zero) * scale


def covers(element: Affine, low: float, high: float) -> bool:
    """Whether a per-tensor type represents the whole range, up to rounding."""
    bottom, top = real_range(element)
    half = element.scale[0] / 2
    return bottom - half <= low and high <= top + half


def symmetric_type(magnitudes: np.ndarray, width: int = WEIGHT_BITS, axis: int | None = None) -> Affine:
    """Signed symmetric type without the most negative value, for values up to the given magnitudes.

    Args:
        magnitudes: one non-negative magnitude, or one for each index along `axis`.
        axis: axis the magnitudes belong to, None for per tensor.
    """
    magnitudes = np.asarray(magnitudes, np.float64).reshape(-1)
    top = (1 << (width - 1)) - 1
    scales = (np.where(magnitudes < TINY, 1.0, magnitudes) / top).astype(np.float32)
    return Affine(True, width, tuple(map(float, scales)), (0,) * len(scales), axis, narrow=True)


def natural_range(op: str, width: int = ACTIVATION_BITS) -> tuple[float, float] | None:
    """Output range of an op that is known without data, or None.

    The upper end is one step below 1, which makes the scale a power of two: in 8 bits 1/256 (softmax, sigmoid)
    and 1/128 (tanh), the scales the TFLite 8-bit quantization specification fixes for these ops. Signs are 127 and -127
    with zero point 0.
    """
    if op in ("Softmax", "Sigmoid", "HardSigmoid"):
        return 0.0, 1.0 - 2.0**-width
    if op in ("Tanh", "Softsign"):
        return -1.0, 1.0 - 2.0 ** (1 - width)
    if op == "Bipolar":
        half = 2.0 ** (width - 1)
        return -half / (half - 1.0), 1.0
    return None
