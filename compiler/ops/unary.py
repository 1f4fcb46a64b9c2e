"""What functions of one number share: shape, float meaning, and the table their 8-bit form becomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import TensorType
from .spec import Importer, Invocation, Run, Types, required

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode

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


def import_unary(op: str, attrs: Callable[[OnnxNode], Attrs]) -> Importer:
    """Importer of an ONNX operator that is the op itself; `attrs` reads its attributes."""

    def run(context: ImportContext, node: OnnxNode) -> None:
        context.result(node, op, [context.tensor(node, 0)], attrs(node))

    return run
