"""Average pools of quantized files: binary32 or exact, as onnxruntime computes them, down to exact ties."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from boardfit.compress.ptq import quantize_for_mcu
from boardfit.frontend import import_model
from boardfit.interp import run
from boardfit.ir import Affine, Graph
from boardfit.ops.average_pool2d import AveragePool2DAttrs, MeanArithmetic
from boardfit.options import QuantizeOptions
from boardfit.passes.lower_quantized import LowerQuantized
from boardfit.pipeline import canonicalize

from .harness import build

CHANNELS, SIZE, SAMPLES = 32, 8, 6
BINARY32, INTEGER = MeanArithmetic.BINARY32, MeanArithmetic.INTEGER
DTYPES = (np.int8, np.uint8)
INPUTS = ("quantized", "given", "shared")
OUTPUTS = ("dequantized", "reshaped", "kept")


def network(
    op: str,
    dtype: type[np.integer],
    before: str,
    behind: str,
    scale: float,
    zero: int,
    kernel: int = SIZE,
    pad: int = 0,
) -> onnx.ModelProto:
    """x -> QuantizeLinear -> DequantizeLinear -> op -> QuantizeLinear -> ..., or the integers x from the start."""
    parameters = ["s", "z"]
    nodes = [helper.make_node("DequantizeLinear", ["q", *parameters], ["d"])]
    outputs = ["y"]
    if before != "given":
        nodes.insert(0, helper.make_node("QuantizeLinear", ["x", *parameters], ["q"]))
    if before == "shared":
        nodes.append(helper.make_node("MaxPool", ["d"], ["other"], kernel_shape=[2, 2]))
        outputs.append("other")
    window: dict[str, Any] = {}
    if op == "AveragePool":
        window = {"kernel_shape": [kernel] * 2, "strides": [kernel] * 2, "pads": [pad] * 4}
    if op == "ReduceMean":
        window = {"axes": [2, 3], "keepdims": 1}
    nodes.append(helper.make_node(op, ["d"], ["mean"], **window))
    nodes.append(helper.make_node("QuantizeLinear", ["mean", *parameters], ["y" if behind == "kept" else "m"]))
    if behind == "reshaped":
        nodes.append(helper.make_node("Reshape", ["m", "shape"], ["r"]))
    if behind != "kept":
        nodes.append(helper.make_node("DequantizeLinear", ["r" if behind == "reshaped" else "m", *parameters], ["y"]))
    constants = {"s": np.float32(scale), "z": dtype(zero), "shape": np.array([1, -1], np.int64)}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    given = "q" if before == "given" else "x"
    kinds = {"q": kind} | ({"y": kind} if behind == "kept" else {})
    shape = (1, CHANNELS, SIZE, SIZE)
    return build(nodes, {given: shape}, outputs, constants, kinds=kinds)


def tied(dtype: type[np.integer], zero: int, seed: int) -> np.ndarray:
    """Integers (S, 1, C, H, W) of which the mean over each image is an exact tie."""
    info = np.iinfo(dtype)
    raw = np.random.default_rng(seed).integers(info.min, info.max, (SAMPLES * CHANNELS, SIZE * SIZE), endpoint=True)
    for image in raw:
        missing = (SIZE * SIZE // 2 - int((image - zero).sum())) % (SIZE * SIZE)
        image[np.flatnonzero(image < info.max)[:missing]] += 1
    return raw.reshape(SAMPLES, 1, CHANNELS, SIZE, SIZE)


def integer_graph(model: onnx.ModelProto) -> Graph:
    graph = canonicalize(import_model(model, "m.onnx", "m"))
    return LowerQuantized()(quantize_for_mcu(graph, None, QuantizeOptions()))


def both(model: onnx.ModelProto, raw: np.ndarray, scale: float, zero: int) -> tuple[np.ndarray, np.ndarray]:
    """(boardfit's, onnxruntime's) first output as integers, flat by sample."""
    graph = integer_graph(model)
    ours = run(graph, {graph.inputs[0]: raw})[graph.outputs[0]]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    theirs = []
    for sample in raw:
        real = (sample - zero).astype(np.float32) * np.float32(scale)
        integers = sample.astype(np.uint8 if "uint8" in given.type else np.int8)
        feed = real if given.type == "tensor(float)" else integers
        theirs.append(np.asarray(session.run([model.graph.output[0].name], {given.name: feed})[0]))
    found = np.stack(theirs)
    if found.dtype.kind == "f":
        found = np.rint(found / np.float32(scale)).astype(np.int64) + zero
    # signed tensors of the graph may be 128 below the file's unsigned ones: the real values are compared
    element = graph.types[graph.outputs[0]].element
    assert isinstance(element, Affine)
    return (ours - element.zero_point[0]).reshape(SAMPLES, -1), (found.astype(np.int64) - zero).reshape(SAMPLES, -1)


def arithmetic(model: onnx.ModelProto) -> MeanArithmetic:
    """What the only average of an imported model means."""
    (node,) = (node for node in integer_graph(model).nodes if isinstance(node.attrs, AveragePool2DAttrs))
    assert isinstance(node.attrs, AveragePool2DAttrs)
    return node.attrs.arithmetic


@pytest.mark.parametrize(("dtype", "before", "behind"), list(product(DTYPES, INPUTS, OUTPUTS)))
def test_whole_images_equal_onnxruntime(dtype: type[np.integer], before: str, behind: str) -> None:
    """Exact ties only: the slightest difference in arithmetic shows in half of the values."""
    rng = np.random.default_rng(20)
    for seed in range(2):
        scale, zero = float(np.float32(rng.uniform(0.01, 0.3))), int(rng.integers(np.iinfo(dtype).min, 90))
        model = network("AveragePool", dtype, before, behind, scale, zero)
        ours, theirs = both(model, tied(dtype, zero, seed), scale, zero)
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("kernel", "pad"), [(2, 0), (3, 1), (4, 0)])
def test_smaller_windows_equal_onnxruntime(kernel: int, pad: int) -> None:
    rng = np.random.default_rng(21)
    for _ in range(3):
        scale, zero = float(np.float32(rng.uniform(0.01, 0.3))), int(rng.integers(-128, 90))
        model = network("AveragePool", np.int8, "quantized", "reshaped", scale, zero, kernel, pad)
        raw = rng.integers(-128, 128, (SAMPLES, 1, CHANNELS, SIZE, SIZE))
        ours, theirs = both(model, raw, scale, zero)
        assert arithmetic(model) is BINARY32
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "ReduceMean"])
def test_operators_without_an_order_of_additions_stay_exact(op: str) -> None:
    """The order in which onnxruntime adds depends on vector length and layout, and the exact mean is nearer to it."""
    graph = integer_graph(network(op, np.int8, "quantized", "reshaped", 0.1, 0))
    assert not any(getattr(node.attrs, "arithmetic", INTEGER) is BINARY32 for node in graph.nodes)


def test_fused_global_averages_equal_onnxruntime() -> None:
    """onnxruntime makes QLinearGlobalAveragePool of it, which sums integers."""
    model = network("GlobalAveragePool", np.int8, "quantized", "dequantized", 0.0731, -17)
    ours, theirs = both(model, tied(np.int8, -17, 3), 0.0731, -17)
    np.testing.assert_array_equal(ours, theirs)


def test_integer_operators_stay_integer() -> None:
    """QLinearAveragePool states an integer operator, not a float one between two borders."""
    triple = ["s", "z"]
    pool = helper.make_node(
        "QLinearAveragePool",
        ["q", *triple, *triple],
        ["y"],
        domain="com.microsoft",
        kernel_shape=[2, 2],
        strides=[2, 2],
    )
    kinds = {"q": onnx.TensorProto.UINT8, "y": onnx.TensorProto.UINT8}
    constants = {"s": np.float32(0.1), "z": np.uint8(3)}
    model = build([pool], {"q": (1, 8, 4, 4)}, ["y"], constants, kinds=kinds, domains={"com.microsoft": 1})
    assert arithmetic(model) is INTEGER


def test_calibrated_averages_stay_exact() -> None:
    """What boardfit quantizes itself keeps its integer meaning."""
    pool = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])
    graph = canonicalize(import_model(build([pool], {"x": (1, 8, 4, 4)}, ["y"]), "m.onnx", "m"))
    data = {graph.inputs[0]: np.random.default_rng(0).normal(size=(8, *graph.types[graph.inputs[0]].shape))}
    lowered = LowerQuantized()(quantize_for_mcu(graph, data, QuantizeOptions()))
    attrs = [node.attrs for node in lowered.nodes if isinstance(node.attrs, AveragePool2DAttrs)]
    assert [a.arithmetic for a in attrs] == [INTEGER]
