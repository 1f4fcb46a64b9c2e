"""Channels and neurons: which stand or fall together, and that cutting dead ones changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from boardfit.compress.layers import NewWeights, replace_weights, weight_layers
from boardfit.compress.prune_units import PruneUnits
from boardfit.compress.units import cut_units, find_units
from boardfit.errors import UsageError
from boardfit.interp import run
from boardfit.ir import Attrs, Graph, GraphEditor, Source, TensorType, verify_graph
from boardfit.ops.activation import NONE, RELU
from boardfit.ops.add import AddAttrs
from boardfit.ops.average_pool2d import AveragePool2DAttrs
from boardfit.ops.concat import ConcatAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.mul import MulAttrs
from boardfit.ops.reshape import ReshapeAttrs
from boardfit.pipeline import run_passes


class Builder:
    """A network with a residual addition, a depthwise layer, a concatenation, a channel-wise factor and a flatten."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.editor = GraphEditor.empty("net")

    def constant(self, *shape: int) -> str:
        return self.editor.add_constant("c", (self.random.standard_normal(shape) / 2).astype(np.float32))

    def add(self, name: str, op: str, inputs: list[str], attrs: Attrs) -> str:
        return self.editor.add_node(op, inputs, attrs, Source("net.onnx", name, op), name=name).outputs[0]

    def conv(self, name: str, x: str, out: int, kernel: int = 3, groups: int = 1) -> str:
        pad = kernel // 2
        channels = self.editor.types[x].shape[-1] // groups
        attrs = Conv2DAttrs(pads=(pad, pad, pad, pad), groups=groups, activation=RELU)
        return self.add(name, "Conv2D", [x, self.constant(out, kernel, kernel, channels), self.constant(out)], attrs)

    def build(self) -> Graph:
        x = self.editor.add_input("x", TensorType((1, 6, 6, 3)))
        first = self.conv("first", x, 8)
        inner = self.conv("inner", first, 6)
        second = self.conv("second", inner, 8)
        added = self.add("added", "Add", [first, second], AddAttrs())
        deep = self.conv("deep", added, 8, groups=8)
        scaled = self.add("scaled", "Mul", [deep, self.constant(8)], MulAttrs())
        joined = self.add("joined", "Concat", [scaled, inner], ConcatAttrs(3))
        point = self.conv("point", joined, 10, kernel=1)
        pooled = self.add("pooled", "AveragePool2D", [point], AveragePool2DAttrs(kernel=(3, 3), strides=(3, 3)))
        flat = self.add("flat", "Reshape", [pooled], ReshapeAttrs((1, 40)))
        hidden = self.add("hidden", "Dense", [flat, self.constant(7, 40), self.constant(7)], DenseAttrs(RELU))
        out = self.add("out", "Dense", [hidden, self.constant(4, 7), self.constant(4)], DenseAttrs(NONE))
        self.editor.outputs = [out]
        return self.editor.finish()


def images(count: int = 40) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(9).standard_normal((count, 1, 6, 6, 3)).astype(np.float32)}


def test_units_follow_residuals_depthwise_layers_and_concatenations() -> None:
    graph = Builder().build()
    units = find_units(graph)
    outputs = {layer.name: units.channels(layer.node.outputs[0]).tolist() for layer in weight_layers(graph)}
    assert outputs["first"] == outputs["second"] == outputs["deep"]
    assert len(units.free()) == 8 + 6 + 10 + 7
    flat = units.channels(graph.node("flat").outputs[0])
    assert flat.tolist() == outputs["point"] * 4
    assert units.channels(graph.node("joined").outputs[0]).tolist() == outputs["deep"] + outputs["inner"]


def test_cutting_unread_units_keeps_the_outputs() -> None:
    graph = Builder().build()
    units = find_units(graph)
    random = np.random.default_rng(1)
    gone = set(random.permutation(units.free())[:14].tolist())
    changes: dict[str, NewWeights] = {}
    for layer in weight_layers(graph):
        if layer.groups == 1:
            channels = units.channels(layer.node.inputs[0])
            values = layer.weights.copy()
            values[..., np.isin(channels, list(gone))] = 0.0
            changes[layer.name] = NewWeights(values, layer.encoding)
    dead = replace_weights(graph, changes)
    cut = cut_units(dead, find_units(dead), gone)
    verify_graph(cut)
    assert cut.parameters < graph.parameters
    before, after = run(dead, images())[dead.outputs[0]], run(cut, images())[cut.outputs[0]]
    assert np.allclose(before, after, atol=1e-4 * np.abs(before).max())


@pytest.mark.parametrize("competing", [False, True])
def test_pruned_units_are_gone_and_the_rest_makes_up_for_them(competing: bool) -> None:
    graph, data = Builder().build(), images(120)
    small = run_passes(graph, [PruneUnits(data, 0.25, competing=competing)]).graph
    sizes = {layer.name: len(layer.weights) for layer in weight_layers(small)}
    assert sizes["first"] == sizes["second"] == sizes["deep"]
    if not competing:
        assert sizes == {"first": 6, "inner": 5, "second": 6, "deep": 6, "point": 8, "hidden": 6, "out": 4}
    reference = run(graph, data)[graph.outputs[0]]
    lost = np.mean((run(small, data)[small.outputs[0]] - reference) ** 2)
    units = find_units(graph)
    random = np.random.default_rng(3)
    blind: list[float] = []
    for _ in range(5):  # as many units by chance, without refitting
        gone = set(random.permutation(units.free())[:6].tolist())
        outputs = run(cut_units(graph, units, gone), data)[graph.outputs[0]]
        blind.append(float(np.mean((outputs - reference) ** 2)))
    assert lost < 0.5 * min(blind)


def test_a_multiple_is_kept() -> None:
    graph = Builder().build()
    small = PruneUnits(images(), 0.6, multiple=2)(graph)
    assert all(len(layer.weights) % 2 == 0 for layer in weight_layers(small) if layer.name not in ("hidden",))
    assert graph.parameters > small.parameters


def test_units_named_by_layer() -> None:
    graph = Builder().build()
    small = PruneUnits(images(), {"inner": 0.5})(graph)
    sizes = {layer.name: len(layer.weights) for layer in weight_layers(small)}
    assert sizes == {"first": 8, "inner": 3, "second": 8, "deep": 8, "point": 10, "hidden": 7, "out": 4}
    with pytest.raises(UsageError, match="in 0"):
        PruneUnits(images(), 1.0)(graph)


def test_constant_units_are_folded_beside_the_share() -> None:
    """Units without weights go whatever the share; readers take them into their biases, so nothing changes."""
    graph = Builder().build()
    layers = {layer.name: layer for layer in weight_layers(graph)}
    changes: dict[str, NewWeights] = {}
    for name, rows in (("point", [1, 4, 5]), ("hidden", [0, 6])):
        values = layers[name].weights.copy()
        values[rows] = 0.0
        changes[name] = NewWeights(values, layers[name].encoding)
    dead = replace_weights(graph, changes)
    pruned = run_passes(dead, [PruneUnits(images(), share=0.0)]).graph
    sizes = {layer.name: len(layer.weights) for layer in weight_layers(pruned)}
    assert (sizes["point"], sizes["hidden"], sizes["first"]) == (7, 5, 8)
    before, after = (run(g, images())[g.outputs[0]] for g in (dead, pruned))
    np.testing.assert_allclose(after, before, atol=2e-4 * np.abs(before).max())
    half = run_passes(dead, [PruneUnits(images(), share={"point": 0.5})]).graph
    assert {layer.name: len(layer.weights) for layer in weight_layers(half)}["point"] == 4  # of the seven that work


def test_of_a_layer_that_is_all_constant_one_unit_stays() -> None:
    graph = Builder().build()
    layer = next(layer for layer in weight_layers(graph) if layer.name == "hidden")
    dead = replace_weights(graph, {"hidden": NewWeights(np.zeros_like(layer.weights), layer.encoding)})
    pruned = run_passes(dead, [PruneUnits(images(), share=0.0)]).graph
    assert {layer.name: len(layer.weights) for layer in weight_layers(pruned)}["hidden"] == 1
