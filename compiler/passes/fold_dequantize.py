"""Constants stored as integers become float constants: for targets that choose their own types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..ir.graph import Graph
from ..ir.rewrite import GraphEditor
from ..numerics import dequantize
from .base import Preserves


@dataclass(frozen=True, slots=True)
class FoldDequantize:
    """Dequantize nodes of constants are evaluated; weight-only quantized models become plain float models."""

    name: ClassVar[str] = "fold-dequantize"
    preserves: ClassVar[Preserves] = Preserves.EXACT

    def __call__(self, graph: Graph) -> Graph:
        """Fold every Dequantize whose input is constant."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            if node.op == "Dequantize" and node.inputs[0] in graph.constants:
                raw = graph.constants[node.inputs[0]].values
                values = dequantize(raw, graph.types[node.inputs[0]].element)
                folded = editor.add_constant(node.inputs[0] + "_real", values)
                editor.replace_uses(node.outputs[0], folded)
        return editor.finish()
