"""Activations of fewer than 8 bits: signs in the place of ReLU, or a narrow integer behind it.

The rewritten graph is float and trainable: gradients go straight through rounding and signs. It is meant to be trained
afterwards; without that it costs much accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from ..errors import UsageError
from ..ir.affine import ACTIVATION_BITS, activation_type
from ..ir.graph import Graph, Node
from ..ir.rewrite import GraphEditor
from ..ops.activation import NONE
from ..ops.bipolar import BipolarAttrs
from ..ops.conv2d import Conv2DAttrs
from ..ops.dense import DenseAttrs
from ..options import CalibrationMethod
from ..passes.base import Preserves
from .calibrate import calibrated_range, collect
from .layers import pick, weight_layers
from .ptq import insert_quantizer


@dataclass(frozen=True, slots=True, eq=False)
class NarrowActivations:
    """Activations behind the layers of a network that clamp at zero, in 1 to 7 bits.

    One bit: the sign takes the place of the clamp (binarized networks, Hubara et al. 2016; XNOR-Net, Rastegari et al.
    2016), so that the next layer can count bits if its weights are binary as well. More bits: an integer type whose
    range fits the data (the range of least squared error).

    Attributes:
        data: graph input -> (S, *shape) to measure ranges on; not needed for one bit.
        width: bits of all of them, or by layer name or pattern; 8 leaves a layer alone.
    """

    data: Mapping[str, np.ndarray] = field(default_factory=dict)
    width: int | Mapping[str, int] = 1

    name: ClassVar[str] = "narrow-activations"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with narrow activations.

        Raises:
            UsageError: a width out of range, no such layer, or no data to measure ranges on.
        """
        widths = self._widths(graph)
        measured = {node.outputs[0]: width for node, width in widths if width > 1}
        if measured and not self.data:
            raise UsageError("activations of 2 to 7 bits need data to measure their ranges on")
        statistics = collect(graph, self.data, list(measured), histogram=True) if measured else {}
        editor = GraphEditor(graph)
        for node, width in widths:
            if width == 1:
                _sign(editor, next(n for n in editor.nodes if n.name == node.name))
        for name, width in measured.items():
            low, high = calibrated_range(statistics[name], CalibrationMethod.MSE, width)
            insert_quantizer(editor, graph, name, activation_type(low, high, width))
        return editor.finish()

    def _widths(self, graph: Graph) -> list[tuple[Node, int]]:
        """Clamped layers and the widths of their outputs, those below 8 bits."""
        chosen = self.width if isinstance(self.width, Mapping) else {"*": self.width}
        found: list[tuple[Node, int]] = []
        for layer in weight_layers(graph):
            width = pick(chosen, layer.name)
            if width is None or width == ACTIVATION_BITS or layer.activation.low != 0.0:
                continue
            if not 1 <= width < ACTIVATION_BITS:
                raise UsageError(f"activations of {width} bits", hint=f"widths are 1 to {ACTIVATION_BITS}")
            if layer.node.outputs[0] in graph.outputs and width == 1:
                continue
            found.append((layer.node, width))
        return found


def _sign(editor: GraphEditor, node: Node) -> None:
    """Put Bipolar in the place of a layer's fused clamp."""
    if not isinstance(node.attrs, (Conv2DAttrs, DenseAttrs)):
        raise TypeError(node.attrs)
    output = node.outputs[0]
    readers = [reader for reader in editor.nodes if output in reader.inputs]
    editor.update(node, attrs=replace(node.attrs, activation=NONE))
    sign = editor.add_node("Bipolar", [output], BipolarAttrs(), node.source, name=f"{node.name}_sign")
    for reader in readers:
        editor.update(reader, inputs=tuple(sign.outputs[0] if name == output else name for name in reader.inputs))
