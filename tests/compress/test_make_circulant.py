"""Dense layers made block-circulant: nearest weights, nearest outputs, and a promise that quantization keeps."""

from __future__ import annotations

import numpy as np
import pytest

from boardfit.compress.circulant import MakeCirculant
from boardfit.compress.gptq import Gptq
from boardfit.compress.layers import weight_layers
from boardfit.compress.ptq import quantize_for_mcu
from boardfit.compress.shuffle_inputs import ShuffleInputs
from boardfit.errors import UsageError
from boardfit.interp import run
from boardfit.ir import Graph
from boardfit.ir.circulant import Circulant
from boardfit.ir.encoding import Compressed
from boardfit.ops.gather import GatherAttrs
from boardfit.options import QuantizeOptions
from boardfit.passes.lower_quantized import LowerQuantized
from boardfit.pipeline import run_passes
from tests.train.networks import dense_network


def _outputs(graph: Graph, x: np.ndarray) -> np.ndarray:
    return run(graph, {graph.inputs[0]: x})[graph.outputs[0]]


def test_outputs_are_nearer_with_data_than_with_means_alone() -> None:
    graph = dense_network(16)
    random = np.random.default_rng(0)
    x = (random.standard_normal((200, 1, 4)) @ random.standard_normal((4, 12))).astype(np.float32)
    data = {graph.inputs[0]: x}
    error = {}
    for name, own in (("means", {}), ("data", data)):
        made = MakeCirculant(own, {"*": 4})(graph)
        layers = weight_layers(made)
        assert all(Circulant(4).holds(layer.matrix) for layer in layers)
        assert all(layer.promise.circulant == Circulant(4) for layer in layers)
        error[name] = float(np.square(_outputs(made, x) - _outputs(graph, x)).mean())
    assert error["data"] < 0.8 * error["means"]


def test_quantization_keeps_the_blocks_with_a_scale_for_each_row_of_blocks() -> None:
    graph = MakeCirculant({}, {"*": 4})(dense_network(16))
    x = np.random.default_rng(1).standard_normal((50, *graph.types[graph.inputs[0]].shape)).astype(np.float32)
    quantized = quantize_for_mcu(graph, {graph.inputs[0]: x}, QuantizeOptions())
    lowered = run_passes(quantized, [LowerQuantized()]).graph
    weights = [node.inputs[1] for node in lowered.nodes if node.op == "Dense"]
    assert len(weights) == 2
    for name in weights:
        constant = lowered.constants[name]
        assert isinstance(constant.encoding, Compressed) and constant.encoding.circulant == Circulant(4)
        assert Circulant(4).holds(constant.values)
        scales = np.array(lowered.types[name].element.scale)  # type: ignore[union-attr]
        assert len(np.unique(scales)) == len(scales) // 4


def test_shuffled_inputs_change_nothing_and_constant_ones_are_left_out() -> None:
    graph = dense_network(16)
    x = np.random.default_rng(2).standard_normal((40, 1, 12)).astype(np.float32)
    x[:, :, [1, 5, 6, 7, 11]] = np.arange(5, dtype=np.float32) / 4
    made = ShuffleInputs({"x": x}, multiple=4)(graph)
    gather, first, second = made.nodes
    assert isinstance(gather.attrs, GatherAttrs)
    assert len(gather.attrs.indices) == 8 and set(gather.attrs.indices) > {0, 2, 3, 4, 8, 9, 10}
    assert list(gather.attrs.indices) != sorted(gather.attrs.indices)
    assert first.inputs[0] == gather.outputs[0] and second.inputs[0] == first.outputs[0]
    np.testing.assert_allclose(_outputs(made, x), _outputs(graph, x), atol=1e-5)
    with pytest.raises(UsageError, match="seen from data, and there is none"):
        ShuffleInputs({})(graph)


def test_what_would_break_the_blocks_is_refused() -> None:
    graph = dense_network(16)
    made = MakeCirculant({}, {"*": 4})(graph)
    data = {graph.inputs[0]: np.ones((4, *graph.types[graph.inputs[0]].shape), np.float32)}
    with pytest.raises(UsageError, match="circulant blocks of 4, which rounding one by one would break"):
        Gptq(data, 4)(made)
    with pytest.raises(UsageError, match="circulant blocks of 1"):
        MakeCirculant({}, 1)(graph)
    for layer in weight_layers(MakeCirculant({}, 8)(graph)):  # less than two blocks down or across
        assert layer.promise.circulant is None
