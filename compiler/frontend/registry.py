"""Which function imports which ONNX operator: collected from the ops' own declarations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from ..ops import ALL
from ..ops.spec import Importer
from .context import OnnxNode
from .qoperator import EXPANSIONS

STANDARD = ("", "ai.onnx")

FOLDED = ("Constant", "ConstantOfShape", "Range", "Shape", "Size")
"""Operators that are always known at compile time, besides every operator that only reads constants."""

ALSO: Mapping[str, tuple[str, ...]] = {
    "ArgMin": ("Mul",),
    "DequantizeLinear": ("Mul", "Add"),
    "Gather": ("Slice",),
    "Gemm": ("Add",),
    "MatMul": ("MatMul",),
    "Pad": ("Slice", "Gather"),
    "Resize": ("Slice", "Gather"),
    "Upsample": ("Gather",),
}
"""Further ops that an importer declared by one op may emit."""


@dataclass(frozen=True, slots=True)
class OperatorSupport:
    """One row of the operator table.

    Attributes:
        name: ONNX operator; 'domain::Name' outside the standard domain.
        ops: ops of the IR it becomes, besides Transpose and Reshape; empty if it computes nothing.
        folded: always evaluated at compile time.
    """

    name: str
    ops: tuple[str, ...]
    folded: bool = False


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[Importer, tuple[str, ...]]]:
    from .comparisons import COMPARISONS
    from .composed import COMPOSED
    from .qonnx import QONNX
    from .reductions import REDUCTIONS
    from .structural import STRUCTURAL

    table: dict[str, tuple[Importer, tuple[str, ...]]] = {}
    for group in (STRUCTURAL, REDUCTIONS, COMPARISONS, COMPOSED, QONNX):
        table.update({name: (entry.importer, entry.ops) for name, entry in group.items()})
    for spec in ALL:
        for name, importer in spec.importers.items():
            table[name] = (importer, tuple(dict.fromkeys((spec.name, *ALSO.get(name, ())))))
    return table


def importers() -> dict[str, Importer]:
    """ONNX operator name -> importer; a name outside the standard domain is written 'domain::Name'."""
    return {name: importer for name, (importer, _) in _table().items()}


def importer_of(node: OnnxNode) -> Importer | None:
    """The importer of a node, or None if the operator is not supported."""
    name = node.op_type if node.domain in STANDARD else f"{node.domain}::{node.op_type}"
    found = _table().get(name)
    return None if found is None else found[0]


def operator_table() -> list[OperatorSupport]:
    """Every ONNX operator that can be imported and the ops it becomes, sorted by name."""
    rows = {name: OperatorSupport(name, ops) for name, (_, ops) in _table().items()}
    for name, expansion in EXPANSIONS.items():
        inner = _table()[expansion.operator][1]
        around = ("Quantize",) if expansion.quantizes else ()
        rows[name] = OperatorSupport(name, tuple(dict.fromkeys(("Dequantize", *inner, *around))))
    for name in FOLDED:
        rows[name] = OperatorSupport(name, (), folded=True)
    return [rows[name] for name in sorted(rows, key=str.lower)]


def supported_operators() -> list[str]:
    """Names of all operators that can be imported, sorted."""
    return [row.name for row in operator_table()]
