"""HardSigmoid: y = min(max(alpha * x + beta, 0), 1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from .spec import OpSpec, attrs_as
from .unary import float_unary, import_unary, infer_unary


@dataclass(frozen=True, slots=True)
class HardSigmoidAttrs(Attrs):
    """Slope and offset (ONNX defaults)."""

    alpha: float = 0.2
    beta: float = 0.5


def function(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """y = min(max(alpha * x + beta, 0), 1)."""
    a = attrs_as(attrs, HardSigmoidAttrs)
    return np.clip(a.alpha * x + a.beta, 0.0, 1.0)


HARD_SIGMOID = OpSpec(
    name="HardSigmoid",
    attrs=HardSigmoidAttrs,
    doc="y = min(max(alpha * x + beta, 0), 1).",
    infer=infer_unary,
    run_float=float_unary(function),
    importers={
        "HardSigmoid": import_unary(
            "HardSigmoid", lambda node: HardSigmoidAttrs(node.number("alpha", 0.2), node.number("beta", 0.5))
        )
    },
)
