"""Lookup: any function of one narrow integer, as a table made at compile time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs
from ..ir.types import TensorType
from .spec import Invocation, OpSpec, Types, required


@dataclass(frozen=True, slots=True)
class LookupAttrs(Attrs):
    """`function` names what the table computes, for reports and comments in generated code."""

    function: str


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    x, table = required(inputs, 0), required(inputs, 1)
    if table.rank != 1:
        raise ValueError(f"expected a 1-D table, not {table.shape}")
    return [x.with_element(table.element)]


def _affine(call: Invocation) -> list[np.ndarray]:
    return [call.array(1)[0][call.array(0) - call.affine(0).minimum]]


def _fixed(call: Invocation) -> list[np.ndarray]:
    return [call.array(1)[0][call.array(0) - call.fixed(0).minimum]]


LOOKUP = OpSpec(
    name="Lookup",
    attrs=LookupAttrs,
    doc="y = table[x - minimum(x's type)]; the table has one entry for each value of x's type.",
    infer=_infer,
    run_float=None,
    run_affine=_affine,
    run_fixed=_fixed,
)
