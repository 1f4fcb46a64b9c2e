"""Small questions rewrites ask about a graph under edit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir.graph import Node
from ..ir.rewrite import GraphEditor
from ..ir.types import Affine, ElementType
from ..numerics import dequantize
from ..ops.quantize import DequantizeAttrs


class Editing(GraphEditor):
    """A graph editor with the look-ups rewrites need; maps are rebuilt after every change."""

    def producer(self, tensor: str) -> Node | None:
        """The node that makes `tensor`."""
        for node in self.nodes:
            if tensor in node.outputs:
                return node
        return None

    def readers(self, tensor: str) -> list[Node]:
        """The nodes that read `tensor`."""
        return [node for node in self.nodes if tensor in node.inputs]

    def only_reader(self, tensor: str) -> Node | None:
        """The one node that reads `tensor`, if it is one and the tensor is no graph output."""
        found = self.readers(tensor)
        return found[0] if len(found) == 1 and tensor not in self.outputs else None

    def constant_source(self, tensor: str) -> tuple[np.ndarray, ElementType] | None:
        """Values and element type of a constant, also behind a Dequantize (then the raw integers)."""
        if tensor in self.constants:
            return self.constants[tensor].values, self.types[tensor].element
        node = self.producer(tensor)
        if node is not None and node.op == "Dequantize" and node.inputs[0] in self.constants:
            return self.constants[node.inputs[0]].values, self.types[node.inputs[0]].element
        return None

    def real_constant(self, tensor: str) -> np.ndarray | None:
        """Real values of a constant, also behind a Dequantize."""
        found = self.constant_source(tensor)
        return None if found is None else dequantize(*found)

    def remake_constant(self, tensor: str, values: np.ndarray, element: ElementType, stem: str) -> str:
        """A constant in the same form (plain, or behind a Dequantize) with other values and type."""
        if tensor in self.constants:
            return self.add_constant(stem, values, element)
        node = self.producer(tensor)
        source = node.source if node is not None else self.nodes[0].source
        raw = self.add_constant(f"{stem}_quantized", values, element)
        return self.add_node("Dequantize", [raw], DequantizeAttrs(), source, name=stem).outputs[0]


def permuted_element(element: ElementType, axis: int, order: np.ndarray) -> ElementType:
    """Element type after entries along `axis` were reordered by `order`."""
    if isinstance(element, Affine) and element.axis == axis:
        scale = tuple(element.scale[i] for i in order)
        zero = tuple(element.zero_point[i] for i in order)
        return replace(element, scale=scale, zero_point=zero)
    return element
