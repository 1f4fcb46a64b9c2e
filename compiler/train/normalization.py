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
from ..errors import UsageError
from ..ir.graph import Graph, Node
from ..ops.activation import NONE
from ..ops.conv2d import Conv2DAttrs
from ..ops.dense import DenseAttrs
from .lowering import LOWERINGS, activate, call_of
from .runtime import tensorflow

Tensor = Any

MOMENTUM = 0.95
EPSILON = 1.001e-5
"""The smallest that TensorFlow's fused operation takes."""


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
        if training:
            y, mean, variance = self._of_batch(y)
            self.mean.assign(MOMENTUM * self.mean + (1.0 - MOMENTUM) * mean)
            self.variance.assign(MOMENTUM * self.variance + (1.0 - MOMENTUM) * variance)
        else:
            y = (y - self.mean) * (self.factor * tf.math.rsqrt(self.variance + EPSILON)) + self.offset
        return activate(y, self.layer.activation)

    def _of_batch(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalized sums, and the batch's mean and variance (out,): one operation, as passes over images cost most."""
        tf = tensorflow()
        shape = tf.shape(y)
        rows = tf.reshape(y, [shape[0], -1, 1, y.shape[-1]])
        fused = tf.compat.v1.nn.fused_batch_norm
        rows, mean, unbiased = fused(rows, self.factor, self.offset, epsilon=EPSILON)
        count = tf.cast(tf.size(y) // y.shape[-1], tf.float32)
        return tf.reshape(rows, shape), mean, unbiased * (count - 1.0) / count

    def folded(self) -> tuple[np.ndarray, np.ndarray]:
        """(factor of the weights, bias), each (out,): what normalization with the averages is."""
        factor = self.factor.numpy() / np.sqrt(self.variance.numpy() + EPSILON)
        bias: np.ndarray = self.offset.numpy() - self.mean.numpy() * factor
        return factor, bias


def check_normalized(graph: Graph) -> None:
    """Refuse layers that share weights among channels: each channel gets a factor of its own.

    Raises:
        UsageError: such a layer.
    """
    for layer in weight_layers(graph):
        promise = layer.promise
        if promise.tie is not None or promise.circulant is not None or promise.clusters is not None:
            raise UsageError(
                f"layer '{layer.name}' shares weights among its channels, which normalization would tell apart",
                hint="train without normalization",
            )


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
