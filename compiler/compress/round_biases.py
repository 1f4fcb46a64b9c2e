"""Round biases to few bits times a power of two, so that a backend can store them as bytes and a shift.

A bias is added to the accumulator, whose unit is input scale times weight scale; full biases take 32 bits there. Most
of these bits are below what the layer's own rounding keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import UsageError
from ..ir.encoding import DENSE
from ..ir.graph import Graph, Node
from ..ir.rewrite import GraphEditor
from ..ir.types import FLOAT32, Affine
from ..ops.quantize import DequantizeAttrs
from ..passes.base import Preserves
from .ptq import LINEAR


@dataclass(frozen=True, slots=True)
class RoundBiases:
    """Round the biases of quantized layers to `bits` bits, of one power-of-two step for each layer.

    Takes the graph post-training quantization makes: only layers whose input and weights have one scale each are
    touched, as all channels share the step.

    Attributes:
        bits: with the sign.
    """

    bits: int = 8

    name: ClassVar[str] = "round-biases"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with rounded biases.

        Raises:
            UsageError: less than 2 or more than 32 bits.
        """
        if not 2 <= self.bits <= 32:
            raise UsageError(f"biases of {self.bits} bits", hint="give 2 to 32")
        producers = graph.producers()
        editor = GraphEditor(graph)
        for node in list(editor.nodes):
            unit = _unit(graph, producers, node)
            bias = node.input(2)
            if unit is None or bias not in graph.constants or not graph.types[bias].is_float:
                continue
            rounded = self.rounded(graph.constants[bias].values, unit)
            name = editor.add_constant(f"{bias}_rounded", rounded, FLOAT32, DENSE)
            editor.update(node, inputs=(*node.inputs[:2], name))
        return editor.finish()

    def rounded(self, bias: np.ndarray, unit: float) -> np.ndarray:
        """Real biases (out,) as multiples of the smallest unit * 2**shift that lets all of them fit the bits."""
        top = (1 << (self.bits - 1)) - 1
        raw = bias.astype(np.float64) / unit
        shift = 0
        while np.abs(np.rint(raw / 2.0**shift)).max(initial=0.0) > top:
            shift += 1
        result: np.ndarray = (np.rint(raw / 2.0**shift) * 2.0**shift * unit).astype(np.float32)
        return result


def _unit(graph: Graph, producers: dict[str, Node], node: Node) -> float | None:
    """Accumulator unit of a quantized layer with one scale for input and weights each, else None."""
    if node.op not in LINEAR:
        return None
    unit = 1.0
    for name in node.inputs[:2]:
        source = producers.get(name)
        if source is None or not isinstance(source.attrs, DequantizeAttrs):
            return None
        element = graph.types[source.inputs[0]].element
        if not isinstance(element, Affine) or element.axis is not None:
            return None
        unit *= element.scale[0]
    return unit
