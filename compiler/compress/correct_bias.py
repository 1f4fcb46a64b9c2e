"""Bias correction: take back the shift of the mean that changed weights have put on each channel.

Nagel et al. (2019), section 4.2, with means measured on data instead of derived from batch normalisation. The
correction of a layer is kept only if the outputs of the network come closer to the original ones: at very few bits
the shift is not the problem, and correcting it can hurt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import UsageError
from ..interp import run, run_chunks
from ..ir.graph import Graph
from ..ir.rewrite import GraphEditor
from ..passes.base import Preserves
from .layers import WeightLayer, weight_layers
from .reconstruction import check_inputs


@dataclass(frozen=True, slots=True, eq=False)
class CorrectBias:
    """Add to each bias the mean by which the layer's sums fall short of those of the original network.

    Attributes:
        data: graph input -> (S, *shape), unlabelled.
        original: the network before its weights were changed; layers are matched by name.
    """

    data: Mapping[str, np.ndarray]
    original: Graph

    name: ClassVar[str] = "correct-bias"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with corrected biases; its output error on the data is never larger than before.

        Raises:
            UsageError: `original` has other layers.
        """
        check_inputs(graph, self.data)
        theirs = {layer.name: layer for layer in weight_layers(self.original)}
        for layer in weight_layers(graph):
            if layer.name not in theirs or theirs[layer.name].weights.shape[0] != layer.weights.shape[0]:
                raise UsageError(f"the original network has no layer '{layer.name}' with as many outputs")
        reference = run(self.original, self.data)
        least = self._error(graph, reference)
        for layer in weight_layers(graph):
            shift = self._mean(self.original, theirs[layer.name]) - self._mean(graph, layer)
            if not np.any(shift):
                continue
            candidate = _shifted(graph, layer, shift.astype(np.float32))
            error = self._error(candidate, reference)
            if error < least:
                graph, least = candidate, error
        return graph

    def _mean(self, graph: Graph, layer: WeightLayer) -> np.ndarray:
        """Mean of a layer's outputs behind its activation, by channel."""
        tensor = layer.node.outputs[0]
        total, count = np.zeros(len(layer.weights)), 0
        for part in run_chunks(graph, self.data, keep=(tensor,)):
            rows = part[tensor].reshape(-1, len(total)).astype(np.float64)
            total, count = total + rows.sum(axis=0), count + len(rows)
        return total / count

    def _error(self, graph: Graph, reference: Mapping[str, np.ndarray]) -> float:
        found = run(graph, self.data)
        pairs = zip(found.values(), reference.values(), strict=True)
        return sum(float(np.square(a.astype(np.float64) - b).sum()) for a, b in pairs)


def _shifted(graph: Graph, layer: WeightLayer, shift: np.ndarray) -> Graph:
    editor = GraphEditor(graph)
    node = editor.snapshot().node(layer.name)
    bias = shift if layer.bias is None else layer.bias + shift
    editor.update(node, inputs=(*node.inputs[:2], editor.add_constant(f"{layer.name}/corrected", bias)))
    return editor.finish()
