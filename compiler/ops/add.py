"""Add: y = activation(a + b)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .elementwise import ElementwiseAttrs, float_elementwise, import_binary, infer_elementwise, sum_runs
from .spec import OpSpec

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


class AddAttrs(ElementwiseAttrs):
    """Fused activation."""

    __slots__ = ()


def import_add(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Add."""
    import_binary(context, node, "Add", AddAttrs())


RUN_AFFINE, RUN_FIXED = sum_runs(1)

ADD = OpSpec(
    name="Add",
    attrs=AddAttrs,
    doc="y = activation(a + b), broadcasting.",
    infer=infer_elementwise,
    run_float=float_elementwise(np.add),
    run_affine=RUN_AFFINE,
    run_fixed=RUN_FIXED,
    importers={"Add": import_add},
)
