"""Element and tensor types of the IR.

A tensor type says what the integers of a tensor mean. Three element types exist:

* `Float32`: the real value itself.
* `FixedPoint`: ap_fixed semantics (AMD UG1399, "Arbitrary Precision Fixed-Point Data Types"):
  value = raw * 2**-frac, with the rounding and overflow mode used when a value is *assigned* to it.
* `Affine`: QuantizeLinear semantics (ONNX operator specification):
  value = (raw - zero_point) * scale, per tensor or per channel along `axis`.

Layout is not part of the type: every image tensor in the IR is channels-last (see docs/rationale.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np


class Rounding(Enum):
    """Quantization modes of ap_fixed: what happens to bits below the last fraction bit."""

    TRN = "AP_TRN"  # towards minus infinity (default)
    TRN_ZERO = "AP_TRN_ZERO"  # towards zero
    RND = "AP_RND"  # nearest, ties towards plus infinity
    RND_ZERO = "AP_RND_ZERO"  # nearest, ties towards zero
    RND_INF = "AP_RND_INF"  # nearest, ties away from zero
    RND_MIN_INF = "AP_RND_MIN_INF"  # nearest, ties towards minus infinity
    RND_CONV = "AP_RND_CONV"  # nearest, ties to even


class Overflow(Enum):
    """Overflow modes of ap_fixed: what happens to values outside the range."""

    WRAP = "AP_WRAP"  # modulo 2**width (default)
    SAT = "AP_SAT"  # clamp
    SAT_ZERO = "AP_SAT_ZERO"  # zero on overflow
    SAT_SYM = "AP_SAT_SYM"  # clamp to the symmetric range


@dataclass(frozen=True, slots=True)
class Float32:
    """IEEE 754 binary32."""

    def __str__(self) -> str:
        return "f32"


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """`ap_[u]fixed<width, width - frac, rounding, overflow>`.

    `frac` may be negative or larger than `width`, as in ap_fixed.
    """

    signed: bool
    width: int
    frac: int
    rounding: Rounding = Rounding.TRN
    overflow: Overflow = Overflow.WRAP

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 64:
            raise ValueError(f"fixed-point width must be 1 to 64, not {self.width}")

    @property
    def integer(self) -> int:
        """Integer bits, the sign bit included when signed (the I of ap_fixed<W, I>)."""
        return self.width - self.frac

    @property
    def minimum(self) -> int:
        """Smallest raw value."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def maximum(self) -> int:
        """Largest raw value."""
        return (1 << (self.width - 1)) - 1 if self.signed else (1 << self.width) - 1

    @property
    def step(self) -> float:
        """Value of one raw unit, exact in binary64."""
        return math.ldexp(1.0, -self.frac)

    def __str__(self) -> str:
        name = "ap_fixed" if self.signed else "ap_ufixed"
        modes = ""
        if (self.rounding, self.overflow) != (Rounding.TRN, Overflow.WRAP):
            modes = f",{self.rounding.value},{self.overflow.value}"
        return f"{name}<{self.width},{self.integer}{modes}>"


@dataclass(frozen=True, slots=True)
class Affine:
    """value = (raw - zero_point) * scale.

    Per tensor: `scale` and `zero_point` hold one entry and `axis` is None.
    Per channel: one entry for each index along `axis`.
    A plain integer tensor (an index, a 32-bit accumulator) is Affine with scale 1 and zero point 0.
    `narrow` excludes the most negative raw value (symmetric weights, QONNX `narrow`).
    """

    signed: bool
    width: int
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None
    narrow: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 32:
            raise ValueError(f"affine width must be 1 to 32, not {self.width}")
        if len(self.scale) != len(self.zero_point) or not self.scale:
            raise ValueError("scale and zero_point must have the same, non-zero length")
        if self.axis is None and len(self.scale) != 1:
            raise ValueError("per-tensor parameters have one scale")
        if any(not (s > 0.0 and math.isfinite(s)) for s in self.scale):
            raise ValueError("scales must be positive and finite")

    @property
    def minimum(self) -> int:
        """Smallest raw value."""
        low = -(1 << (self.width - 1)) if self.signed else 0
        return low + 1 if self.narrow else low

    @property
    def maximum(self) -> int:
        """Largest raw value."""
        return (1 << (self.width - 1)) - 1 if self.signed else (1 << self.width) - 1

    def scale_for(self, rank: int) -> np.ndarray:
        """Scales shaped to broadcast against a tensor of `rank` dimensions (no sample axis)."""
        return self._broadcast(np.asarray(self.scale, np.float64), rank)

    def zero_for(self, rank: int) -> np.ndarray:
        """Zero points shaped to broadcast against a tensor of `rank` dimensions (no sample axis)."""
        return self._broadcast(np.asarray(self.zero_point, np.int64), rank)

    def _broadcast(self, values: np.ndarray, rank: int) -> np.ndarray:
        if self.axis is None:
            return values.reshape(())
        shape = [1] * rank
        shape[self.axis] = len(values)
        return values.reshape(shape)

    def __str__(self) -> str:
        name = f"{'i' if self.signed else 'u'}{self.width}"
        if self.axis is None:
            return f"{name}(scale={self.scale[0]:.6g}, zero={self.zero_point[0]})"
        return f"{name}(axis={self.axis}, {len(self.scale)} scales)"


ElementType = Float32 | FixedPoint | Affine

FLOAT32 = Float32()
INT32 = Affine(signed=True, width=32, scale=(1.0,), zero_point=(0,))


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape (of one inference, the batch axis of ONNX included as 1) and element type."""

    shape: tuple[int, ...]
    element: ElementType = FLOAT32

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether the element type is Float32."""
        return isinstance(self.element, Float32)

    def with_element(self, element: ElementType) -> TensorType:
        """The same shape with another element type."""
        return TensorType(self.shape, element)

    def __str__(self) -> str:
        return f"{self.element}[{'x'.join(map(str, self.shape))}]"
