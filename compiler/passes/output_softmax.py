"""Softmax at an output taken off the device: its input has the same largest class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..ir.graph import Graph, Node
from ..ir.rewrite import GraphEditor
from .base import Preserves


@dataclass(frozen=True, slots=True)
class DropOutputSoftmax:
    """Outputs that are a softmax (or a reshaped one) become its input, under the same output name."""

    name: ClassVar[str] = "drop-output-softmax"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """Drop every softmax that only outputs read."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            if node.op == "Softmax" and _only_output(graph, node):
                editor.replace_uses(node.outputs[0], node.inputs[0])
        return editor.finish()


def _only_output(graph: Graph, node: Node) -> bool:
    """Whether nothing but reshapes stands between a node and the outputs."""
    readers = graph.consumers()[node.outputs[0]]
    if not readers:
        return node.outputs[0] in graph.outputs
    return all(reader.op == "Reshape" and _only_output(graph, reader) for reader in readers)
