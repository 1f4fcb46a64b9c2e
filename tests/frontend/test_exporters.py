"""Patterns as exporters write them: shape arithmetic, decomposed activations, transposes around images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from boardfit.frontend import import_model
from boardfit.ir.graph import Graph
from boardfit.passes.layout import CanonicalLayout

from .harness import NEWEST, Value, build, compare, run_boardfit, run_onnxruntime, samples

RNG = np.random.default_rng(21)
TOLERANCE = 5e-6


def random(*shape: int) -> np.ndarray:
    """Random weights that keep activations near 1."""
    return (RNG.normal(0, 1, shape) / np.sqrt(max(float(np.prod(shape[1:])), 1.0))).astype(np.float32)


def node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    """A node without a name."""
    return helper.make_node(op, inputs, [output], **attributes)


def constant(name: str, values: Value) -> onnx.NodeProto:
    """A Constant node."""
    return node("Constant", [], name, value=numpy_helper.from_array(np.asarray(values)))


def operators(graph: Graph) -> list[str]:
    """Ops after layout canonicalisation."""
    return [made.op for made in CanonicalLayout()(graph).nodes]


@pytest.mark.parametrize("opset", [9, 11, 13, 17])
def test_flatten_by_shape_arithmetic(opset: int) -> None:
    """x.view(x.size(0), -1): Shape, Gather, Unsqueeze, Concat, Reshape."""
    unsqueeze = (
        node("Unsqueeze", ["size"], "sizes", axes=[0]) if opset < 13 else node("Unsqueeze", ["size", "zero"], "sizes")
    )
    nodes = [
        node("Conv", ["x", "w", "b"], "c"),
        node("Relu", ["c"], "r"),
        node("Shape", ["r"], "shape"),
        constant("index", np.int64(0)),
        node("Gather", ["shape", "index"], "size", axis=0),
        constant("zero", np.array([0])),
        unsqueeze,
        constant("rest", np.array([-1])),
        node("Concat", ["sizes", "rest"], "target", axis=0),
        node("Reshape", ["r", "target"], "f"),
        node("Gemm", ["f", "v", "d"], "y", transB=1),
    ]
    constants = {"w": random(4, 2, 3, 3), "b": random(4), "v": random(5, 4 * 4 * 3), "d": random(5)}
    graph = compare(build(nodes, {"x": ["N", 2, 6, 5]}, ["y"], constants, opset=opset), tolerance=TOLERANCE)
    # the flatten goes into the weights of the classifier: one transpose, of the input, is left
    assert operators(graph) == ["Transpose", "Conv2D", "Clamp", "Reshape", "Dense"]


def test_upsampling_to_the_size_of_another_tensor() -> None:
    """F.interpolate(x, size=y.shape[2:]): Shape, Slice, Concat, Resize."""
    nodes = [
        node("MaxPool", ["x"], "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", ["x"], "full"),
        node("Shape", ["p"], "small"),
        node("Slice", ["full", "two", "four", "zero"], "spatial"),
        node("Slice", ["small", "zero", "two", "zero"], "leading"),
        node("Concat", ["leading", "spatial"], "sizes", axis=0),
        node("Resize", ["p", "", "", "sizes"], "u", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        node("Concat", ["u", "x"], "y", axis=1),
    ]
    constants = {"zero": np.array([0]), "two": np.array([2]), "four": np.array([4])}
    compare(build(nodes, {"x": ["N", 3, 7, 9]}, ["y"], constants), tolerance=0.0)


def test_folded_arithmetic_on_shapes() -> None:
    """Range, ConstantOfShape, Size, Expand and arithmetic on what is known at compile time."""
    nodes = [
        node("Shape", ["x"], "shape"),
        node("Size", ["x"], "count"),
        node("Gather", ["shape", "one"], "n", axis=0),
        node("Range", ["zero", "n", "step"], "positions"),
        node("Cast", ["positions"], "real", to=1),
        node("ConstantOfShape", ["shape"], "ones", value=numpy_helper.from_array(np.ones(1, np.float32))),
        node("Mul", ["ones", "real"], "grid"),
        node("Cast", ["count"], "total", to=1),
        node("Div", ["grid", "total"], "scaled"),
        node("Add", ["x", "scaled"], "y"),
    ]
    constants = {"one": np.int64(1), "zero": np.int64(0), "step": np.int64(1)}
    graph = compare(build(nodes, {"x": [1, 6]}, ["y"], constants))
    assert [made.op for made in graph.nodes] == ["Add"]


def test_hard_swish_in_parts() -> None:
    """torch.nn.Hardswish before opset 14: Add, Clip, Mul, Div."""
    nodes = [
        node("Add", ["x", "three"], "a"),
        node("Clip", ["a", "zero", "six"], "c"),
        node("Div", ["c", "six"], "d"),
        node("Mul", ["x", "d"], "y"),
    ]
    constants = {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6)}
    compare(build(nodes, {"x": [1, 3, 4, 4]}, ["y"], constants))


def test_gelu_and_layer_normalization_in_parts() -> None:
    """A transformer block's arithmetic: ReduceMean, Sub, Pow, Sqrt, Div, Erf, MatMul by a constant."""
    nodes = [
        node("ReduceMean", ["x"], "mean", axes=[-1]),
        node("Sub", ["x", "mean"], "d"),
        node("Pow", ["d", "two"], "sq"),
        node("ReduceMean", ["sq"], "var", axes=[-1]),
        node("Add", ["var", "eps"], "ve"),
        node("Sqrt", ["ve"], "sd"),
        node("Div", ["d", "sd"], "n"),
        node("MatMul", ["n", "w"], "m"),
        node("Div", ["m", "root"], "e"),
        node("Erf", ["e"], "g"),
        node("Add", ["g", "one"], "h"),
        node("Mul", ["m", "h"], "i"),
        node("Mul", ["i", "half"], "y"),
    ]
    numbers = {"two": 2.0, "eps": 1e-5, "root": 2**0.5, "one": 1.0, "half": 0.5}
    constants: dict[str, Value] = {name: np.float32(value) for name, value in numbers.items()}
    constants["w"] = random(6, 8)
    compare(build(nodes, {"x": [1, 5, 6]}, ["y"], constants), tolerance=TOLERANCE)


def test_attention_in_parts() -> None:
    """Two products of activations, a softmax between them."""
    nodes = [
        node("MatMul", ["x", "wq"], "q"),
        node("MatMul", ["x", "wk"], "k"),
        node("MatMul", ["x", "wv"], "v"),
        node("Transpose", ["k"], "kt", perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], "s"),
        node("Softmax", ["s"], "p", axis=-1),
        node("MatMul", ["p", "v"], "y"),
    ]
    constants = {name: random(6, 6) for name in ("wq", "wk", "wv")}
    compare(build(nodes, {"x": [1, 5, 6]}, ["y"], constants), tolerance=2e-5)


def test_keras_images_keep_one_layout() -> None:
    """tf2onnx: a Transpose at each end, biases as Add, pools and concatenation in between."""
    nodes = [
        node("Transpose", ["x"], "t", perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w1"], "c1", auto_pad="SAME_UPPER", strides=[2, 2]),
        node("Add", ["c1", "b1"], "a1"),
        node("LeakyRelu", ["a1"], "l1", alpha=0.2),
        node("Pad", ["l1", "pads"], "p"),
        node("Conv", ["p", "w2"], "c2", group=4),
        node("Concat", ["c2", "l1"], "j", axis=1),
        node("Resize", ["j", "", "scales"], "u", nearest_mode="floor", coordinate_transformation_mode="asymmetric"),
        node("Split", ["u", "parts"], "s1"),
        node("PRelu", ["s1", "slope"], "r"),
        node("Transpose", ["r"], "y", perm=[0, 2, 3, 1]),
    ]
    nodes[8].output.append("s2")
    nodes[8].attribute.append(helper.make_attribute("axis", 1))
    constants: dict[str, Value] = {"w1": random(4, 3, 3, 3), "b1": random(1, 4, 1, 1), "w2": random(4, 1, 3, 3)}
    constants |= {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "scales": np.array([1, 1, 2, 2], np.float32)}
    constants |= {"parts": np.array([3, 5]), "slope": random(3, 1, 1)}
    graph = compare(build(nodes, {"x": ["N", 8, 8, 3]}, ["y"], constants), tolerance=TOLERANCE)
    assert "Transpose" not in operators(graph)


def test_keras_flatten_before_dense() -> None:
    """tf2onnx: the image goes back to channels-last, then is flattened."""
    nodes = [
        node("Transpose", ["x"], "t", perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w", "b"], "c"),
        node("Transpose", ["c"], "l", perm=[0, 2, 3, 1]),
        node("Reshape", ["l", "target"], "f"),
        node("MatMul", ["f", "v"], "m"),
        node("Add", ["m", "d"], "y"),
    ]
    constants = {"w": random(4, 2, 3, 3), "b": random(4), "v": random(4 * 4 * 3, 5), "d": random(5)}
    shapes = {"target": np.array([-1, 48])}
    graph = compare(build(nodes, {"x": ["N", 6, 5, 2]}, ["y"], constants | shapes), tolerance=TOLERANCE)
    assert "Transpose" not in operators(graph)


def test_one_dimensional_network() -> None:
    """Conv1d, BatchNorm1d, MaxPool1d, a mean over time."""
    nodes = [
        node("Conv", ["x", "w", "b"], "c", pads=[1, 1]),
        node("BatchNormalization", ["c", "g", "h", "m", "v"], "n"),
        node("Relu", ["n"], "r"),
        node("MaxPool", ["r"], "p", kernel_shape=[2], strides=[2]),
        node("ReduceMean", ["p"], "t", axes=[2], keepdims=0),
        node("Gemm", ["t", "k", "d"], "y"),
    ]
    constants = {"w": random(6, 3, 3), "b": random(6), "g": random(6), "h": random(6), "m": random(6)}
    constants |= {"v": np.abs(random(6)) + 0.5, "k": random(6, 4), "d": random(4)}
    compare(build(nodes, {"x": ["N", 3, 16]}, ["y"], constants), tolerance=TOLERANCE)


def test_image_bytes_scaled_inside_the_network() -> None:
    """A uint8 image cast to float, divided by 255 and normalized."""
    nodes = [
        node("Cast", ["x"], "f", to=1),
        node("Div", ["f", "top"], "d"),
        node("Sub", ["d", "mean"], "n"),
        node("Conv", ["n", "w"], "y"),
    ]
    constants: dict[str, Value] = {"top": np.float32(255), "mean": random(1, 3, 1, 1), "w": random(4, 3, 3, 3)}
    model = build(nodes, {"x": [1, 3, 6, 6]}, ["y"], constants, kinds={"x": onnx.TensorProto.UINT8})
    compare(model, tolerance=TOLERANCE)


def test_several_inputs_and_outputs() -> None:
    """Two inputs, three outputs; one output is read by other nodes too, one is an input passed through."""
    nodes = [
        node("Add", ["a", "b"], "sum"),
        node("Relu", ["sum"], "r"),
        node("Identity", ["b"], "copy"),
    ]
    graph = compare(build(nodes, {"a": ["N", 4], "b": ["N", 4]}, ["sum", "r", "copy"]))
    assert graph.inputs == ("a", "b")
    assert [graph.labels.get(name, name) for name in graph.outputs] == ["sum", "r", "copy"]


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 15, 17, 19, 21, NEWEST])
@pytest.mark.parametrize("listed", [False, True])
def test_every_opset_initializers_as_inputs_or_not(opset: int, listed: bool) -> None:
    nodes = [
        node("Conv", ["x", "w", "b"], "c", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], "r"),
        node("MaxPool", ["r"], "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["p"], "g"),
        node("Flatten", ["g"], "f"),
        node("Gemm", ["f", "k", "d"], "y"),
    ]
    constants = {"w": random(4, 3, 3, 3), "b": random(4), "k": random(4, 5), "d": random(5)}
    model = build(nodes, {"x": ["N", 3, 6, 6]}, ["y"], constants, opset=opset, list_initializers=listed)
    compare(model, tolerance=TOLERANCE)


def test_newer_ir_version_and_opset_than_any_runtime() -> None:
    nodes = [node("Conv", ["x", "w"], "c"), node("Relu", ["c"], "y")]
    old = build(nodes, {"x": [1, 3, 6, 6]}, ["y"], {"w": random(4, 3, 3, 3)}, opset=13)
    new = onnx.ModelProto()
    new.CopyFrom(old)
    new.ir_version = 99
    new.opset_import[0].version = 99
    compare(new, reference=old, tolerance=TOLERANCE)


@pytest.mark.parametrize("rest", [12, -1])
def test_fixed_batch_becomes_one(rest: int) -> None:
    """A batch of 32 written into the shapes and into a Reshape's target."""
    nodes = [node("Reshape", ["x", "t"], "f"), node("Gemm", ["f", "w", "b"], "y")]
    constants = {"w": random(12, 5), "b": random(5)}

    def model(batch: int) -> onnx.ModelProto:
        shapes = {"t": np.array([batch, rest])}
        made = build(nodes, {"x": [batch, 3, 4]}, ["y"], constants | shapes)
        del made.graph.output[:]
        made.graph.output.append(helper.make_tensor_value_info("y", 1, [batch, 5]))
        return made

    graph = import_model(model(32), "m.onnx", "m")
    assert graph.types["x"].shape == (1, 3, 4)
    feeds = samples(model(1))
    theirs = np.stack([outputs[0] for outputs in run_onnxruntime(model(1), feeds)])
    np.testing.assert_allclose(run_boardfit(graph, feeds)[0], theirs, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_weights_of_other_precision(dtype: type) -> None:
    """float16 and float64 models are computed in binary32."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    weights: Value = random(4, 6).astype(dtype)
    nodes = [node("MatMul", ["x", "w"], "m"), node("Relu", ["m"], "y")]
    model = build(nodes, {"x": [1, 4]}, ["y"], {"w": weights}, kinds={"x": kind, "y": kind})
    compare(model, tolerance=2e-3 if dtype is np.float16 else 2e-6)


def test_every_form_of_a_constant_node() -> None:
    nodes = [
        node("Constant", [], "a", value_float=1.5),
        node("Constant", [], "b", value_floats=[0.5, -1.0, 2.0]),
        node("Constant", [], "c", value_int=1),
        node("Constant", [], "d", value_ints=[1, 3]),
        constant("e", random(1, 3)),
        node("Mul", ["x", "a"], "m"),
        node("Add", ["m", "b"], "n"),
        node("Sub", ["n", "e"], "o"),
        node("Unsqueeze", ["o", "c"], "u"),
        node("Reshape", ["u", "d"], "y"),
    ]
    nodes[8].input[1] = "ci"
    nodes.insert(8, node("Reshape", ["c", "one"], "ci"))
    compare(build(nodes, {"x": [1, 3]}, ["y"], {"one": np.array([1])}))


def test_local_functions_are_inlined() -> None:
    """Functions of the model itself, as newer exporters write them."""
    body = [node("Mul", ["a", "b"], "p"), node("Tanh", ["p"], "r")]
    function = helper.make_function("local", "Gate", ["a", "b"], ["r"], body, [helper.make_opsetid("", 17)])
    nodes = [helper.make_node("Gate", ["x", "w"], ["g"], domain="local"), node("Relu", ["g"], "y")]
    model = build(nodes, {"x": [1, 3]}, ["y"], {"w": random(3)}, opset=17, domains={"local": 1})
    model.functions.append(function)
    compare(model)


@pytest.mark.parametrize("groups", [2, 4])
def test_channel_shuffle(groups: int) -> None:
    """ShuffleNet: Reshape, Transpose, Reshape on channels."""
    nodes = [
        node("Conv", ["x", "w"], "c", group=groups),
        node("Reshape", ["c", "split"], "s"),
        node("Transpose", ["s"], "t", perm=[0, 2, 1, 3, 4]),
        node("Reshape", ["t", "join"], "j"),
        node("Conv", ["j", "v"], "y"),
    ]
    constants: dict[str, Value] = {"w": random(8, 8 // groups, 1, 1), "v": random(4, 8, 1, 1)}
    constants |= {"split": np.array([0, groups, 8 // groups, 5, 4]), "join": np.array([0, 8, 5, 4])}
    compare(build(nodes, {"x": [1, 8, 5, 4]}, ["y"], constants), tolerance=TOLERANCE)
