"""How much the network's outputs feel each weight: the diagonal of the Gauss-Newton matrix, without labels.

The second derivative of the divergence between the network's own answers and slightly different ones. For classifiers
that is the Fisher information; for other networks the plain squared error of the outputs. Per weight it is taken as
the product of what the outputs feel of the layer's channel and the mean square of the weight's input (the
Kronecker-factored approximation of Martens, Grosse 2015, diagonals only).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..ir.graph import Graph, Node
from .fidelity import is_classifier
from .reconstruction import LayerProblem, check_inputs, compress_layers, evaluate

SAMPLES = 16
"""Samples the channels are probed on."""

STEP = 1e-2
"""Size of a probe, relative to the standard deviation of the layer's outputs."""

SEED = 2026


def diagonal_hessian(graph: Graph, data: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Importance of every weight: half of it times its squared change is the loss to expect.

    Each output channel is probed by signs drawn at random for each position, so that positions do not cancel, and the
    graph behind it is evaluated again (finite differences, no derivatives of ops needed).

    Args:
        graph: float canonical graph.
        data: graph input -> (S, *shape), unlabelled.

    Returns:
        Layer name -> array of the shape of its weights, not negative.

    Raises:
        DataError: no data, or data of another shape.
    """
    samples = check_inputs(graph, data)
    few = np.arange(min(samples, SAMPLES)) * samples // min(samples, SAMPLES)
    values = {name: np.asarray(data[name][few], np.float32) for name in graph.inputs}
    for node in graph.nodes:
        for name, array in zip(node.outputs, evaluate(graph, node, values), strict=True):
            values[name] = array
    found: dict[str, np.ndarray] = {}

    def measure(problem: LayerProblem) -> None:
        layer = problem.layer
        felt = _channel_curvature(graph, layer.node.outputs[0], values)
        found[layer.name] = (felt[:, None] * problem.importance).reshape(layer.weights.shape)

    compress_layers(graph, data, measure, asymmetric=False)
    return found


def _channel_curvature(graph: Graph, tensor: str, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Curvature of the divergence along each channel of a tensor, summed over positions, mean over samples."""
    clean = values[tensor]
    step = STEP * float(clean.std()) or STEP
    random = np.random.default_rng(SEED)
    channels = clean.shape[-1]
    behind = _readers(graph, tensor)
    curvature = np.zeros(channels)
    for channel in range(channels):
        probe = np.zeros_like(clean)
        probe[..., channel] = step * random.choice(np.array([-1.0, 1.0], np.float32), clean.shape[:-1])
        up, down = ({**values, tensor: clean + sign * probe} for sign in (1, -1))
        for node in behind:
            for own in (up, down):
                for name, array in zip(node.outputs, evaluate(graph, node, own), strict=True):
                    own[name] = array
        for output in graph.outputs:
            slope = (up[output].astype(np.float64) - down[output]) / (2 * step)
            curvature[channel] += _squared(graph, values[output], slope)
    return curvature


def _readers(graph: Graph, tensor: str) -> list[Node]:
    """Nodes that depend on a tensor, in order."""
    reached = {tensor}
    found: list[Node] = []
    for node in graph.nodes:
        if reached.intersection(node.inputs) and tensor not in node.outputs:
            reached.update(node.outputs)
            found.append(node)
    return found


def _squared(graph: Graph, outputs: np.ndarray, slope: np.ndarray) -> float:
    """Squared length of a change of the outputs, in the metric of their divergence, mean over samples."""
    rows, change = outputs.reshape(len(outputs), -1).astype(np.float64), slope.reshape(len(slope), -1)
    if not is_classifier(graph):
        return float(np.square(change).sum(axis=1).mean())
    producer = graph.producer(graph.outputs[0])
    if producer is not None and producer.op == "Softmax":  # sum of (dp)^2 / p
        return float((np.square(change) / np.maximum(rows, 1e-6)).sum(axis=1).mean())
    chances = np.exp(rows - rows.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    mean = (chances * change).sum(axis=1, keepdims=True)
    return float((chances * np.square(change - mean)).sum(axis=1).mean())
