"""What functions of one number share: shape, float meaning, and the table their 8-bit form becomes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import TensorType
from .spec import Invocation, Run, Types, required

Function = Callable[[np.ndarray, Attrs], np.ndarray]
"""Maps float64 values elementwise."""


def infer_unary(attrs: Attrs, inputs: Types) -> list[TensorType]:
    """Same type as the input."""
    return [required(inputs, 0)]


def float_unary(function: Function) -> Run:
    """`run_float` of an element-wise function; evaluated in binary64, returned in binary32."""

    def run(call: Invocation) -> list[np.ndarray]:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return [function(call.array(0).astype(np.float64), call.node.attrs).astype(np.float32)]

    return run
