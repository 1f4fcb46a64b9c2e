"""Min and Max of two tensors: the integer form requantizes both to the output type first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..numerics import cast_fixed
from .elementwise import ElementwiseAttrs, aligned, centred_operands, float_elementwise, import_chain, infer_elementwise
from .requantize import requantize_ratio
from .spec import Invocation, OpSpec

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


class MinAttrs(ElementwiseAttrs):
    """Fused activation."""

    __slots__ = ()


class MaxAttrs(ElementwiseAttrs):
    """Fused activation."""

    __slots__ = ()


Pick = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _affine(pick: Pick) -> Callable[[Invocation], list[np.ndarray]]:
    def run(call: Invocation) -> list[np.ndarray]:
        a, b = centred_operands(call)
        activation = call.attrs(ElementwiseAttrs).activation
        left = requantize_ratio(call.affine(0), call.affine_out, activation).apply(a)
        right = requantize_ratio(call.affine(1), call.affine_out, activation).apply(b)
        return [pick(left, right)]

    return run


def _fixed(pick: Pick) -> Callable[[Invocation], list[np.ndarray]]:
    def run(call: Invocation) -> list[np.ndarray]:
        a, b = aligned(call)
        frac = max(call.fixed(0).frac, call.fixed(1).frac)
        chosen = pick(a << (frac - call.fixed(0).frac), b << (frac - call.fixed(1).frac))
        return [cast_fixed(chosen, frac, call.fixed_out)]

    return run


def import_min(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Min."""
    import_chain(context, node, "Min", MinAttrs())


def import_max(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Max."""
    import_chain(context, node, "Max", MaxAttrs())


MIN = OpSpec(
    name="Min",
    attrs=MinAttrs,
    doc="y = activation(min(a, b)), broadcasting.",
    infer=infer_elementwise,
    run_float=float_elementwise(np.minimum),
    run_affine=_affine(np.minimum),
    run_fixed=_fixed(np.minimum),
    importers={"Min": import_min},
)

MAX = OpSpec(
    name="Max",
    attrs=MaxAttrs,
    doc="y = activation(max(a, b)), broadcasting.",
    infer=infer_elementwise,
    run_float=float_elementwise(np.maximum),
    run_affine=_affine(np.maximum),
    run_fixed=_fixed(np.maximum),
    importers={"Max": import_max},
)
