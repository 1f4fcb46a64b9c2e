"""Cross-layer equalization: spread the range of weights evenly over two layers that follow each other.

Scaling a channel down in one layer and up in the next changes nothing behind a ReLU, but it decides how well one step
for the whole layer, or for all activations of a tensor, serves each channel (Nagel et al., "Data-free quantization
through weight equalization and bias correction", 2019, section 4.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..ir.encoding import DENSE
from ..ir.graph import Graph
from ..ops.activation import Activation
from ..passes.base import Preserves
from .layers import NewWeights, WeightLayer, replace_weights, weight_layers
from .units import find_units

SETTLED = 1e-3
"""Rounds end when no channel is scaled by more than that any more."""

SCALES_THROUGH = ("MaxPool2D", "AveragePool2D", "Reshape", "Resize", "ReduceMean")
"""Ops that pass a positive factor of a channel on."""


@dataclass(frozen=True, slots=True)
class EqualizeLayers:
    """Equalize the ranges of channels over chains of Dense and Conv2D layers, depthwise ones among them.

    Pairs of layers with no clamp but ReLU between them, and nothing else reading the first; layers whose weights are
    integers, pruned or shared stay as they are. Pools, reshapes and averages may stand between.

    Attributes:
        rounds: most sweeps over all pairs.
    """

    rounds: int = 20

    name: ClassVar[str] = "equalize-layers"
    preserves: ClassVar[Preserves] = Preserves.EXACT

    def __call__(self, graph: Graph) -> Graph:
        """The equalized graph."""
        layers = {layer.name: layer for layer in weight_layers(graph)}
        pairs = layer_pairs(graph, layers)
        weights = {name: layer.weights.astype(np.float64) for name, layer in layers.items()}
        biases = {name: layer.bias for name, layer in layers.items()}
        touched: set[str] = set()
        for _ in range(self.rounds):
            largest = 0.0
            for first, second, repeats in pairs:
                factors = _factors(weights[first], weights[second], layers[second], repeats)
                largest = max(largest, float(np.abs(np.log(factors)).max(initial=0.0)))
                rescale(weights, biases, layers, (first, second, repeats), factors)
                touched.update((first, second))
            if largest < SETTLED:
                break
        return rescaled(graph, layers, weights, biases, touched)


Pair = tuple[str, str, int]
"""(first layer, second layer, inputs of the second for each channel of the first)."""


def layer_pairs(graph: Graph, layers: dict[str, WeightLayer]) -> list[Pair]:
    """Layers of which the second alone reads the first and gets back what a positive factor of a channel changes."""
    consumers, units = graph.consumers(), find_units(graph)
    found: list[Pair] = []
    for layer in layers.values():
        tensor, node = layer.node.outputs[0], None
        clean = layer.activation in (Activation(), Activation(0.0))
        while clean and len(consumers[tensor]) == 1 and tensor not in graph.outputs:
            node = consumers[tensor][0]
            if node.name in layers or node.op not in SCALES_THROUGH:
                break
            tensor = node.outputs[0]
        if not clean or node is None or node.name not in layers or tensor in graph.outputs:
            continue
        second = layers[node.name]
        grouped = second.groups > 1 and not (second.depthwise and len(second.weights) == second.groups)
        plain = all(one.element is None and one.encoding is DENSE for one in (layer, second))
        own, read = units.channels(layer.node.outputs[0]), units.channels(second.node.inputs[0])
        repeats = len(read) // len(own)
        if plain and not grouped and len(read) % len(own) == 0 and np.array_equal(read, np.tile(own, repeats)):
            found.append((layer.name, second.name, repeats))
    return found


def _columns(weights: np.ndarray, layer: WeightLayer, repeats: int) -> np.ndarray:
    """Weights of a layer with the channels of the layer before as the last axis, (..., channels)."""
    if layer.depthwise:
        return weights.reshape(len(weights), -1).T
    return weights.reshape(-1, repeats, weights.shape[-1] // repeats)


def _factors(first: np.ndarray, second: np.ndarray, reader: WeightLayer, repeats: int) -> np.ndarray:
    """What each channel of the first layer is divided by: sqrt(r1 / r2), ranges equal afterwards."""
    own = np.abs(first.reshape(len(first), -1)).max(axis=1)
    columns = np.abs(_columns(second, reader, repeats))
    read = columns.max(axis=tuple(range(columns.ndim - 1)))
    usable = (own > 0) & (read > 0)
    return np.where(usable, np.sqrt(np.where(usable, own, 1.0) / np.where(usable, read, 1.0)), 1.0)


def rescale(
    weights: dict[str, np.ndarray],
    biases: dict[str, np.ndarray | None],
    layers: dict[str, WeightLayer],
    pair: Pair,
    factors: np.ndarray,
) -> None:
    """Divide the channels of the first layer of a pair by `factors`, and give them back to the second."""
    first, second, repeats = pair
    weights[first] = weights[first] / factors.reshape(-1, *[1] * (weights[first].ndim - 1))
    bias = biases[first]
    if bias is not None:
        biases[first] = bias / factors
    if layers[second].depthwise:
        weights[second] = weights[second] * factors.reshape(-1, 1, 1, 1)
    else:
        weights[second] = weights[second] * np.tile(factors, repeats)


def rescaled(
    graph: Graph,
    layers: dict[str, WeightLayer],
    weights: dict[str, np.ndarray],
    biases: dict[str, np.ndarray | None],
    touched: Iterable[str],
) -> Graph:
    """The graph with the new weights and biases of the layers that were touched."""
    changes: dict[str, NewWeights] = {}
    for name in touched:
        bias = biases[name]
        changes[name] = NewWeights(
            weights[name].astype(np.float32),
            layers[name].encoding,
            bias=None if bias is None else bias.astype(np.float32),
        )
    return replace_weights(graph, changes)
