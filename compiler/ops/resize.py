"""Resize (nearest): every axis picks source indices that are known at compile time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import TensorType
from .spec import Invocation, OpSpec, Types, attrs_as, required


@dataclass(frozen=True, slots=True)
class ResizeAttrs(Attrs):
    """Source row of each output row, source column of each output column (images are channels-last)."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    a = attrs_as(attrs, ResizeAttrs)
    x = required(inputs, 0)
    if x.rank != 4:
        raise ValueError(f"expected a 4-D input, not {x.shape}")
    if max(a.rows) >= x.shape[1] or max(a.columns) >= x.shape[2] or min(*a.rows, *a.columns) < 0:
        raise ValueError(f"source indices outside an input of shape {x.shape}")
    return [TensorType((x.shape[0], len(a.rows), len(a.columns), x.shape[3]), x.element)]


def integer_factors(attrs: ResizeAttrs, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(vertical, horizontal) factors if this is plain pixel replication of an input of `shape`, else None."""
    up, across = len(attrs.rows) // shape[1], len(attrs.columns) // shape[2]
    rows = tuple(i // up for i in range(shape[1] * up)) if up else ()
    columns = tuple(i // across for i in range(shape[2] * across)) if across else ()
    return (up, across) if attrs.rows == rows and attrs.columns == columns else None


def _run(call: Invocation) -> list[np.ndarray]:
    attrs = call.attrs(ResizeAttrs)
    return [call.array(0)[:, :, list(attrs.rows)][:, :, :, list(attrs.columns)]]


RESIZE = OpSpec(
    name="Resize",
    attrs=ResizeAttrs,
    doc="y[n, i, j, c] = x[n, rows[i], columns[j], c].",
    infer=_infer,
    run_float=_run,
    moves_only=True,
)
