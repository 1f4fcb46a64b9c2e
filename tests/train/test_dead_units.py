"""Units without inputs or readers are cut out, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from boardfit.compress.dead_units import RemoveDeadUnits
from boardfit.compress.layers import NewWeights, replace_weights, weight_layers
from boardfit.interp import run
from boardfit.ir import Graph, verify_graph
from boardfit.ir.encoding import Compressed

from .networks import dense_network, image_network


def pruned(graph: Graph, density: float, seed: int = 0) -> Graph:
    random = np.random.default_rng(seed)
    changes = {}
    for layer in weight_layers(graph):
        mask = random.random(layer.weights.shape) < density
        mask[random.random(len(mask)) < 0.3] = False  # whole units without inputs
        mask[..., random.random(mask.shape[-1]) < 0.2] = False  # and without readers
        bias = random.normal(size=len(mask)).astype(np.float32)
        changes[layer.name] = NewWeights(layer.weights * mask, Compressed(zeros=int((~mask).sum())), bias=bias)
    return replace_weights(graph, changes)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("graph", [dense_network(), image_network()], ids=lambda graph: graph.name)
def test_outputs_stay_and_units_go(graph: Graph, seed: int) -> None:
    before = pruned(graph, 0.2, seed)
    after = RemoveDeadUnits()(before)
    verify_graph(after)
    x = np.random.default_rng(1).normal(size=(20, *before.types["x"].shape)).astype(np.float32)
    expected, found = (run(g, {"x": x})[g.outputs[0]] for g in (before, after))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    units = [len(layer.weights) for layer in weight_layers(after)]
    assert sum(units) < sum(len(layer.weights) for layer in weight_layers(before))
    for layer in weight_layers(after)[:-1]:
        assert (layer.weights.reshape(len(layer.weights), -1) != 0).any(axis=1).sum() >= len(layer.weights) - 1


def test_a_dense_graph_stays_as_it_is() -> None:
    graph = image_network()
    assert RemoveDeadUnits()(graph) is graph
