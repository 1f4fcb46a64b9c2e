"""Softplus: y = log(1 + exp(x))."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from .spec import OpSpec
from .unary import float_unary, import_unary, infer_unary


@dataclass(frozen=True, slots=True)
class SoftplusAttrs(Attrs):
    """No attributes."""


def function(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """y = log(1 + exp(x))."""
    return np.logaddexp(0.0, x)


SOFTPLUS = OpSpec(
    name="Softplus",
    attrs=SoftplusAttrs,
    doc="y = log(1 + exp(x)).",
    infer=infer_unary,
    run_float=float_unary(function),
    importers={"Softplus": import_unary("Softplus", lambda node: SoftplusAttrs())},
)
