"""Batch normalization of the layers in training; at its end it becomes part of their weights and biases.

A canonical graph has no normalization left: it was folded. Binary weights are hard to train without one, so a
training may put it back (Ioffe, Szegedy 2015): behind the sums of a layer, before its activation. It starts at what the
layer's sums are in the graph as given, so that a trained network is where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..compress.layers import WeightLayer, weight_layers
from ..ir.graph import Graph, Node
from ..ops.activation import NONE
from ..ops.conv2d import Conv2DAttrs
from ..ops.dense import DenseAttrs
from .lowering import LOWERINGS, activate, call_of
from .runtime import tensorflow

Tensor = Any

MOMENTUM = 0.95
EPSILON = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Normalization:
    """The normalization of one layer.

    Attributes:
        layer: the layer.
        sums: its node without bias and activation.
        factor, offset: trained variables, (out,).
        mean, variance: moving averages, (out,).
    """

    layer: WeightLayer
    sums: Node
    factor: Any
    offset: Any
    mean: Any
    variance: Any

    @classmethod
    def starting_at(cls, layer: WeightLayer, mean: np.ndarray, variance: np.ndarray) -> Normalization:
        """With the sums' statistics (out,), the bias not in them, as first averages and as first result."""
        tf = tensorflow()
        bias = np.zeros_like(mean) if layer.bias is None else layer.bias
        return cls(
            layer,
            sums_of(layer.node),
            tf.Variable(np.sqrt(variance + EPSILON)),
            tf.Variable(mean + bias),
            tf.Variable(mean, trainable=False),
            tf.Variable(variance, trainable=False),
        )

    @property
    def variables(self) -> dict[str, Any]:
        """What is trained."""
        return {f"{self.layer.name}/factor": self.factor, f"{self.layer.name}/offset": self.offset}

    @property
    def averages(self) -> dict[str, Any]:
        """What is not trained."""
        return {f"{self.layer.name}/mean": self.mean, f"{self.layer.name}/variance": self.variance}

    def apply(self, graph: Graph, inputs: list[Tensor], *, training: bool) -> Tensor:
        """The layer's output; in training by the statistics of the batch, which the averages follow."""
        tf = tensorflow()
        y = LOWERINGS[self.sums.op](call_of(graph, self.sums, inputs[:2]))
        mean, variance = self.mean, self.variance
        if training:
            mean, variance = tf.nn.moments(y, axes=list(range(len(y.shape) - 1)))
            self.mean.assign(MOMENTUM * self.mean + (1.0 - MOMENTUM) * mean)
            self.variance.assign(MOMENTUM * self.variance + (1.0 - MOMENTUM) * variance)
        y = (y - mean) * (self.factor * tf.math.rsqrt(variance + EPSILON)) + self.offset
        return activate(y, self.layer.activation)

    def folded(self) -> tuple[np.ndarray, np.ndarray]:
        """(factor of the weights, bias), each (out,): what normalization with the averages is."""
        factor = self.factor.numpy() / np.sqrt(self.variance.numpy() + EPSILON)
        bias: np.ndarray = self.offset.numpy() - self.mean.numpy() * factor
        return factor, bias


def sums_of(node: Node) -> Node:
    """A layer's node without bias and activation."""
    if not isinstance(node.attrs, (Conv2DAttrs, DenseAttrs)):
        raise TypeError(node.attrs)
    return replace(node, inputs=node.inputs[:2], attrs=replace(node.attrs, activation=NONE))


def sum_statistics(
    graph: Graph, inputs: Mapping[str, np.ndarray], run: Any
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Layer name -> mean and variance (out,) of its sums without bias, on the given samples.

    Args:
        run: (inputs, names of tensors) -> their values, as `Network.run`.
    """
    tf = tensorflow()
    layers = weight_layers(graph)
    names = tuple(dict.fromkeys(layer.node.inputs[0] for layer in layers if layer.node.inputs[0] not in inputs))
    values = {**inputs, **(run(inputs, names) if names else {})}
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for layer in layers:
        x, weights = tf.constant(values[layer.node.inputs[0]]), tf.constant(layer.weights[None])
        y = LOWERINGS[layer.node.op](call_of(graph, sums_of(layer.node), [x, weights])).numpy()
        flat = y.reshape(-1, y.shape[-1])
        found[layer.name] = flat.mean(axis=0), flat.var(axis=0)
    return found
