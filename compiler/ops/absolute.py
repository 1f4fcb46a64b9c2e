"""Abs: y = |x|."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from .spec import OpSpec
from .unary import float_unary, import_unary, infer_unary


@dataclass(frozen=True, slots=True)
class AbsAttrs(Attrs):
    """No attributes."""


def function(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """y = |x|."""
    return np.abs(x)


ABS = OpSpec(
    name="Abs",
    attrs=AbsAttrs,
    doc="y = |x|.",
    infer=infer_unary,
    run_float=float_unary(function),
    importers={"Abs": import_unary("Abs", lambda node: AbsAttrs())},
)
