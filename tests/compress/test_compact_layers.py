"""Depthwise-separable layers and fire modules start from the convolution they stand for; what does not pay is told."""

from __future__ import annotations

import numpy as np
import pytest

from boardfit.board import find_board
from boardfit.compress.chains import Chain
from boardfit.compress.compact_layers import MakeFire, SeparateDepthwise, separated
from boardfit.compress.reconstruction import LayerProblem, compress_layers
from boardfit.compress.share_filters import ShareFilters
from boardfit.errors import UsageError
from boardfit.interp import run
from boardfit.ir import Graph, GraphEditor, Source, TensorType
from boardfit.ops.activation import RELU
from boardfit.ops.conv2d import Conv2DAttrs

BOARD = find_board("nucleo-l4r5zi")


def network(layers: tuple[tuple[int, int, int], ...], side: int = 8, seed: int = 0) -> Graph:
    """Convolutions (out, kernel, stride) with ReLU behind each other, on images of as many channels as the first."""
    random = np.random.default_rng(seed)
    editor = GraphEditor.empty("net")
    y = editor.add_input("x", TensorType((1, side, side, 8)))
    for index, (out, kernel, stride) in enumerate(layers, start=1):
        inputs = editor.types[y].shape[3]
        smooth = random.standard_normal((out, 2)) @ random.standard_normal((2, kernel * kernel * inputs))
        weights = smooth.reshape(out, kernel, kernel, inputs) + 0.3 * random.standard_normal(
            (out, kernel, kernel, inputs)
        )
        weights = (weights / np.sqrt(weights[0].size)).astype(np.float32)
        bias = (0.1 * random.standard_normal(out)).astype(np.float32)
        operands = [y, editor.add_constant("w", weights), editor.add_constant("b", bias)]
        pad = kernel // 2
        attrs = Conv2DAttrs((stride, stride), (pad, pad, pad, pad), activation=RELU)
        y = editor.add_node("Conv2D", operands, attrs, Source("m.onnx", f"conv{index}", "Conv")).outputs[0]
    editor.outputs = [y]
    return editor.finish()


def images(count: int = 24, seed: int = 1, side: int = 8) -> dict[str, np.ndarray]:
    x = np.random.default_rng(seed).standard_normal((count, 1, side, side, 8))
    return {"x": np.maximum(x + 0.5, 0.0).astype(np.float32)}


def loss(graph: Graph, made: Graph) -> float:
    """Squared error of the outputs on other images, in shares of their variance."""
    x = images(seed=7)
    wanted, found = run(graph, x)[graph.outputs[0]], run(made, x)[made.outputs[0]]
    return float(np.mean(np.square(found - wanted)) / np.var(wanted))


@pytest.mark.parametrize("stride", [1, 2])
def test_with_a_kernel_for_every_tap_nothing_is_lost(stride: int) -> None:
    graph = network(((12, 3, stride),))

    def whole(problem: LayerProblem) -> Chain:
        return separated(problem, 9)

    assert loss(graph, compress_layers(graph, images(), whole)) < 1e-4


def test_more_kernels_lose_less() -> None:
    graph = network(((16, 3, 1), (16, 3, 2)))
    losses = [loss(graph, SeparateDepthwise(images(), multiplier)(graph)) for multiplier in (1, 2, 4)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] < 0.7 and losses[2] < 0.05
    made = SeparateDepthwise(images(), {"conv2": 1})(graph)
    assert [node.name for node in made.nodes] == ["conv1", "conv2/depthwise", "conv2/pointwise"]
    assert made.node("conv2/depthwise").attrs == Conv2DAttrs((2, 2), (1, 1, 1, 1), groups=16)


def test_a_fire_module_starts_near_its_convolution() -> None:
    graph = network(((16, 3, 1), (16, 3, 2)))
    made = MakeFire(images(), {"conv2": 0.75})(graph)
    names = [node.name for node in made.nodes]
    assert names == ["conv1", *(f"conv2/{part}" for part in ("squeeze", "expand1x1", "expand", "concat"))]
    assert made.types[made.outputs[0]] == graph.types[graph.outputs[0]]
    assert loss(graph, made) < 0.5  # half of the channels see one tap of nine


def test_what_cannot_be_rewritten_is_told() -> None:
    graph = network(((4, 1, 1), (4, 3, 1)))
    made, refused = SeparateDepthwise(images(), 3).judged(graph)
    assert [str(refusal) for refusal in refused] == ["conv1: its kernel is 1x1", "conv2: 156 weights in place of 144"]
    assert [node.name for node in made.nodes] == ["conv1", "conv2"]
    with pytest.raises(UsageError, match="a depth multiplier is at least 1"):
        SeparateDepthwise(images(), 0)(graph)
    with pytest.raises(UsageError, match="shares of channels"):
        MakeFire(images(), 1.5)(graph)


def test_only_what_the_board_needs_less_for_is_rewritten() -> None:
    graph = network(((4, 3, 1), (32, 3, 1), (32, 3, 1)))
    rewrite = MakeFire(images(), 0.75, BOARD)
    names = [node.name for node in rewrite(graph).nodes]
    assert "conv1" in names and "conv3/squeeze" in names
    assert any(text.startswith("conv1: ") and " where " in text for text in rewrite.refused)


def test_copies_are_refused_where_they_save_no_products() -> None:
    graph = network(((16, 3, 1), (16, 3, 1)))
    negated, turned = (ShareFilters(images(), (name,), board=BOARD) for name in ("negation", "mirror"))
    assert negated(graph) is not graph and not negated.refused
    assert turned(graph) is graph
    assert [text.split(":")[0] for text in turned.refused] == ["conv1", "conv2"]
    assert "cycles where" in turned.refused[0]
