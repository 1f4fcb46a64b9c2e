"""Exp: y = exp(x)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from .spec import OpSpec
from .unary import float_unary, import_unary, infer_unary


@dataclass(frozen=True, slots=True)
class ExpAttrs(Attrs):
    """No attributes."""


def function(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """y = exp(x)."""
    return np.exp(x)


EXP = OpSpec(
    name="Exp",
    attrs=ExpAttrs,
    doc="y = exp(x).",
    infer=infer_unary,
    run_float=float_unary(function),
    importers={"Exp": import_unary("Exp", lambda node: ExpAttrs())},
)
