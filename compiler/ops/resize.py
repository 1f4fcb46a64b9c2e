"""Resize (nearest): every axis picks source indices that are known at compile time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import TensorType
from .spec import Invocation, OpSpec, Types, attrs_as, required

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


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


def import_resize(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Resize and Upsample, nearest mode, along any axes.

    Rows and columns of an image become one Resize; other axes are picked one by one.
    """
    from ..frontend.nearest import resize_indices
    from .gather import emit_pick

    x = context.tensor(node, 0)
    shape = context.type(x).shape
    picks = resize_indices(context, node, shape)
    if len(shape) == 4 and picks and set(picks) <= {2, 3}:
        image = context.channels_last(node, x)
        y = context.emit(node, "Resize", [image], _image_attrs(picks, 2, shape))
        context.bind(node.outputs[0], context.channels_first(node, y, 4))
    elif len(shape) == 4 and picks and set(picks) <= {1, 2}:
        context.result(node, "Resize", [x], _image_attrs(picks, 1, shape))
    else:
        for axis, indices in picks.items():
            x = emit_pick(context, node, x, axis, indices, f"axis{axis}")
        context.bind(node.outputs[0], x)


def _image_attrs(picks: dict[int, list[int]], height_axis: int, shape: tuple[int, ...]) -> ResizeAttrs:
    rows = picks.get(height_axis, list(range(shape[height_axis])))
    columns = picks.get(height_axis + 1, list(range(shape[height_axis + 1])))
    return ResizeAttrs(tuple(rows), tuple(columns))


RESIZE = OpSpec(
    name="Resize",
    attrs=ResizeAttrs,
    doc="y[n, i, j, c] = x[n, rows[i], columns[j], c].",
    infer=_infer,
    run_float=_run,
    moves_only=True,
    importers={"Resize": import_resize, "Upsample": import_resize},
)
