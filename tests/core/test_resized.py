"""Graphs for images of another size: the same layers, equal to what the model file would say at that size."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from boardfit.compress.calibrate import channel_extremes, collect
from boardfit.frontend import import_model
from boardfit.interp import run
from boardfit.ir.graph import Graph
from boardfit.ir.resized import SMALLEST, for_inputs, smaller
from boardfit.pipeline import canonical_passes, run_passes
from boardfit.prepare import GUESSED_WORK, quick_to_run

RANDOM = np.random.default_rng(3)
WEIGHTS = RANDOM.standard_normal((5, 3, 3, 3)).astype(np.float32)
BACK = RANDOM.standard_normal((3, 5, 1, 1)).astype(np.float32)
FLAT = RANDOM.standard_normal((5, 2)).astype(np.float32)


def network(size: int, head: str = "none") -> Graph:
    """A convolution of stride 2, and behind it: an enlargement added to the input, a mean, or a dense layer."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1])]
    constants: dict[str, np.ndarray] = {"w": WEIGHTS}
    if head == "none":
        constants |= {"b": BACK, "roi": np.zeros(0, np.float32), "scales": np.array([1, 1, 2, 2], np.float32)}
        modes = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        nodes += [
            helper.make_node("Resize", ["c", "roi", "scales"], ["r"], **modes),
            helper.make_node("Conv", ["r", "b"], ["d"]),
            helper.make_node("Add", ["d", "x"], ["y"]),
        ]
    else:
        constants["f"] = FLAT if head == "mean" else np.ones((5 * (size // 2) ** 2, 2), np.float32)
        mean = [helper.make_node("GlobalAveragePool", ["c"], ["m"])] if head == "mean" else []
        nodes += mean
        nodes += [helper.make_node("Flatten", [mean[0].output[0] if mean else "c"], ["g"])]
        nodes += [helper.make_node("MatMul", ["g", "f"], ["y"])]
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, size, size])]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)]
    given = [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, given), opset_imports=[helper.make_opsetid("", 13)]
    )
    return run_passes(import_model(model, "g.onnx", "g"), canonical_passes(fuse=True)).graph


@pytest.mark.parametrize("head", ["none", "mean"])
def test_it_is_the_network_of_that_size(head: str) -> None:
    large, small = network(64, head), network(32, head)
    (found,) = (graph for graph in smaller(large) if graph.types["x"].shape[2] == 32)
    x = {"x": RANDOM.standard_normal((2, *small.types["x"].shape)).astype(np.float32)}
    (expected,), (got,) = run(small, x).values(), run(found, x).values()
    np.testing.assert_array_equal(got, expected)


def test_images_are_not_made_smaller_than_some_pixels_or_odd() -> None:
    sizes = [graph.types["x"].shape[2] for graph in smaller(network(8 * SMALLEST))]
    assert sizes == [4 * SMALLEST, 2 * SMALLEST, SMALLEST]
    assert not list(smaller(network(2 * SMALLEST + 1, "mean")))


def test_a_dense_layer_of_all_pixels_keeps_its_size() -> None:
    graph = network(64, "dense")
    assert not list(smaller(graph))
    with pytest.raises(ValueError, match="reshape"):
        for_inputs(graph, {"x": (1, 3, 32, 32)})
    assert for_inputs(graph, {"x": graph.types["x"].shape}) is graph


def test_guesses_of_a_large_network_take_a_smaller_image() -> None:
    large = network(1024)
    found = quick_to_run(large)
    assert found.types["x"].shape[2] < 1024
    assert quick_to_run(network(64)).types["x"].shape[2] == 64
    work = sum(found.types[name].elements for node in found.nodes for name in node.outputs)
    assert work <= GUESSED_WORK


def test_ranges_are_those_of_the_smaller_image() -> None:
    large = network(64)
    small = next(smaller(large))
    x = {"x": RANDOM.standard_normal((3, *small.types["x"].shape)).astype(np.float32)}
    tensors = [name for node in large.nodes for name in node.outputs]
    of_large, of_small = collect(large, x, tensors), collect(small, x, tensors)
    assert {n: (s.low, s.high) for n, s in of_large.items()} == {n: (s.low, s.high) for n, s in of_small.items()}


@pytest.mark.parametrize("shape", [(7, 1, 9, 9, 3), (1, 2), (3, 5000), (2, 1, 70, 70, 16), (5, 4096)])
def test_extremes_of_channels(shape: tuple[int, ...]) -> None:
    values = RANDOM.standard_normal(shape).astype(np.float32)
    values.reshape(-1)[0] = np.nan
    low, high = channel_extremes(values)
    flat = values.reshape(-1, shape[-1])
    np.testing.assert_array_equal(low, flat.min(axis=0))
    np.testing.assert_array_equal(high, flat.max(axis=0))
