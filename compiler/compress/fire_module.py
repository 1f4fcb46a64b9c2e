"""One convolution as a fire module (SqueezeNet: Iandola et al. 2016, section 3.1), solved for what it computed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..ir.graph import Graph
from ..ir.rewrite import GraphEditor
from ..ops.activation import RELU
from ..ops.concat import ConcatAttrs
from ..ops.conv2d import Conv2DAttrs
from .chains import piece_name, run_layer
from .layers import WeightLayer
from .reconstruction import CHUNK, MOST_ROWS, LayerProblem, columns, with_ones

RIDGE = 1e-4
"""Share of the mean diagonal that is added to the normal equations."""

LIFT = 2.0
"""Standard deviations below the mean that ReLU lets through when training starts."""


@dataclass(frozen=True, slots=True, eq=False)
class FireModule:
    """Weights and biases of the three layers.

    Attributes:
        squeeze: (s, 1, 1, channels).
        squeeze_bias: (s,).
        small: (out // 2, 1, 1, s), the first output channels.
        large: (out - out // 2, kh, kw, s), the others.
        bias: (out,) of both.
    """

    squeeze: np.ndarray
    squeeze_bias: np.ndarray
    small: np.ndarray
    large: np.ndarray
    bias: np.ndarray


def make_fire(problem: LayerProblem, squeezed: int) -> FireModule:
    """The module that comes nearest to the outputs of a convolution before its ReLU.

    Args:
        squeezed: channels of the squeezing layer.
    """
    layer = problem.layer
    attrs = layer.node.attrs
    out, kh, kw, channels = layer.weights.shape
    centre = (kh // 2 * kw + kw // 2) * channels + np.arange(channels)
    mean = problem.gram[0][-1, :-1][centre]
    covariance = problem.damped[0][np.ix_(centre, centre)] - np.outer(mean, mean)
    root = np.linalg.cholesky(covariance + 1e-9 * np.eye(channels))
    seen = layer.weights.reshape(-1, channels).astype(np.float64) @ root
    directions = np.linalg.svd(seen, full_matrices=False)[2][:squeezed]
    squeeze = np.linalg.solve(root.T, directions.T).T
    average = squeeze @ mean
    spread = np.sqrt(np.einsum("si,ij,sj->s", squeeze, covariance, squeeze))
    lift = LIFT * spread - average
    weights = squeeze.reshape(-1, 1, 1, channels).astype(np.float32)
    node = replace(layer.node, attrs=Conv2DAttrs(activation=RELU))
    first = WeightLayer(node, weights, lift.astype(np.float32), layer.encoding)
    inputs = run_layer(first, problem.inputs)
    window = replace(layer, weights=np.zeros((out, kh, kw, len(squeeze)), np.float32))
    solved = _solved(problem, window, inputs)
    half = out // 2
    full = solved[half:, :-1].reshape(-1, kh, kw, len(squeeze))
    point = replace(layer, weights=np.zeros((out, 1, 1, len(squeeze)), np.float32))
    strides = attrs.strides if isinstance(attrs, Conv2DAttrs) else (1, 1)
    point = replace(point, node=replace(layer.node, attrs=Conv2DAttrs(strides)))
    small = _solved(problem, point, inputs)[:half]
    return FireModule(
        weights,
        lift.astype(np.float32),
        small[:, :-1].reshape(half, 1, 1, -1).astype(np.float32),
        full.astype(np.float32),
        np.concatenate([small[:, -1], solved[half:, -1]]).astype(np.float32),
    )


def _solved(problem: LayerProblem, window: WeightLayer, inputs: np.ndarray) -> np.ndarray:
    """(out, K + 1): least squares of the convolution's outputs on the windows of other inputs at the same places."""
    layer = problem.layer
    bias = np.zeros(len(layer.weights)) if layer.bias is None else layer.bias
    own = np.concatenate([layer.matrix, np.reshape(bias, (-1, 1))], axis=1)
    most = max(1, MOST_ROWS // len(inputs))
    gram, cross = 0.0, 0.0
    for start in range(0, len(inputs), CHUNK):
        x = with_ones(columns(window, inputs[start : start + CHUNK], most, seed=start))[0].astype(np.float64)
        z = with_ones(columns(layer, problem.original_inputs[start : start + CHUNK], most, seed=start))[0]
        gram = gram + x.T @ x
        cross = cross + x.T @ (z @ own.T)
    matrix = np.asarray(gram)
    matrix = matrix + RIDGE * float(np.trace(matrix)) / len(matrix) * np.eye(len(matrix))
    return np.linalg.solve(matrix, np.asarray(cross)).T


def put_fire(graph: Graph, name: str, module: FireModule) -> Graph:
    """The graph with a fire module in the place of a convolution."""
    editor = GraphEditor(graph)
    node = graph.node(name)
    attrs = node.attrs
    if not isinstance(attrs, Conv2DAttrs):
        raise TypeError("only convolutions become fire modules")

    def convolution(piece: str, x: str, weights: np.ndarray, bias: np.ndarray, own: Conv2DAttrs) -> str:
        stem = piece_name(name, piece)
        operands = [x, editor.add_constant(f"{stem}/weights", weights), editor.add_constant(f"{stem}/bias", bias)]
        source = replace(node.source, node=piece_name(node.source.node, piece))
        return editor.add_node("Conv2D", operands, own, source, name=stem, before=node).outputs[0]

    half = len(module.small)
    x = convolution("squeeze", node.inputs[0], module.squeeze, module.squeeze_bias, Conv2DAttrs(activation=RELU))
    point = Conv2DAttrs(attrs.strides, activation=attrs.activation)
    small = convolution("expand1x1", x, module.small, module.bias[:half], point)
    large = convolution("expand", x, module.large, module.bias[half:], attrs)
    source = replace(node.source, node=piece_name(node.source.node, "concat"), op_type="Concat")
    editor.add_node(
        "Concat",
        [small, large],
        ConcatAttrs(3),
        source,
        name=piece_name(name, "concat"),
        outputs=list(node.outputs),
        types=[graph.types[node.outputs[0]]],
        before=node,
    )
    editor.remove_node(node)
    return editor.finish()
