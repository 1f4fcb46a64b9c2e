"""Cross-layer equalization keeps the network, and bias correction never makes it worse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.compress.calibrate import collect
from boardfit.compress.correct_bias import CorrectBias
from boardfit.compress.equalize import EqualizeLayers
from boardfit.compress.equalize_activations import EqualizeActivations
from boardfit.compress.layers import NewWeights, replace_weights, weight_layers
from boardfit.compress.prune import Prune
from boardfit.compress.round_to_nearest import RoundToNearest, ScaleChoice
from boardfit.errors import UsageError
from boardfit.interp import run
from boardfit.ir import Graph, GraphEditor, Source, TensorType
from boardfit.ops.activation import NONE, RELU, Activation
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.reshape import ReshapeAttrs
from boardfit.pipeline import run_passes


def separable(activation: Activation = RELU) -> Graph:
    """Convolution, depthwise, pool, pointwise, flatten, dense; channels of very different size."""
    random = np.random.default_rng(0)
    editor = GraphEditor.empty("net")
    x = editor.add_input("x", TensorType((1, 8, 8, 2)))

    def layer(name: str, op: str, attrs: Conv2DAttrs | DenseAttrs, *shape: int) -> None:
        nonlocal x
        values = random.standard_normal(shape) * 10.0 ** random.uniform(-1.5, 1.5, (shape[0], *[1] * (len(shape) - 1)))
        inputs = [x, editor.add_constant("w", values.astype(np.float32))]
        inputs.append(editor.add_constant("b", random.standard_normal(shape[0]).astype(np.float32)))
        x = editor.add_node(op, inputs, attrs, Source("net.onnx", name, op), name=name).outputs[0]

    pads = (1, 1, 1, 1)
    layer("first", "Conv2D", Conv2DAttrs(pads=pads, activation=activation), 6, 3, 3, 2)
    layer("deep", "Conv2D", Conv2DAttrs(pads=pads, groups=6, activation=activation), 6, 3, 3, 1)
    pool = MaxPool2DAttrs(kernel=(2, 2), strides=(2, 2))
    x = editor.add_node("MaxPool2D", [x], pool, Source("net.onnx", "pool", "MaxPool"), name="pool").outputs[0]
    layer("point", "Conv2D", Conv2DAttrs(activation=activation), 5, 1, 1, 6)
    flat = ReshapeAttrs((1, 80))
    x = editor.add_node("Reshape", [x], flat, Source("net.onnx", "flat", "Flatten"), name="flat").outputs[0]
    layer("out", "Dense", DenseAttrs(NONE), 4, 80)
    editor.outputs = [x]
    return editor.finish()


DATA = {"x": np.random.default_rng(2).standard_normal((30, 1, 8, 8, 2)).astype(np.float32)}


def output(graph: Graph) -> np.ndarray:
    return run(graph, DATA)[graph.outputs[0]]


def test_equalization_changes_weights_but_not_outputs() -> None:
    graph = separable()
    made = run_passes(graph, [EqualizeLayers()]).graph
    before, after = output(graph), output(made)
    assert np.abs(after - before).max() < 1e-5 * np.ptp(before)
    ranges = {layer.name: np.abs(layer.matrix).max(axis=1) for layer in weight_layers(made)}
    old = {layer.name: np.abs(layer.matrix).max(axis=1) for layer in weight_layers(graph)}
    for name in ("first", "deep", "point"):
        assert ranges[name].max() / ranges[name].min() < 0.5 * old[name].max() / old[name].min()


def test_one_scale_for_a_layer_serves_equalized_channels_better() -> None:
    graph = separable()
    rounding = RoundToNearest(8, ScaleChoice.MIN_MAX, per_channel=False)
    plain = np.square(output(rounding(graph)) - output(graph)).mean()
    equalized = np.square(output(rounding(EqualizeLayers()(graph))) - output(graph)).mean()
    assert equalized < 0.5 * plain


def test_clamps_and_promises_are_respected() -> None:
    clamped = separable(Activation(0.0, 6.0))
    assert all(
        np.array_equal(a.weights, b.weights)
        for a, b in zip(weight_layers(clamped), weight_layers(EqualizeLayers()(clamped)), strict=True)
    )
    pruned = Prune(DATA, {"deep": 0.2, "out": 0.5})(separable())
    made = run_passes(pruned, [EqualizeLayers()]).graph
    assert np.allclose(output(pruned), output(made), atol=1e-4 * np.ptp(output(pruned)))


@given(st.sampled_from([2, 3, 4, 8]), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_bias_correction_never_makes_the_calibration_error_larger(width: int, seed: int) -> None:
    graph = separable()
    rounded = RoundToNearest(width)(graph)
    random = np.random.default_rng(seed)
    noisy = {
        layer.name: NewWeights(layer.weights, layer.encoding, bias=random.normal(0, 0.3, len(layer.weights)))
        for layer in weight_layers(rounded)
    }
    spoiled = replace_weights(rounded, noisy)
    before = np.square(output(spoiled) - output(graph)).sum()
    corrected = CorrectBias(DATA, graph)(spoiled)
    after = np.square(output(corrected) - output(graph)).sum()
    assert after <= before * (1 + 1e-6)


def test_a_shifted_bias_is_found() -> None:
    graph = separable()
    out = next(layer for layer in weight_layers(graph) if layer.name == "out")
    assert out.bias is not None
    moved = replace_weights(graph, {"out": NewWeights(out.weights, out.encoding, bias=out.bias + 3)})
    assert np.allclose(output(CorrectBias(DATA, graph)(moved)), output(graph), atol=1e-3 * np.ptp(output(graph)))
    with pytest.raises(UsageError, match="no layer"):
        CorrectBias(
            DATA,
            separable(),
        )(_renamed(graph))


def _renamed(graph: Graph) -> Graph:
    editor = GraphEditor(graph)
    editor.update(editor.nodes[0], name="other")
    return editor.finish()


def test_channels_between_linear_layers_get_one_range_and_outputs_stay() -> None:
    graph = separable(NONE)
    made = run_passes(graph, [EqualizeActivations(DATA)]).graph
    np.testing.assert_allclose(output(made), output(graph), rtol=1e-3, atol=1e-3 * np.abs(output(graph)).max())
    between = [layer.node.outputs[0] for layer in weight_layers(made)[:-1]]
    for found in collect(made, DATA, between).values():
        sizes = np.maximum(np.abs(found.channel_low), np.abs(found.channel_high))
        np.testing.assert_allclose(sizes, sizes.mean(), rtol=1e-3)


def test_channels_behind_a_clamp_keep_their_ranges() -> None:
    graph = separable(RELU)
    for a, b in zip(weight_layers(graph), weight_layers(EqualizeActivations(DATA)(graph)), strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)


@pytest.mark.parametrize("size", [0.0, 1e-37])
def test_channels_that_are_as_good_as_dead_stay_finite(size: float) -> None:
    graph = separable(NONE)
    first = weight_layers(graph)[0]
    weights, bias = first.weights.copy(), np.asarray(first.bias).copy()
    weights[2] *= size
    bias[2] = 0.0
    dead = replace_weights(graph, {first.name: NewWeights(weights, first.encoding, bias=bias)})
    made = EqualizeActivations(DATA)(dead)
    assert all(np.isfinite(layer.weights).all() for layer in weight_layers(made))
    np.testing.assert_allclose(output(made), output(dead), rtol=1e-3, atol=1e-3 * np.abs(output(dead)).max())
