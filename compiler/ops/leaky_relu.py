"""LeakyRelu: y = x if x >= 0 else alpha * x."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from .spec import OpSpec, attrs_as
from .unary import float_unary, import_unary, infer_unary


@dataclass(frozen=True, slots=True)
class LeakyReluAttrs(Attrs):
    """Slope for negative inputs."""

    alpha: float = 0.01


def function(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """y = x if x >= 0 else alpha * x."""
    return np.where(x >= 0, x, attrs_as(attrs, LeakyReluAttrs).alpha * x)


LEAKY_RELU = OpSpec(
    name="LeakyRelu",
    attrs=LeakyReluAttrs,
    doc="y = x if x >= 0 else alpha * x.",
    infer=infer_unary,
    run_float=float_unary(function),
    importers={"LeakyRelu": import_unary("LeakyRelu", lambda node: LeakyReluAttrs(node.number("alpha", 0.01)))},
)
