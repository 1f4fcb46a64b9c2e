"""HardSwish: y = x * min(max(x / 6 + 0.5, 0), 1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from .spec import OpSpec
from .unary import float_unary, import_unary, infer_unary


@dataclass(frozen=True, slots=True)
class HardSwishAttrs(Attrs):
    """No attributes."""


def function(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """y = x * min(max(x / 6 + 0.5, 0), 1)."""
    return x * np.clip(x / 6.0 + 0.5, 0.0, 1.0)


HARD_SWISH = OpSpec(
    name="HardSwish",
    attrs=HardSwishAttrs,
    doc="y = x * min(max(x / 6 + 0.5, 0), 1).",
    infer=infer_unary,
    run_float=float_unary(function),
    importers={"HardSwish": import_unary("HardSwish", lambda node: HardSwishAttrs())},
)
