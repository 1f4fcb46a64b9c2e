"""Elu: y = x if x >= 0 else alpha * (exp(x) - 1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from .spec import OpSpec, attrs_as
from .unary import float_unary, import_unary, infer_unary


@dataclass(frozen=True, slots=True)
class EluAttrs(Attrs):
    """Scale of the negative branch."""

    alpha: float = 1.0


def function(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """y = x if x >= 0 else alpha * (exp(x) - 1)."""
    return np.where(x >= 0, x, attrs_as(attrs, EluAttrs).alpha * np.expm1(np.minimum(x, 0)))


ELU = OpSpec(
    name="Elu",
    attrs=EluAttrs,
    doc="y = x if x >= 0 else alpha * (exp(x) - 1).",
    infer=infer_unary,
    run_float=float_unary(function),
    importers={"Elu": import_unary("Elu", lambda node: EluAttrs(node.number("alpha", 1.0)))},
)
