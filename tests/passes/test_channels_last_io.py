"""Channels-last interface: taken where it saves a transposition, left alone elsewhere."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from boardfit.frontend import import_model
from boardfit.interp import run
from boardfit.ir import Graph
from boardfit.passes.channels_last_io import ChannelsLastIo, transpositions
from boardfit.pipeline import canonicalize

RANDOM = np.random.default_rng(5)


def _network(shape: list[int], before: list[onnx.NodeProto], image: str, after: list[onnx.NodeProto]) -> Graph:
    weights = numpy_helper.from_array(RANDOM.normal(size=(4, 3, 3, 3)).astype(np.float32), "w")
    mean = numpy_helper.from_array(RANDOM.normal(size=(3, 1, 1)).astype(np.float32), "mean")
    convolution = helper.make_node("Conv", [image, "w"], ["c"], name="conv", pads=[1, 1, 1, 1])
    last = after[-1].output[0] if after else "c"
    graph = helper.make_graph(
        [*before, convolution, *after],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        [weights, mean],
    )
    return import_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), "g.onnx", "g")


def test_a_channels_first_network_takes_and_gives_channels_last() -> None:
    subtract = helper.make_node("Sub", ["x", "mean"], ["s"], name="sub")
    graph = _network([1, 3, 6, 5], [subtract], "s", [])
    changed = ChannelsLastIo()(graph)
    assert transpositions(graph) == 2
    assert transpositions(changed) == 0
    x = RANDOM.normal(size=(3, 1, 3, 6, 5)).astype(np.float32)
    before = run(canonicalize(graph), {"x": x})[canonicalize(graph).outputs[0]]
    last = canonicalize(changed)
    assert last.types["x"].shape == (1, 6, 5, 3)
    assert last.labels[last.outputs[0]] == "c"
    after = run(last, {"x": x.transpose(0, 1, 3, 4, 2)})[last.outputs[0]]
    assert after == pytest.approx(before.transpose(0, 1, 3, 4, 2), abs=1e-5)


def test_a_channels_last_file_keeps_its_interface() -> None:
    first = helper.make_node("Transpose", ["x"], ["t"], name="t", perm=[0, 3, 1, 2])
    last = helper.make_node("Transpose", ["c"], ["y"], name="y", perm=[0, 2, 3, 1])
    graph = _network([1, 6, 5, 3], [first], "t", [last])
    assert transpositions(graph) == 0
    assert ChannelsLastIo()(graph) is graph
