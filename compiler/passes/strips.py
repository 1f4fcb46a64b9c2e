"""Patch-based execution as a rewrite: a chain of layers is computed strip by strip, so that its wide tensors never
exist whole.

Every strip of output rows needs a few more input rows than its share (the halo), which neighbouring strips compute
again: RAM is bought with instructions (Lin et al. 2021, "MCUNetV2: memory-efficient patch-based inference"). With
strips of a row or two this is what other tools build by hand as fused depthwise + pointwise or fused convolution +
pooling. The strips read the same constants, so weights are stored once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from ..ir.graph import Attrs, Graph, Node
from ..ir.rewrite import GraphEditor
from ..ir.types import TensorType
from ..ops import OPS
from ..ops.average_pool2d import AveragePool2DAttrs
from ..ops.concat import ConcatAttrs
from ..ops.conv2d import Conv2DAttrs
from ..ops.max_pool2d import MaxPool2DAttrs
from ..ops.slice import SliceAttrs
from .base import Preserves

ELEMENTWISE = ("Clamp", "Lookup", "Requantize")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows [first, end) of a tensor that exist, and rows of padding above and below them that a window covers."""

    first: int
    end: int
    above: int = 0
    below: int = 0


@dataclass(frozen=True, slots=True)
class SplitIntoStrips:
    """Compute the chain of nodes from `first` to `last` in strips of `rows` output rows.

    The chain must be one `stages` lists.
    """

    first: str
    last: str
    rows: int

    name: ClassVar[str] = "split-into-strips"
    preserves: ClassVar[Preserves] = Preserves.EXACT

    def __call__(self, graph: Graph) -> Graph:
        """The graph with the chain replaced by its strips and a Concat."""
        names = [node.name for node in graph.nodes]
        between = graph.nodes[names.index(self.first) : names.index(self.last) + 1]
        chain = _in_sequence(between, self.last)
        editor = GraphEditor(graph)
        height = graph.types[self.last_output(chain)].shape[1]
        parts = [
            _strip(editor, graph, chain, start, min(start + self.rows, height)) for start in range(0, height, self.rows)
        ]
        output = self.last_output(chain)
        for node in chain:
            editor.remove_node(node)
        source = chain[-1].source
        types = [graph.types[output]]
        editor.add_node(
            "Concat", parts, ConcatAttrs(1), source, name=f"{self.last}_strips", outputs=[output], types=types
        )
        return editor.finish()

    @staticmethod
    def last_output(chain: Sequence[Node]) -> str:
        """The tensor the chain makes."""
        return chain[-1].outputs[0]


def _in_sequence(nodes: Sequence[Node], last: str) -> list[Node]:
    """The nodes of the chain that ends in `last`, in order; others that stand between them are left out."""
    producers = {output: node for node in nodes for output in node.outputs}
    node = next(node for node in nodes if node.name == last)
    chain = [node]
    while chain[0].inputs[0] in producers:
        chain.insert(0, producers[chain[0].inputs[0]])
    return chain


def _strip(editor: GraphEditor, graph: Graph, chain: Sequence[Node], first: int, end: int) -> str:
    """Nodes for output rows [first, end); returns the tensor they make."""
    wanted = Rows(first, end)
    plan: list[tuple[Node, Rows]] = []
    for node in reversed(chain):
        needed = rows_needed(graph, node, wanted.first, wanted.end)
        plan.insert(0, (node, needed))
        wanted = needed
    tensor = chain[0].inputs[0]
    shape = graph.types[tensor].shape
    if (wanted.first, wanted.end) != (0, shape[1]):
        sizes = (shape[0], wanted.end - wanted.first, *shape[2:])
        cut = SliceAttrs((0, wanted.first, 0, 0), sizes, (1, 1, 1, 1))
        types = [TensorType(sizes, graph.types[tensor].element)]
        name = f"{chain[0].name}_rows_{first}"
        tensor = editor.add_node("Slice", [tensor], cut, chain[0].source, name=name, types=types).outputs[0]
    for node, rows in plan:
        attrs = _strip_attrs(node, rows)
        inputs = [tensor, *node.inputs[1:]]
        known = [editor.types[name] if name else None for name in inputs]
        made = OPS[node.op].infer(attrs, known)[0].with_element(graph.types[node.outputs[0]].element)
        strip = editor.add_node(node.op, inputs, attrs, node.source, name=f"{node.name}_rows_{first}", types=[made])
        tensor = strip.outputs[0]
    return tensor


def rows_needed(graph: Graph, node: Node, first: int, end: int) -> Rows:
    """Input rows that output rows [first, end) of a node read."""
    window = _window(graph, node)
    if window is None:
        return Rows(first, end)
    stride, reach, top, bottom = window
    height = graph.types[node.inputs[0]].shape[1]
    low, high = first * stride - top, (end - 1) * stride - top + reach
    return Rows(max(low, 0), min(high, height), max(-low, 0), min(max(high - height, 0), bottom))


def _window(graph: Graph, node: Node) -> tuple[int, int, int, int] | None:
    """(stride, reach, pad above, pad below) of a sliding window, or None for an element-wise node."""
    attrs = node.attrs
    if isinstance(attrs, Conv2DAttrs):
        kernel = graph.types[node.inputs[1]].shape[1]
        return attrs.strides[0], attrs.dilations[0] * (kernel - 1) + 1, attrs.pads[0], attrs.pads[2]
    if isinstance(attrs, (MaxPool2DAttrs, AveragePool2DAttrs)):
        reach = attrs.dilations[0] * (attrs.kernel[0] - 1) + 1
        return attrs.strides[0], reach, attrs.pads[0], attrs.pads[2]
    return None


def _strip_attrs(node: Node, rows: Rows) -> Attrs:
    attrs = node.attrs
    if isinstance(attrs, (Conv2DAttrs, MaxPool2DAttrs, AveragePool2DAttrs)):
        return replace(attrs, pads=(rows.above, attrs.pads[1], rows.below, attrs.pads[3]))
    return attrs


def can_split(graph: Graph, node: Node) -> bool:
    """Whether a node can be computed strip by strip with exactly the same integers."""
    x, y = graph.types.get(node.inputs[0]), graph.types[node.outputs[0]]
    if x is None or x.rank != 4 or y.rank != 4 or x.shape[0] != 1 or node.inputs[0] in graph.constants:
        return False
    attrs = node.attrs
    if isinstance(attrs, AveragePool2DAttrs):
        # a strip with other window sizes would get other multipliers
        return not any(attrs.pads) and not any(attrs.overhang)
    if isinstance(attrs, MaxPool2DAttrs):
        return not any(attrs.overhang)
    return isinstance(attrs, Conv2DAttrs) or node.op in ELEMENTWISE


def stages(graph: Graph, longest: int = 4) -> list[tuple[str, str]]:
    """(first, last) of every chain of 2 to `longest` nodes that can be split, each tensor between them read once."""
    consumers = graph.consumers()
    found: list[tuple[str, str]] = []
    for node in graph.nodes:
        chain = [node]
        while len(chain) <= longest and can_split(graph, chain[-1]):
            if len(chain) > 1:
                found.append((chain[0].name, chain[-1].name))
            tensor = chain[-1].outputs[0]
            readers = consumers[tensor]
            if len(readers) != 1 or tensor in graph.outputs or readers[0].inputs[0] != tensor:
                break
            if tensor in readers[0].inputs[1:]:
                break
            chain.append(readers[0])
    return found
