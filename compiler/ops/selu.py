"""Selu: y = gamma * (x if x > 0 else alpha * (exp(x) - 1))."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from .spec import OpSpec, attrs_as
from .unary import float_unary, infer_unary


@dataclass(frozen=True, slots=True)
class SeluAttrs(Attrs):
    """Constants of the self-normalizing unit (ONNX defaults)."""

    alpha: float = 1.67326319217681884765625
    gamma: float = 1.05070102214813232421875


def function(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """y = gamma * (x if x > 0 else alpha * (exp(x) - 1))."""
    a = attrs_as(attrs, SeluAttrs)
    return a.gamma * np.where(x > 0, x, a.alpha * np.expm1(np.minimum(x, 0)))


SELU = OpSpec(
    name="Selu",
    attrs=SeluAttrs,
    doc="y = gamma * (x if x > 0 else alpha * (exp(x) - 1)).",
    infer=infer_unary,
    run_float=float_unary(function),
)
