"""Softsign: y = x / (1 + |x|)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from .spec import OpSpec
from .unary import float_unary, import_unary, infer_unary


@dataclass(frozen=True, slots=True)
class SoftsignAttrs(Attrs):
    """No attributes."""


def function(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """y = x / (1 + |x|)."""
    return x / (1.0 + np.abs(x))


SOFTSIGN = OpSpec(
    name="Softsign",
    attrs=SoftsignAttrs,
    doc="y = x / (1 + |x|).",
    infer=infer_unary,
    run_float=float_unary(function),
    importers={"Softsign": import_unary("Softsign", lambda node: SoftsignAttrs())},
)
