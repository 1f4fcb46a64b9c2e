"""Reshape: the same values in another shape; free on every backend."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import TensorType
from .spec import Invocation, OpSpec, Types, attrs_as, required


@dataclass(frozen=True, slots=True)
class ReshapeAttrs(Attrs):
    """Target shape, fully known."""

    shape: tuple[int, ...]


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    shape = attrs_as(attrs, ReshapeAttrs).shape
    x = required(inputs, 0)
    if math.prod(shape) != x.elements:
        raise ValueError(f"cannot reshape {x.shape} to {shape}")
    return [TensorType(shape, x.element)]


def _run(call: Invocation) -> list[np.ndarray]:
    return [call.array(0).reshape(-1, *call.attrs(ReshapeAttrs).shape)]


RESHAPE = OpSpec(
    name="Reshape",
    attrs=ReshapeAttrs,
    doc="The same values in row-major order with another shape.",
    infer=_infer,
    run_float=_run,
    moves_only=True,
)
