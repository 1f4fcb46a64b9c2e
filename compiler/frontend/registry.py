"""Which function imports which ONNX operator: collected from the ops' own declarations."""

from __future__ import annotations

from functools import lru_cache

from ..ops import ALL
from ..ops.spec import Importer
from .context import OnnxNode

STANDARD = ("", "ai.onnx")


@lru_cache(maxsize=1)
def importers() -> dict[str, Importer]:
    """ONNX operator name -> importer; a name outside the standard domain is written 'domain::Name'."""
    from .structural import STRUCTURAL

    table: dict[str, Importer] = dict(STRUCTURAL)
    for spec in ALL:
        table.update(spec.importers)
    return table


def importer_of(node: OnnxNode) -> Importer | None:
    """The importer of a node, or None if the operator is not supported."""
    table = importers()
    if node.domain in STANDARD:
        return table.get(node.op_type)
    return table.get(f"{node.domain}::{node.op_type}")


def supported_operators() -> list[str]:
    """Names of all operators that can be imported, sorted."""
    return sorted(importers())
