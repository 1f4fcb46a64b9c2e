"""Sub: y = activation(a - b)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..numerics import cast_fixed
from .elementwise import (
    ElementwiseAttrs,
    aligned,
    centred_operands,
    float_elementwise,
    import_binary,
    infer_elementwise,
    sum_requantization,
)
from .spec import Invocation, OpSpec

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


class SubAttrs(ElementwiseAttrs):
    """Fused activation."""

    __slots__ = ()


def _affine(call: Invocation) -> list[np.ndarray]:
    a, b = centred_operands(call)
    activation = call.attrs(SubAttrs).activation
    return [sum_requantization(call.affine(0), call.affine(1), call.affine_out, activation, -1).apply(a, b)]


def _fixed(call: Invocation) -> list[np.ndarray]:
    a, b = aligned(call)
    frac = max(call.fixed(0).frac, call.fixed(1).frac)
    total = (a << (frac - call.fixed(0).frac)) - (b << (frac - call.fixed(1).frac))
    return [cast_fixed(total, frac, call.fixed_out)]


def import_sub(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Sub."""
    import_binary(context, node, "Sub", SubAttrs())


SUB = OpSpec(
    name="Sub",
    attrs=SubAttrs,
    doc="y = activation(a - b), broadcasting.",
    infer=infer_elementwise,
    run_float=float_elementwise(np.subtract),
    run_affine=_affine,
    run_fixed=_fixed,
    importers={"Sub": import_sub},
)
