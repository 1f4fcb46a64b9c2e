"""Slice: a strided part of a tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import TensorType
from .spec import Invocation, OpSpec, Types, attrs_as, required


@dataclass(frozen=True, slots=True)
class SliceAttrs(Attrs):
    """One start, size and step for every axis; steps may be negative, starts are not."""

    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    steps: tuple[int, ...]


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    a = attrs_as(attrs, SliceAttrs)
    x = required(inputs, 0)
    if not len(a.starts) == len(a.sizes) == len(a.steps) == x.rank:
        raise ValueError(f"slice of rank {len(a.starts)} of an input of shape {x.shape}")
    for start, size, step, length in zip(a.starts, a.sizes, a.steps, x.shape, strict=True):
        if size < 1 or step == 0 or not 0 <= start < length or not 0 <= start + (size - 1) * step < length:
            raise ValueError(f"slice (start {start}, size {size}, step {step}) outside an axis of {length}")
    return [TensorType(a.sizes, x.element)]


def _run(call: Invocation) -> list[np.ndarray]:
    attrs = call.attrs(SliceAttrs)
    x = call.array(0)
    for axis, (start, size, step) in enumerate(zip(attrs.starts, attrs.sizes, attrs.steps, strict=True)):
        if (start, size, step) != (0, x.shape[axis + 1], 1):
            x = np.take(x, start + step * np.arange(size), axis=axis + 1)
    return [x]


SLICE = OpSpec(
    name="Slice",
    attrs=SliceAttrs,
    doc="y[i] = x[start + i * step] on every axis.",
    infer=_infer,
    run_float=_run,
    moves_only=True,
)
