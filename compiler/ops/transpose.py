"""Transpose: permute axes."""

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
class TransposeAttrs(Attrs):
    """Axis i of the output is axis perm[i] of the input."""

    perm: tuple[int, ...]


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    perm = attrs_as(attrs, TransposeAttrs).perm
    x = required(inputs, 0)
    if sorted(perm) != list(range(x.rank)):
        raise ValueError(f"{perm} is not a permutation of the axes of {x.shape}")
    return [TensorType(tuple(x.shape[axis] for axis in perm), x.element)]


def _run(call: Invocation) -> list[np.ndarray]:
    return [call.array(0).transpose(0, *(axis + 1 for axis in call.attrs(TransposeAttrs).perm))]


def import_transpose(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Transpose; without `perm` the axes are reversed."""
    x = context.tensor(node, 0)
    rank = context.type(x).rank
    perm = node.integer_list("perm") or list(range(rank))[::-1]
    if sorted(perm) != list(range(rank)):
        raise context.error(node, f"{perm} is not a permutation of the axes of {context.type(x).shape}")
    context.bind(node.outputs[0], context.transpose(node, x, perm, ""))


TRANSPOSE = OpSpec(
    name="Transpose",
    attrs=TransposeAttrs,
    doc="y[i0, i1, ...] = x with axis k of y being axis perm[k] of x.",
    infer=_infer,
    run_float=_run,
    moves_only=True,
    importers={"Transpose": import_transpose},
)
