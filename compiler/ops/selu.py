"""Selu: y = gamma * (x if x > 0 else alpha * (exp(x) - 1))."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Attrs
from .spec import OpSpec, attrs_as
from .unary import float_unary, import_unary, infer_unary

if TYPE_CHECKING:
    from ..frontend.context import OnnxNode


@dataclass(frozen=True, slots=True)
class SeluAttrs(Attrs):
    """Constants of the self-normalizing unit (ONNX defaults)."""

    alpha: float = 1.67326319217681884765625
    gamma: float = 1.05070102214813232421875


def function(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """y = gamma * (x if x > 0 else alpha * (exp(x) - 1))."""
    a = attrs_as(attrs, SeluAttrs)
    return a.gamma * np.where(x > 0, x, a.alpha * np.expm1(np.minimum(x, 0)))


def _attrs(node: OnnxNode) -> Attrs:
    default = SeluAttrs()
    return SeluAttrs(node.number("alpha", default.alpha), node.number("gamma", default.gamma))


SELU = OpSpec(
    name="Selu",
    attrs=SeluAttrs,
    doc="y = gamma * (x if x > 0 else alpha * (exp(x) - 1)).",
    infer=infer_unary,
    run_float=float_unary(function),
    importers={"Selu": import_unary("Selu", _attrs)},
)
