"""Bipolar: y = 1 if x >= 0 else -1, the activation of binary networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import FixedPoint
from .spec import Invocation, OpSpec
from .unary import float_unary, infer_unary


@dataclass(frozen=True, slots=True)
class BipolarAttrs(Attrs):
    """No attributes."""


def function(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """y = 1 if x >= 0 else -1."""
    return np.where(x >= 0, 1.0, -1.0)


def bipolar_values(element: FixedPoint) -> tuple[int, int]:
    """Raw values of -1 and 1, or of what is nearest to them in `element`."""
    one = 1 << element.frac if element.frac >= 0 else 1
    return max(-one, element.minimum), min(one, element.maximum)


def _fixed(call: Invocation) -> list[np.ndarray]:
    low, high = bipolar_values(call.fixed_out)
    return [np.where(call.array(0) >= 0, high, low)]


BIPOLAR = OpSpec(
    name="Bipolar",
    attrs=BipolarAttrs,
    doc="y = 1 if x >= 0 else -1.",
    infer=infer_unary,
    run_float=float_unary(function),
    run_fixed=_fixed,
)
