"""MaxPool2D: the largest value of each window; padding never wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .pooling import PoolAttrs, infer_pool
from .spec import Invocation, OpSpec
from .windows import merge_samples, windows

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


@dataclass(frozen=True, slots=True)
class MaxPool2DAttrs(PoolAttrs):
    """Window geometry."""


def _run(call: Invocation) -> list[np.ndarray]:
    attrs = call.attrs(MaxPool2DAttrs)
    x = call.array(0)
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(np.int64).min
    view = windows(merge_samples(x), attrs.kernel, attrs.strides, attrs.all_pads, attrs.dilations, lowest)
    return [view.max(axis=(3, 4)).reshape(x.shape[0], *call.output_types[0].shape)]


def import_max_pool(context: ImportContext, node: OnnxNode) -> None:
    """ONNX MaxPool, 1-D or 2-D."""
    from ..frontend.geometry import pool_geometry

    if any(node.outputs[1:]):
        raise context.error(node, "the second output (indices) is not supported")
    image, rank, geometry, overhang = pool_geometry(context, node)
    attrs = MaxPool2DAttrs(geometry.kernel, geometry.strides, geometry.pads, geometry.dilations, overhang)
    y = context.emit(node, "MaxPool2D", [image], attrs)
    context.bind(node.outputs[0], context.channels_first(node, y, rank))


def import_global_max_pool(context: ImportContext, node: OnnxNode) -> None:
    """ONNX GlobalMaxPool: one window that covers the image."""
    x = context.tensor(node, 0)
    image = context.channels_last(node, x)
    size = context.type(image).shape[1:3]
    y = context.emit(node, "MaxPool2D", [image], MaxPool2DAttrs((size[0], size[1]), (1, 1)))
    context.bind(node.outputs[0], context.channels_first(node, y, len(context.type(x).shape)))


MAX_POOL2D = OpSpec(
    name="MaxPool2D",
    attrs=MaxPool2DAttrs,
    doc="y[n, i, j, c] = max over the window of x; pads count as minus infinity.",
    infer=infer_pool,
    run_float=_run,
    moves_only=True,
    importers={"MaxPool": import_max_pool, "GlobalMaxPool": import_global_max_pool},
)
