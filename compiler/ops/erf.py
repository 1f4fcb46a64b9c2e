"""Erf: y = erf(x), the Gauss error function."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from .spec import OpSpec
from .unary import float_unary, import_unary, infer_unary


@dataclass(frozen=True, slots=True)
class ErfAttrs(Attrs):
    """No attributes."""


def function(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """y = erf(x), the Gauss error function."""
    return np.vectorize(math.erf, otypes=[np.float64])(x)


ERF = OpSpec(
    name="Erf",
    attrs=ErfAttrs,
    doc="y = erf(x), the Gauss error function.",
    infer=infer_unary,
    run_float=float_unary(function),
    importers={"Erf": import_unary("Erf", lambda node: ErfAttrs())},
)
