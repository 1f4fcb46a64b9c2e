"""Log: y = log(x)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from .spec import OpSpec
from .unary import float_unary, import_unary, infer_unary


@dataclass(frozen=True, slots=True)
class LogAttrs(Attrs):
    """No attributes."""


def function(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """y = log(x)."""
    return np.log(x)


LOG = OpSpec(
    name="Log",
    attrs=LogAttrs,
    doc="y = log(x).",
    infer=infer_unary,
    run_float=float_unary(function),
    importers={"Log": import_unary("Log", lambda node: LogAttrs())},
)
