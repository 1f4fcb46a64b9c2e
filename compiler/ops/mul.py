"""Mul: y = activation(a * b)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..ir.types import Affine
from ..numerics import Requantization, cast_fixed, requantization
from .activation import Activation
from .elementwise import (
    ElementwiseAttrs,
    aligned,
    centred_operands,
    float_elementwise,
    import_binary,
    infer_elementwise,
)
from .spec import Invocation, OpSpec

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


class MulAttrs(ElementwiseAttrs):
    """Fused activation."""

    __slots__ = ()


def product_requantization(a: Affine, b: Affine, y: Affine, activation: Activation) -> Requantization:
    """Requantization of a product of two tensors."""
    return requantization([a.scale[0] * b.scale[0] / y.scale[0]], y, activation.low, activation.high)


def _affine(call: Invocation) -> list[np.ndarray]:
    a, b = centred_operands(call)
    activation = call.attrs(MulAttrs).activation
    return [product_requantization(call.affine(0), call.affine(1), call.affine_out, activation).apply(a * b)]


def _fixed(call: Invocation) -> list[np.ndarray]:
    a, b = aligned(call)
    return [cast_fixed(a * b, call.fixed(0).frac + call.fixed(1).frac, call.fixed_out)]


def import_mul(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Mul."""
    import_binary(context, node, "Mul", MulAttrs())


MUL = OpSpec(
    name="Mul",
    attrs=MulAttrs,
    doc="y = activation(a * b), broadcasting.",
    infer=infer_elementwise,
    run_float=float_elementwise(np.multiply),
    run_affine=_affine,
    run_fixed=_fixed,
    importers={"Mul": import_mul},
)
