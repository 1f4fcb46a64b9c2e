"""Models that bring their own Quantize/Dequantize: what is kept, what is derived, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from boardfit.compress.ptq import quantize_for_mcu
from boardfit.errors import ModelError, UsageError
from boardfit.interp import run
from boardfit.ir import FLOAT32, Affine, Graph, TensorType
from boardfit.ops.activation import RELU, Activation
from boardfit.ops.add import AddAttrs
from boardfit.ops.average_pool2d import AveragePool2DAttrs
from boardfit.ops.clamp import ClampAttrs
from boardfit.ops.concat import ConcatAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.matmul import MatMulAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.quantize import DequantizeAttrs, QuantizeAttrs
from boardfit.ops.sigmoid import SigmoidAttrs
from boardfit.ops.softmax import SoftmaxAttrs
from boardfit.ops.tanh import TanhAttrs
from boardfit.ops.transpose import TransposeAttrs
from boardfit.options import QuantizeOptions
from boardfit.passes.fuse_activation import FuseActivation
from boardfit.passes.lower_quantized import LowerQuantized
from tests.quantize.networks import Network, layer_distances, samples, steps_apart


def i8(scale: float, zero: int = 0) -> Affine:
    return Affine(True, 8, (scale,), (zero,))


def u8(scale: float, zero: int) -> Affine:
    return Affine(False, 8, (scale,), (zero,))


def lower(graph: Graph) -> Graph:
    """Without calibration data."""
    return LowerQuantized()(quantize_for_mcu(graph, None, QuantizeOptions()))


def check(graph: Graph, worst: float = 0.02) -> Graph:
    integer = lower(graph)
    for name, distance in layer_distances(graph, integer, samples(graph)).items():
        assert distance.max() <= 1, name
        assert distance.mean() < worst, name
    return integer


def quantized_weights(net: Network, *shape: int, element: Affine | None = None) -> str:
    per_channel = Affine(True, 8, tuple(0.01 + 0.002 * i for i in range(shape[0])), (0,) * shape[0], 0)
    element = element or per_channel
    return net.quantized_constant(net.rng.integers(element.minimum, element.maximum + 1, shape), element)


def conv_relu(net: Network, x: str, bias: str, *, element: Affine | None = None) -> str:
    """A convolution with a Relu of its own behind it, as every exporter writes it."""
    inputs = [x, quantized_weights(net, 4, 3, 3, net.shape(x)[3], element=element), bias]
    return net.add("Clamp", [net.add("Conv2D", inputs, Conv2DAttrs(pads=(1, 1, 1, 1)))], ClampAttrs(RELU))


def test_the_form_tf2onnx_writes() -> None:
    """Integer input and output, int32 bias at sx * sw, Relu before the Quantize, a pool that keeps its type."""
    net = Network(1, 6, 6, 3)
    net.editor.types[net.x] = TensorType((1, 6, 6, 3), i8(0.02, 5))
    x = net.add("Dequantize", [net.x], DequantizeAttrs())
    bias_scales = tuple(0.02 * (0.01 + 0.002 * i) for i in range(4))
    bias = net.quantized_constant(np.array([500, -700, 0, 2**24]), Affine(True, 32, bias_scales, (0,) * 4, 0))
    conv = net.quantize(conv_relu(net, x, bias), i8(0.03, -128))
    pool = net.add("MaxPool2D", [conv], MaxPool2DAttrs((2, 2), (2, 2)))
    logits = net.quantize(net.dense_quantized(net.flatten(pool), quantized_weights(net, 5, 36)), i8(0.1, 3))
    y = net.add("Quantize", [net.add("Softmax", [logits], SoftmaxAttrs(1))], QuantizeAttrs(i8(1 / 256, -128)))
    graph = FuseActivation()(net.done(y))
    integer = check_raw(graph)
    assert [node.op for node in integer.nodes] == ["Conv2D", "MaxPool2D", "Reshape", "Dense", "Softmax"]
    kept = [c.values for name, c in integer.constants.items() if integer.types[name].shape == (4,)]
    assert kept[0].tolist() == [500, -700, 0, 2**24]
    assert integer.types[integer.nodes[0].outputs[0]].element == i8(0.03, -128)
    assert integer.types[integer.inputs[0]].element == i8(0.02, 5)


def check_raw(graph: Graph) -> Graph:
    """Like `check`, for a graph with an integer input."""
    integer = lower(graph)
    element = graph.types[graph.inputs[0]].element
    assert isinstance(element, Affine)
    rng = np.random.default_rng(1)
    shape = (24, *graph.types[graph.inputs[0]].shape)
    raw = rng.integers(element.minimum, element.maximum, shape, endpoint=True)
    expected, got = run(graph, {graph.inputs[0]: raw}), run(integer, {integer.inputs[0]: raw})
    distance = np.abs(expected[graph.outputs[0]] - got[integer.outputs[0]])
    assert distance.max() <= 2
    assert distance.mean() < 0.02
    return integer


@pytest.mark.parametrize("fused", [True, False])
def test_the_form_onnxruntime_writes(fused: bool) -> None:
    """Float input and output with Q/DQ, unsigned bytes, zero points everywhere, float bias."""
    net = Network(1, 6, 6, 3)
    x = net.quantize(net.x, u8(0.02, 120))
    conv = net.quantize(conv_relu(net, x, net.random(4), element=u8(0.01, 131)), u8(0.03, 0))
    other = net.quantize(conv_relu(net, x, net.random(4), element=i8(0.01, 9)), u8(0.05, 7))
    total = net.quantize(net.add("Add", [conv, other], AddAttrs()), u8(0.0613, 3))
    pool = net.quantize(net.add("AveragePool2D", [total], AveragePool2DAttrs((3, 3), (3, 3))), u8(0.043, 2))
    graph = net.done(net.add("Transpose", [pool], TransposeAttrs((0, 3, 1, 2))))
    integer = check(FuseActivation()(graph) if fused else graph)
    assert integer.types[integer.inputs[0]].element == u8(0.02, 120)
    assert integer.types[integer.outputs[0]].element == u8(0.043, 2)
    assert [node.op for node in integer.nodes].count("Clamp") == (0 if fused else 2)


def test_a_clamp_before_quantize_takes_its_type() -> None:
    """Clamp commutes with saturation, so the layer before it writes the final type at once."""
    net = Network(1, 6, 6, 3)
    x = net.quantize(net.x, i8(0.02))
    y = net.quantize(conv_relu(net, x, net.random(4)), i8(0.01, -100))
    integer = check(net.done(y))
    assert [node.op for node in integer.nodes] == ["Conv2D", "Clamp"]
    assert integer.types[integer.nodes[0].outputs[0]].element == i8(0.01, -100)


def test_a_bias_of_another_scale_is_rescaled() -> None:
    net = Network(1, 6, 6, 3)
    x = net.quantize(net.x, i8(0.02))
    bias = net.quantized_constant(np.array([100, -50, 3, 0]), i8(0.01))
    y = net.quantize(conv_relu(net, x, bias, element=i8(0.005)), i8(0.03, -128))
    integer = check(FuseActivation()(net.done(y)))
    made = next(c.values for name, c in integer.constants.items() if integer.types[name].shape == (4,))
    assert made.tolist() == [10000, -5000, 300, 0]


def test_joined_branches_with_different_scales_are_requantized() -> None:
    net = Network(1, 6, 6, 3)
    x = net.quantize(net.x, i8(0.02))
    left = net.quantize(conv_relu(net, x, net.random(4)), i8(0.03, -128))
    joined = net.quantize(net.add("Concat", [left, x], ConcatAttrs(3)), i8(0.035, -60))
    integer = check(FuseActivation()(net.done(joined)))
    assert [node.op for node in integer.nodes] == ["Conv2D", "Requantize", "Requantize", "Concat"]


def test_types_that_follow_need_no_calibration() -> None:
    """No Quantize behind a softmax, an average and a join: natural range, input's type, union."""
    net = Network(1, 6, 6, 3)
    x = net.quantize(net.x, i8(0.02))
    mean = net.add("AveragePool2D", [x], AveragePool2DAttrs((3, 3), (1, 1), (1, 1, 1, 1)))
    gate = net.add("Sigmoid", [mean], SigmoidAttrs())
    joined = net.add("Concat", [mean, gate], ConcatAttrs(3))
    graph = net.done(net.add("Softmax", [joined], SoftmaxAttrs(3)))
    integer = lower(graph)
    by_op = {node.op: integer.types[node.outputs[0]].element for node in integer.nodes}
    assert by_op["AveragePool2D"] == i8(0.02)
    assert by_op["Lookup"] == i8(1 / 256, -128)
    assert by_op["Softmax"] == i8(1 / 256, -128)
    assert by_op["Concat"] == i8(0.02)


def i4(scale: float) -> Affine:
    return Affine(True, 4, (scale,), (0,))


def test_a_tensor_quantized_twice_is_stored_for_both() -> None:
    """Quantized finely for one reader and coarsely, with a larger range, for another."""
    net = Network(1, 6, 6, 3)
    x = net.quantize(net.x, i8(0.02))
    y = net.add("Conv2D", [x, quantized_weights(net, 4, 3, 3, 3), net.random(4)], Conv2DAttrs())
    integer = check(net.done(net.quantize(y, i4(0.2501)), net.quantize(y, i4(0.13))), worst=0.1)
    assert [node.op for node in integer.nodes] == ["Conv2D", "Requantize", "Requantize"]
    stored = integer.types[integer.nodes[0].outputs[0]].element
    assert isinstance(stored, Affine) and stored.scale == (0.13,)


def test_a_function_quantized_twice_is_two_tables() -> None:
    net = Network(1, 6, 6, 3)
    y = net.add("Tanh", [net.quantize(net.x, i8(0.02))], TanhAttrs())
    graph = net.done(net.quantize(y, i4(0.25)), net.quantize(y, i8(1 / 128)))
    integer = lower(graph)
    assert [node.op for node in integer.nodes if node.op != "Requantize"] == ["Lookup", "Lookup"]
    for distance in steps_apart(graph, integer, samples(graph)):
        assert distance.max() == 0


def test_steps_that_double_round_ties_to_even() -> None:
    net = Network(1, 6)
    graph = net.done(net.quantize(net.quantize(net.x, i8(0.125)), i4(0.25)))
    integer = lower(graph)
    assert [node.op for node in integer.nodes] == ["Lookup"]
    for distance in steps_apart(graph, integer, samples(graph)):
        assert distance.max() == 0


def test_dead_channels_keep_their_bias() -> None:
    """A scale of 1e-12 would need a bias of 2**50 and leave its multiplier no bits."""
    net = Network(1, 6, 6, 3)
    x = net.quantize(net.x, i8(0.02))
    element = Affine(True, 8, (0.01, 1e-12, 1e-7, 0.02), (0,) * 4, 0)
    y = net.quantize(conv_relu(net, x, net.constant(np.array([0.5, 1.0, 2.0, -0.5])), element=element), i8(0.03, -128))
    integer = check(FuseActivation()(net.done(y)))
    bias = next(c.values for name, c in integer.constants.items() if integer.types[name].shape == (4,))
    assert np.abs(bias).max() < 2**31


def test_lowering_twice_changes_nothing() -> None:
    net = Network(1, 6, 6, 3)
    x = net.quantize(net.x, i8(0.02))
    once = lower(FuseActivation()(net.done(net.quantize(conv_relu(net, x, net.random(4)), i8(0.03, -128)))))
    twice = LowerQuantized()(once)
    assert twice.nodes == once.nodes
    assert twice.types == once.types


def half_quantized() -> Graph:
    net = Network(1, 6, 6, 3)
    x = net.quantize(net.x, i8(0.02))
    conv = net.quantize(net.conv(x, 4), i8(0.03, -128))
    return net.done(net.dense(net.flatten(net.conv(conv, 2)), 5))


def test_calibration_fills_only_what_is_missing() -> None:
    graph = half_quantized()
    with pytest.raises(UsageError, match="only part of the model is quantized"):
        quantize_for_mcu(graph, None, QuantizeOptions())
    quantized = quantize_for_mcu(graph, samples(graph), QuantizeOptions())
    integer = LowerQuantized()(quantized)
    elements = [integer.types[node.outputs[0]].element for node in integer.nodes if node.op == "Conv2D"]
    assert integer.types[integer.inputs[0]].element == i8(0.02)
    assert elements[0] == i8(0.03, -128)
    assert elements[1] != elements[0]
    for distance in steps_apart(quantized, integer, samples(graph, seed=4)):
        assert distance.max() <= 2


@pytest.mark.parametrize("bound", [1.0, 50.0])
def test_a_join_with_a_quantized_branch_does_not_saturate_the_other(bound: float) -> None:
    """The branch that brings its type lends it to the join only if the other one fits in."""
    net = Network(1, 6, 6, 3)
    x = net.quantize(net.x, i8(0.03))
    weights = net.constant(net.rng.normal(size=(4, 1, 1, 3)) * 20.0)
    other = net.add("Conv2D", [net.x, weights], Conv2DAttrs(activation=Activation(0.0, bound)))
    graph = net.done(net.add("Concat", [x, other], ConcatAttrs(3)))
    quantized = quantize_for_mcu(graph, samples(graph), QuantizeOptions())
    integer = LowerQuantized()(quantized)
    ops = [node.op for node in integer.nodes]
    assert ("Requantize" in ops) == (bound > 3.0)
    exact, rounded = (run(g, samples(g))[g.outputs[0]] for g in (graph, quantized))
    assert rounded.max() == pytest.approx(exact.max(), rel=0.03)


def test_float_left_over_is_named() -> None:
    with pytest.raises(ModelError) as caught:
        LowerQuantized()(half_quantized())
    text = str(caught.value)
    assert "test.onnx: node 'conv2d" in text
    assert "has no quantization" in text
    assert "--calibration" in text


def test_a_float_model_is_refused() -> None:
    net = Network(1, 4)
    with pytest.raises(ModelError, match="has no quantization"):
        LowerQuantized()(net.done(net.dense(net.x, 3)))


def test_weights_scaled_along_their_inputs_are_refused() -> None:
    net = Network(1, 4)
    x = net.quantize(net.x, i8(0.02))
    element = Affine(True, 8, (0.1, 0.2, 0.3, 0.4), (0,) * 4, 1)
    y = net.dense_quantized(x, net.quantized_constant(np.ones((3, 4), np.int64), element))
    with pytest.raises(ModelError, match="quantized along axis 1, not per output channel"):
        lower(net.done(net.quantize(y, i8(0.1))))


def test_activations_scaled_per_channel_are_refused() -> None:
    net = Network(1, 4)
    element = Affine(True, 8, (0.1, 0.2, 0.3, 0.4), (0,) * 4, 1)
    with pytest.raises(ModelError, match="activations quantized per channel"):
        lower(net.done(net.quantize(net.x, element)))


def test_sums_beyond_32_bits_are_refused() -> None:
    net = Network(1, 70_000)
    x = net.quantize(net.x, i8(0.02, -128))
    y = net.dense_quantized(x, net.quantized_constant(np.full((2, 70_000), 127), i8(0.01)))
    with pytest.raises(ModelError, match="its accumulator needs 33 bits, kernels have 32"):
        lower(net.done(net.quantize(y, i8(1.0))))


def test_wide_activations_are_refused_where_tables_or_sums_need_bytes() -> None:
    wide = Affine(True, 16, (0.001,), (0,))
    for op, attrs, problem in (
        ("Sigmoid", SigmoidAttrs(), "needs a table of 65536 entries"),
        ("Softmax", SoftmaxAttrs(1), "softmax needs an 8-bit input"),
    ):
        net = Network(1, 4)
        graph = net.done(net.quantize(net.add(op, [net.quantize(net.x, wide)], attrs), i8(1 / 256, -128)))
        with pytest.raises(ModelError, match=problem):
            lower(graph)
    net = Network(1, 4)
    a, b = net.quantize(net.x, wide), net.quantize(net.dense(net.quantize(net.x, i8(0.1)), 4), wide)
    with pytest.raises(ModelError, match="16-bit tensors leave 32 bits"):
        lower(net.done(net.quantize(net.add("Add", [a, b], AddAttrs()), wide)))


def test_contradicting_scales_are_refused() -> None:
    net = Network(1, 4)
    x = net.quantize(net.x, i8(1000.0))
    y = net.dense_quantized(x, net.quantized_constant(np.ones((3, 4), np.int64), i8(1000.0)))
    with pytest.raises(ModelError, match="the ranges of this layer contradict each other"):
        lower(net.done(net.quantize(y, i8(1e-6))))


def test_two_outputs_of_one_tensor_stay_two() -> None:
    net = Network(1, 4)
    x = net.quantize(net.x, i8(0.02))
    y = net.quantize(net.dense_quantized(x, quantized_weights(net, 3, 4)), i8(0.05))
    again = net.add("Quantize", [y], QuantizeAttrs(i8(0.05)))
    integer = lower(net.done(y, again))
    assert len(set(integer.outputs)) == 2
    values = run(integer, {integer.inputs[0]: np.arange(8).reshape(2, 1, 4)})
    np.testing.assert_array_equal(values[integer.outputs[0]], values[integer.outputs[1]])


def test_products_of_activations_check_their_sums() -> None:
    net = Network(1, 2, 40_000)
    x = net.quantize(net.x, i8(0.02, -128))
    turned = net.add("Transpose", [x], TransposeAttrs((0, 2, 1)))
    with pytest.raises(ModelError, match="its accumulator needs 33 bits"):
        lower(net.done(net.quantize(net.add("MatMul", [x, turned], MatMulAttrs()), i8(1.0))))


def test_dense_attrs_activation_bounds_are_integers_of_the_output() -> None:
    net = Network(1, 4)
    x = net.quantize(net.x, i8(0.05))
    inputs = [x, quantized_weights(net, 3, 4)]
    y = net.quantize(net.add("Dense", inputs, DenseAttrs(Activation(-0.2, 0.3))), i8(0.01, 5))
    integer = check(net.done(y))
    values = run(integer, {integer.inputs[0]: np.random.default_rng(0).integers(-128, 128, (200, 1, 4))})
    raw = values[integer.outputs[0]]
    assert (raw.min(), raw.max()) == (5 - 20, 5 + 30)
    assert FLOAT32 not in {t.element for t in integer.types.values()}
