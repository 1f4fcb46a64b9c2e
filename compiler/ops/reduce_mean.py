"""ReduceMean over arbitrary axes (spatial means become AveragePool2D in the frontend's canonical form)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import Affine, TensorType
from ..numerics import Requantization, requantization
from .spec import Invocation, OpSpec, Types, attrs_as, required


@dataclass(frozen=True, slots=True)
class ReduceMeanAttrs(Attrs):
    """Axes (from 0, ascending) and whether they are kept with length 1."""

    axes: tuple[int, ...]
    keep_dims: bool = True


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    a = attrs_as(attrs, ReduceMeanAttrs)
    x = required(inputs, 0)
    if any(not 0 <= axis < x.rank for axis in a.axes):
        raise ValueError(f"axes {a.axes} outside an input of shape {x.shape}")
    kept = [1 if i in a.axes else d for i, d in enumerate(x.shape) if a.keep_dims or i not in a.axes]
    return [TensorType(tuple(kept), x.element)]


def _axes(call: Invocation) -> tuple[int, ...]:
    return tuple(axis + 1 for axis in call.attrs(ReduceMeanAttrs).axes)


def _float(call: Invocation) -> list[np.ndarray]:
    x = call.array(0)
    mean = x.mean(axis=_axes(call), dtype=np.float32)
    return [mean.reshape(x.shape[0], *call.output_types[0].shape)]


def mean_requantization(attrs: ReduceMeanAttrs, x: TensorType, x_element: Affine, y: Affine) -> Requantization:
    """Requantization of the sum over the reduced axes (ties to even)."""
    count = math.prod(x.shape[axis] for axis in attrs.axes)
    return replace(requantization([x_element.scale[0] / (y.scale[0] * count)], y), ties_to_even=True)


def _affine(call: Invocation) -> list[np.ndarray]:
    x = call.array(0) - call.affine(0).zero_point[0]
    attrs = call.attrs(ReduceMeanAttrs)
    requantize = mean_requantization(attrs, call.type(0), call.affine(0), call.affine_out)
    return [requantize.apply(x.sum(axis=_axes(call))).reshape(x.shape[0], *call.output_types[0].shape)]


REDUCE_MEAN = OpSpec(
    name="ReduceMean",
    attrs=ReduceMeanAttrs,
    doc="Mean over the axes.",
    infer=_infer,
    run_float=_float,
    run_affine=_affine,
)
