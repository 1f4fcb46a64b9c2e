"""Post-training quantization and lowering: the integer network is the float one with rounded values."""

from __future__ import annotations

import numpy as np
import pytest

from boardfit.interp import run
from boardfit.ir import Graph
from boardfit.ops.add import AddAttrs
from boardfit.ops.average_pool2d import AveragePool2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.softmax import SoftmaxAttrs
from boardfit.options import CalibrationMethod, QuantizeOptions
from tests.quantize.networks import Network, both, samples, steps_apart


def residual_network() -> Graph:
    net = Network(1, 12, 12, 3)
    trunk = net.add("MaxPool2D", [net.conv(net.x, 8)], MaxPool2DAttrs((2, 2), (2, 2)))
    joined = net.add("Add", [trunk, net.conv(net.depthwise(trunk), 8, 1)], AddAttrs())
    pooled = net.add("AveragePool2D", [joined], AveragePool2DAttrs((6, 6), (6, 6)))
    logits = net.dense(net.flatten(pooled), 5)
    return net.done(logits, net.add("Softmax", [logits], SoftmaxAttrs(1)))


@pytest.mark.parametrize("method", list(CalibrationMethod))
def test_integer_network_follows_the_rounded_float_network(method: CalibrationMethod) -> None:
    graph = residual_network()
    quantized, integer = both(graph, options=QuantizeOptions(method=method))
    assert not any(t.is_float for t in integer.types.values())
    inputs = samples(graph, 40, seed=2)
    for distance in steps_apart(quantized, integer, inputs):
        assert distance.max() <= 2  # several layers, each with one rounding of its own
        assert (distance <= 1).mean() > 0.99
    exact, rounded = run(graph, inputs), run(quantized, inputs)
    for a, b in zip(graph.outputs, quantized.outputs, strict=True):
        error = np.square(exact[a] - rounded[b]).mean() / np.square(exact[a]).mean()
        assert error < 0.01


def test_a_dead_channel_keeps_its_bias_small() -> None:
    net = Network(1, 6)
    weights = net.rng.normal(size=(4, 6))
    weights[2] *= 1e-6  # died in training, its bias did not
    bias = np.array([0.3, -0.2, 1.5, 0.1])
    graph = net.done(net.add("Dense", [net.x, net.constant(weights), net.constant(bias)], DenseAttrs()))
    quantized, integer = both(graph)
    raw_bias = next(c.values for name, c in integer.constants.items() if integer.types[name].shape == (4,))
    assert np.abs(raw_bias).max() <= 1 << 22
    inputs = samples(graph, 40, seed=2)
    exact, rounded = run(graph, inputs)[graph.outputs[0]], run(quantized, inputs)[quantized.outputs[0]]
    assert np.abs(exact - rounded)[..., 2].max() < 0.02  # half a step of the output
