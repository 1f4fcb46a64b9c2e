"""Training keeps circulant blocks and Walsh rows, and improves what they hold."""

from __future__ import annotations

import numpy as np
import pytest

from boardfit.compress.circulant import MakeCirculant
from boardfit.compress.fastfood import MakeFastfood
from boardfit.compress.layers import weight_layers
from boardfit.ir import Graph
from boardfit.ir.circulant import Circulant
from boardfit.ir.walsh import find_walsh
from boardfit.train.losses import Labels
from boardfit.train.options import TrainOptions
from boardfit.train.trainer import Training

from .networks import dense_network, task

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")


def trained(graph: Graph) -> tuple[Graph, float, float]:
    """The graph after a short training, first and last loss."""
    found = Training(graph, task(), (Labels(),), TrainOptions(epochs=6, batch=50, learning_rate=1e-2)).run()
    return found.graph, found.history[0].loss, found.history[-1].loss


@pytest.mark.parametrize("skew", [False, True])
def test_circulant_blocks(skew: bool) -> None:
    start = MakeCirculant({}, {"fc1": 4}, skew)(dense_network(14))  # cut off below
    graph, before, after = trained(start)
    assert after < 0.8 * before
    layer, old = weight_layers(graph)[0], weight_layers(start)[0]
    assert layer.promise.circulant == Circulant(4, skew)
    assert Circulant(4, skew).holds(layer.matrix)
    assert not np.array_equal(layer.weights, old.weights)


def test_fastfood_layers_keep_their_rows() -> None:
    start = MakeFastfood(["fc1"])(dense_network(16))
    graph, before, after = trained(start)
    assert after < 0.9 * before
    for layer, old in zip(weight_layers(graph)[:2], weight_layers(start)[:2], strict=True):
        assert layer.promise.signs
        rows, wanted = find_walsh(np.sign(layer.matrix)), find_walsh(np.sign(old.matrix))
        assert rows is not None and wanted is not None
        np.testing.assert_array_equal(rows.rows, wanted.rows)
    scales = [node.inputs[1] for node in graph.nodes if node.op == "ScaleBias"]
    assert not np.array_equal(graph.constants[scales[0]].values, start.constants[scales[0]].values)
