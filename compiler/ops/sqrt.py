"""Sqrt: y = sqrt(x)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from .spec import OpSpec
from .unary import float_unary, import_unary, infer_unary


@dataclass(frozen=True, slots=True)
class SqrtAttrs(Attrs):
    """No attributes."""


def function(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """y = sqrt(x)."""
    return np.sqrt(x)


SQRT = OpSpec(
    name="Sqrt",
    attrs=SqrtAttrs,
    doc="y = sqrt(x).",
    infer=infer_unary,
    run_float=float_unary(function),
    importers={"Sqrt": import_unary("Sqrt", lambda node: SqrtAttrs())},
)
