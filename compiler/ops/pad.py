"""Pad with a constant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import Affine, TensorType
from ..numerics import quantize
from .spec import Invocation, OpSpec, Types, attrs_as, required


@dataclass(frozen=True, slots=True)
class PadAttrs(Attrs):
    """Elements added before and after each axis, and their real value."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float = 0.0


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    a = attrs_as(attrs, PadAttrs)
    x = required(inputs, 0)
    if not len(a.before) == len(a.after) == x.rank or min((*a.before, *a.after), default=0) < 0:
        raise ValueError(f"padding {a.before} and {a.after} for an input of shape {x.shape}")
    shape = tuple(b + d + e for b, d, e in zip(a.before, x.shape, a.after, strict=True))
    return [TensorType(shape, x.element)]


def _run(call: Invocation) -> list[np.ndarray]:
    attrs = call.attrs(PadAttrs)
    element = call.output_types[0].element
    if isinstance(element, Affine) and attrs.value == 0.0:
        fill: np.ndarray | int = element.zero_point[0]
    else:
        fill = quantize(np.float32(attrs.value), element)
    pairs = [(0, 0), *zip(attrs.before, attrs.after, strict=True)]
    return [np.pad(call.array(0), pairs, constant_values=fill)]


PAD = OpSpec(
    name="Pad",
    attrs=PadAttrs,
    doc="x surrounded by a constant value (quantized to the tensor's type in integer form).",
    infer=_infer,
    run_float=_run,
    moves_only=True,
)
