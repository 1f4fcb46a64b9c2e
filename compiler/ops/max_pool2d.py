"""MaxPool2D: the largest value of each window; padding never wins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .pooling import PoolAttrs, infer_pool
from .spec import Invocation, OpSpec
from .windows import merge_samples, windows


@dataclass(frozen=True, slots=True)
class MaxPool2DAttrs(PoolAttrs):
    """Window geometry."""


def _run(call: Invocation) -> list[np.ndarray]:
    attrs = call.attrs(MaxPool2DAttrs)
    x = call.array(0)
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(np.int64).min
    view = windows(merge_samples(x), attrs.kernel, attrs.strides, attrs.all_pads, attrs.dilations, lowest)
    return [view.max(axis=(3, 4)).reshape(x.shape[0], *call.output_types[0].shape)]


MAX_POOL2D = OpSpec(
    name="MaxPool2D",
    attrs=MaxPool2DAttrs,
    doc="y[n, i, j, c] = max over the window of x; pads count as minus infinity.",
    infer=infer_pool,
    run_float=_run,
    moves_only=True,
)
