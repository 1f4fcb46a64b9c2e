"""Strips compute exactly what the whole layers compute."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.interp import run
from boardfit.ir import INT32, Affine, Graph, GraphEditor, Source, TensorType
from boardfit.ops.activation import RELU
from boardfit.ops.average_pool2d import AveragePool2DAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.passes.strips import SplitIntoStrips, stages

SOURCE = Source("m.onnx", "n", "Conv")
S8 = Affine(True, 8, (0.05,), (3,))


class Network:
    """A chain of integer layers on one image."""

    def __init__(self, height: int, width: int, channels: int, seed: int = 0) -> None:
        self.editor = GraphEditor.empty("net")
        self.random = np.random.default_rng(seed)
        self.tensor = self.editor.add_input("x", TensorType((1, height, width, channels), S8))

    def convolution(self, out: int, kernel: int, attrs: Conv2DAttrs) -> None:
        channels = self.editor.types[self.tensor].shape[3]
        shape = (out, kernel, kernel, channels // attrs.groups)
        element = Affine(True, 8, tuple(self.random.uniform(0.001, 0.01, out)), (0,) * out, 0, narrow=True)
        weights = self.editor.add_constant("w", self.random.integers(-127, 128, shape), element)
        bias = self.editor.add_constant("b", self.random.integers(-999, 999, out), INT32)
        self.add("Conv2D", [self.tensor, weights, bias], attrs, S8)

    def add(self, op: str, inputs: list[str], attrs: object, element: Affine) -> None:
        from boardfit.ops import OPS

        known = [self.editor.types[name] for name in inputs]
        made = OPS[op].infer(attrs, known)[0].with_element(element)  # type: ignore[arg-type]
        node = self.editor.add_node(op, inputs, attrs, SOURCE, name=op.lower(), types=[made])  # type: ignore[arg-type]
        self.tensor = node.outputs[0]

    def done(self) -> Graph:
        self.editor.outputs.append(self.tensor)
        return self.editor.finish()


def check(graph: Graph, first: str, last: str, rows: int) -> Graph:
    """Both graphs on random inputs, all values."""
    x = np.random.default_rng(5).integers(-128, 128, (3, *graph.types["x"].shape))
    split = SplitIntoStrips(first, last, rows)(graph)
    want, have = run(graph, {"x": x}), run(split, {"x": x})
    np.testing.assert_array_equal(have[split.outputs[0]], want[graph.outputs[0]])
    return split


def mobile(height: int = 13) -> Graph:
    net = Network(height, 7, 4)
    net.convolution(8, 3, Conv2DAttrs((2, 2), (0, 0, 1, 1), activation=RELU))
    net.convolution(8, 3, Conv2DAttrs(pads=(1, 1, 1, 1), groups=8))
    net.convolution(16, 1, Conv2DAttrs())
    net.add("MaxPool2D", [net.tensor], MaxPool2DAttrs((2, 2), (2, 2)), S8)
    return net.done()


def test_stages_are_all_chains() -> None:
    graph = mobile()
    names = [node.name for node in graph.nodes]
    expected = {(names[i], names[j]) for i in range(4) for j in range(i + 1, 4)}
    assert set(stages(graph)) == expected


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_every_stage_in_strips(rows: int) -> None:
    graph = mobile()
    for first, last in stages(graph):
        split = check(graph, first, last, rows)
        assert any(node.op == "Concat" for node in split.nodes)
        assert split.parameters == graph.parameters


@settings(max_examples=40)
@given(st.data())
def test_random_windows(data: st.DataObject) -> None:
    net = Network(data.draw(st.integers(6, 12)), 5, 3, data.draw(st.integers(0, 99)))
    for _ in range(data.draw(st.integers(2, 3))):
        height, width = net.editor.types[net.tensor].shape[1:3]
        kernel = data.draw(st.integers(1, min(3, height, width)))
        dilation = data.draw(st.integers(1, 2)) if (kernel - 1) * 2 < min(height, width) else 1
        pads = tuple(data.draw(st.integers(0, kernel - 1)) for _ in range(4))
        stride = data.draw(st.integers(1, 2))
        kind = data.draw(st.sampled_from(["conv", "max", "average"]))
        if kind == "conv":
            attrs = Conv2DAttrs((stride, 1), (pads[0], pads[1], pads[2], pads[3]), (dilation, dilation))
            net.convolution(4, kernel, attrs)
        elif kind == "max":
            element = net.editor.types[net.tensor].element
            assert isinstance(element, Affine)
            pool = MaxPool2DAttrs((kernel, kernel), (stride, 1), (pads[0], pads[1], pads[2], pads[3]))
            net.add("MaxPool2D", [net.tensor], pool, element)
        else:
            net.add("AveragePool2D", [net.tensor], AveragePool2DAttrs((kernel, kernel), (stride, 1)), S8)
    graph = net.done()
    for first, last in stages(graph):
        check(graph, first, last, data.draw(st.integers(1, 3)))


def test_branches_are_no_stage() -> None:
    net = Network(6, 6, 4)
    net.convolution(4, 3, Conv2DAttrs(pads=(1, 1, 1, 1)))
    middle = net.tensor
    net.convolution(4, 3, Conv2DAttrs(pads=(1, 1, 1, 1)))
    net.editor.outputs.append(middle)
    assert stages(net.done()) == []
