"""Gather: constant indices along one axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import TensorType
from .spec import Invocation, OpSpec, Types, attrs_as, required


@dataclass(frozen=True, slots=True)
class GatherAttrs(Attrs):
    """Axis and indices, all from 0."""

    axis: int
    indices: tuple[int, ...]


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    a = attrs_as(attrs, GatherAttrs)
    x = required(inputs, 0)
    if not 0 <= a.axis < x.rank:
        raise ValueError(f"axis {a.axis} outside an input of shape {x.shape}")
    if not a.indices or any(not 0 <= i < x.shape[a.axis] for i in a.indices):
        raise ValueError(f"indices {a.indices} outside an axis of {x.shape[a.axis]}")
    shape = (*x.shape[: a.axis], len(a.indices), *x.shape[a.axis + 1 :])
    return [TensorType(shape, x.element)]


def _run(call: Invocation) -> list[np.ndarray]:
    attrs = call.attrs(GatherAttrs)
    return [np.take(call.array(0), attrs.indices, axis=attrs.axis + 1)]


GATHER = OpSpec(
    name="Gather",
    attrs=GatherAttrs,
    doc="y = x with axis entries picked by constant indices.",
    infer=_infer,
    run_float=_run,
    moves_only=True,
)
