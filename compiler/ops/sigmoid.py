"""Sigmoid: y = 1 / (1 + exp(-x))."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from .spec import OpSpec
from .unary import float_unary, import_unary, infer_unary


@dataclass(frozen=True, slots=True)
class SigmoidAttrs(Attrs):
    """No attributes."""


def function(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """y = 1 / (1 + exp(-x))."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


SIGMOID = OpSpec(
    name="Sigmoid",
    attrs=SigmoidAttrs,
    doc="y = 1 / (1 + exp(-x)).",
    infer=infer_unary,
    run_float=float_unary(function),
    importers={"Sigmoid": import_unary("Sigmoid", lambda node: SigmoidAttrs())},
)
