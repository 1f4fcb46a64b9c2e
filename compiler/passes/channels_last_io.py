"""Channels-last interface: images enter and leave a channels-first model as the device wants them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..ir.graph import Graph, Source
from ..ir.rewrite import GraphEditor
from ..ir.types import TensorType
from ..ops.transpose import TransposeAttrs
from .base import Preserves
from .layout import CanonicalLayout

TO_LAST = (0, 2, 3, 1)
TO_FIRST = (0, 3, 1, 2)


@dataclass(frozen=True, slots=True)
class ChannelsLastIo:
    """Images (rank 4) at the interface become channels-last wherever that removes a transposition.

    The interface changes, so outputs are not comparable axis by axis with those before.
    """

    name: ClassVar[str] = "channels-last-io"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """Try each input and output in turn and keep what removes a transposition."""
        count = transpositions(graph)
        for name in graph.inputs:
            if graph.types[name].rank == 4:
                changed = channels_last_input(graph, name)
                if (after := transpositions(changed)) < count:
                    graph, count = changed, after
        for name in graph.outputs:
            if graph.types[name].rank == 4:
                changed = channels_last_output(graph, name)
                if (after := transpositions(changed)) < count:
                    graph, count = changed, after
        return graph


def transpositions(graph: Graph) -> int:
    """Transposes left when the layout is canonical."""
    return sum(node.op == "Transpose" for node in CanonicalLayout()(graph).nodes)


def channels_last_input(graph: Graph, name: str) -> Graph:
    """The graph with one input taken channels-last and transposed at once."""
    editor = GraphEditor(graph)
    old = editor.types[name]
    shape = tuple(old.shape[axis] for axis in TO_LAST)
    inner = editor.add_node(
        "Transpose",
        [name],
        TransposeAttrs(TO_FIRST),
        Source(_model(graph), name, "Transpose"),
        types=[old],
    )
    for node in list(editor.nodes):
        if name in node.inputs and node is not inner:
            editor.update(node, inputs=tuple(inner.outputs[0] if i == name else i for i in node.inputs))
    editor.types[name] = TensorType(shape, old.element)
    return editor.finish()


def channels_last_output(graph: Graph, name: str) -> Graph:
    """The graph with one output transposed to channels-last."""
    editor = GraphEditor(graph)
    label = editor.labels.pop(name, name)
    made = editor.add_node("Transpose", [name], TransposeAttrs(TO_LAST), Source(_model(graph), name, "Transpose"))
    editor.outputs = [made.outputs[0] if output == name else output for output in editor.outputs]
    editor.labels[made.outputs[0]] = label
    return editor.finish()


def _model(graph: Graph) -> str:
    return next((node.source.model for node in graph.nodes), graph.name)
