"""Tanh: y = tanh(x)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from .spec import OpSpec
from .unary import float_unary, import_unary, infer_unary


@dataclass(frozen=True, slots=True)
class TanhAttrs(Attrs):
    """No attributes."""


def function(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """y = tanh(x)."""
    return np.tanh(x)


TANH = OpSpec(
    name="Tanh",
    attrs=TanhAttrs,
    doc="y = tanh(x).",
    infer=infer_unary,
    run_float=float_unary(function),
    importers={"Tanh": import_unary("Tanh", lambda node: TanhAttrs())},
)
