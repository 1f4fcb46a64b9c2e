"""Sub: y = activation(a - b)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .elementwise import ElementwiseAttrs, float_elementwise, import_binary, infer_elementwise, sum_runs
from .spec import OpSpec

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


class SubAttrs(ElementwiseAttrs):
    """Fused activation."""

    __slots__ = ()


def import_sub(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Sub."""
    import_binary(context, node, "Sub", SubAttrs())


RUN_AFFINE, RUN_FIXED = sum_runs(-1)

SUB = OpSpec(
    name="Sub",
    attrs=SubAttrs,
    doc="y = activation(a - b), broadcasting.",
    infer=infer_elementwise,
    run_float=float_elementwise(np.subtract),
    run_affine=RUN_AFFINE,
    run_fixed=RUN_FIXED,
    importers={"Sub": import_sub},
)
