"""Channels of a tensor scaled to the same range, so that one 8-bit scale serves them all.

Factored layers begin like this (see `factoring`), but training moves the ranges apart, the more so with batch
normalization, which is folded into the weights at its end. Between two linear layers a channel may be scaled in the
first and back in the second: outputs do not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..ir.graph import Graph
from ..passes.base import Preserves
from .calibrate import collect
from .equalize import layer_pairs, rescale, rescaled
from .layers import weight_layers


@dataclass(frozen=True, slots=True, eq=False)
class EqualizeActivations:
    """Give all channels between two linear layers the same largest magnitude.

    `EqualizeLayers` makes the ranges of weights alike, behind a ReLU too; this one those of the tensor itself, where
    nothing but a linear layer made it. Weights have a scale for each output channel anyway.

    Attributes:
        data: graph input -> (S, *shape), unlabelled.
    """

    data: Mapping[str, np.ndarray]

    name: ClassVar[str] = "equalize-activations"
    preserves: ClassVar[Preserves] = Preserves.EXACT

    def __call__(self, graph: Graph) -> Graph:
        """The graph with other weights."""
        layers = {layer.name: layer for layer in weight_layers(graph)}
        pairs = [pair for pair in layer_pairs(graph, layers) if layers[pair[0]].activation.is_none]
        weights = {name: layer.weights.astype(np.float64) for name, layer in layers.items()}
        biases = {name: layer.bias for name, layer in layers.items()}
        seen = collect(graph, self.data, [layers[first].node.outputs[0] for first, _, _ in pairs])
        touched: set[str] = set()
        for first, second, repeats in pairs:
            found = seen[layers[first].node.outputs[0]]
            sizes = np.maximum(np.abs(found.channel_low), np.abs(found.channel_high)).astype(np.float64)
            factors = np.where(sizes > 0.0, sizes / max(float(sizes.mean()), 1e-30), 1.0)
            rescale(weights, biases, layers, (first, second, repeats), factors)
            touched.update((first, second))
        return rescaled(graph, layers, weights, biases, touched)
