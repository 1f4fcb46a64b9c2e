"""Compact forms of convolutions: depthwise-separable (MobileNet) and fire modules (SqueezeNet), started from the layer.

Howard et al. 2017, "MobileNets"; Iandola et al. 2016, "SqueezeNet". Both are ordinary layers behind and beside each
other, which every backend runs. They start from the convolution they stand for: by least squares on what it computes
on unlabelled data. Training, by distillation from the original, follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import numpy as np

from ..board import Board
from ..errors import UsageError
from ..ir.encoding import DENSE
from ..ir.graph import Graph
from ..ops.conv2d import Conv2DAttrs
from ..passes.base import Preserves
from .acceptance import Refusal, judge
from .chains import Chain, Piece
from .fire_module import FireModule, make_fire, put_fire
from .layers import NewWeights, WeightLayer, by_layer, pick, weight_layers
from .reconstruction import LayerProblem, compress_layers
from .share_filters import shareable

Size = TypeVar("Size", int, float)


@dataclass(frozen=True, slots=True, eq=False)
class SeparateDepthwise:
    """Convolutions become a depthwise one and a 1x1 one behind it.

    The kernels of each input channel are the directions in which its filters matter most for the outputs (a truncated
    SVD of the filters of that channel, weighted by the covariance of its inputs); the 1x1 layer is then solved.

    Attributes:
        data: graph input -> (S, *shape), unlabelled.
        multiplier: depthwise kernels for each input channel, of all layers or by name or pattern; layers that no
            pattern fits stay, and so do those where nothing is saved.
        board: with a board, layers that become no cheaper there stay.
        refused: layers that stay although they were chosen are told here, and why.
    """

    data: Mapping[str, np.ndarray]
    multiplier: int | Mapping[str, int] = 1
    board: Board | None = None
    refused: list[str] = field(default_factory=list)

    name: ClassVar[str] = "separate-depthwise"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with separated layers."""
        made, refused = self.judged(graph)
        self.refused.extend(map(str, refused))
        return made

    def judged(self, graph: Graph) -> tuple[Graph, tuple[Refusal, ...]]:
        """The graph with separated layers, and the layers that were refused.

        Raises:
            UsageError: a multiplier below 1, or a name that no layer has.
        """
        choices = by_layer(graph, self.multiplier)
        if any(choice < 1 for choice in choices.values()):
            raise UsageError("a depth multiplier is at least 1", hint="1, as in MobileNet")
        sizes = {layer.name: pick(choices, layer.name) for layer in weight_layers(graph)}
        chosen, refused = _split(graph, {name: size for name, size in sizes.items() if size}, _separable_size)

        def rewrite(whole: Graph, names: frozenset[str]) -> Graph:
            def method(problem: LayerProblem) -> Chain | None:
                size = chosen.get(problem.layer.name)
                return separated(problem, size) if size and problem.layer.name in names else None

            return compress_layers(whole, self.data, method)

        made, dear = judge(graph, frozenset(chosen), rewrite, self.board, self.data)
        return made, (*refused, *dear)


@dataclass(frozen=True, slots=True, eq=False)
class MakeFire:
    """Convolutions become fire modules: a 1x1 layer that squeezes the channels, then 1x1 and k x k ones side by side.

    The squeezing layer starts with the principal directions of its inputs as the filters see them, its biases so that
    ReLU cuts little; the layers behind are solved for what the convolution computed.

    Attributes:
        data: graph input -> (S, *shape), unlabelled.
        squeeze: channels of the squeezing layer in shares of the input channels, of all layers or by name or pattern.
        board: with a board, layers that become no cheaper there stay.
        refused: layers that stay although they were chosen are told here, and why.
    """

    data: Mapping[str, np.ndarray]
    squeeze: float | Mapping[str, float] = 0.5
    board: Board | None = None
    refused: list[str] = field(default_factory=list)

    name: ClassVar[str] = "make-fire"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with fire modules."""
        made, refused = self.judged(graph)
        self.refused.extend(map(str, refused))
        return made

    def judged(self, graph: Graph) -> tuple[Graph, tuple[Refusal, ...]]:
        """The graph with fire modules, and the layers that were refused.

        Raises:
            UsageError: a share out of range, or a name that no layer has.
        """
        choices = by_layer(graph, self.squeeze)
        if not all(0.0 < choice <= 1.0 for choice in choices.values()):
            raise UsageError("shares of channels are above 0 and at most 1", hint="0.5")
        sizes = {layer.name: pick(choices, layer.name) for layer in weight_layers(graph)}
        chosen, refused = _split(graph, {name: size for name, size in sizes.items() if size}, _fire_size)

        def rewrite(whole: Graph, names: frozenset[str]) -> Graph:
            modules: dict[str, FireModule] = {}

            def method(problem: LayerProblem) -> None:
                if problem.layer.name in names:
                    modules[problem.layer.name] = make_fire(problem, chosen[problem.layer.name])

            compress_layers(whole, self.data, method)
            for name, module in modules.items():
                whole = put_fire(whole, name, module)
            return whole

        made, dear = judge(graph, frozenset(chosen), rewrite, self.board, self.data)
        return made, (*refused, *dear)


@dataclass(frozen=True, slots=True)
class SeparatedLayer:
    """A depthwise-separable convolution as a form of the solver, without training.

    Attributes:
        multiplier: depthwise kernels for each input channel.
    """

    multiplier: int

    def __str__(self) -> str:
        return "depthwise-separable" + (f" with {self.multiplier} kernels a channel" if self.multiplier > 1 else "")

    def __call__(self, problem: LayerProblem) -> Chain | None:
        """The chain in the place of a convolution, or None where it saves no weights."""
        layer = problem.layer
        if not shareable(layer) or isinstance(_separable_size(layer, self.multiplier), str):
            return None
        return separated(problem, self.multiplier)


def separated(problem: LayerProblem, multiplier: int) -> Chain:
    """The depthwise and the 1x1 layer in the place of a convolution."""
    layer = problem.layer
    attrs = layer.node.attrs
    if not isinstance(attrs, Conv2DAttrs):
        raise TypeError("only convolutions are separated")
    out, kh, kw, channels = layer.weights.shape
    target = problem.target
    weights, gram, mean = target[:, :-1].reshape(out, kh * kw, channels), problem.damped[0], problem.gram[0, -1, :-1]
    centred = gram[:-1, :-1] - np.outer(mean, mean)
    kernels = np.zeros((channels * multiplier, kh * kw, channels))
    for channel in range(channels):
        own = np.arange(kh * kw) * channels + channel
        root = np.linalg.cholesky(centred[np.ix_(own, own)] + 1e-9 * np.eye(kh * kw))
        directions = np.linalg.svd(weights[:, :, channel] @ root, full_matrices=False)[2][:multiplier]
        found = np.linalg.solve(root.T, directions.T).T
        found /= np.maximum(np.abs(found).max(axis=1, keepdims=True), 1e-12)
        kernels[channel * multiplier : channel * multiplier + len(found), :, channel] = found
    spread = kernels.reshape(len(kernels), -1)
    inner = spread @ centred @ spread.T
    inner += 1e-6 * float(np.trace(inner)) / len(inner) * np.eye(len(inner))
    mixed = np.linalg.solve(inner, spread @ centred @ target[:, :-1].T).T
    bias = target[:, -1] + (target[:, :-1] - mixed @ spread) @ mean
    depthwise = Conv2DAttrs(attrs.strides, attrs.pads, attrs.dilations, groups=channels)
    taps = np.repeat(np.arange(channels), multiplier)
    own_taps = kernels[np.arange(len(kernels)), :, taps].reshape(-1, kh, kw, 1).astype(np.float32)
    mixing = mixed.reshape(out, 1, 1, -1).astype(np.float32)
    return Chain(
        (
            Piece("depthwise", depthwise, NewWeights(own_taps, DENSE)),
            Piece(
                "pointwise",
                Conv2DAttrs(activation=attrs.activation),
                NewWeights(mixing, DENSE, bias=bias.astype(np.float32)),
            ),
        )
    )


def _separable_size(layer: WeightLayer, multiplier: int) -> str | int:
    """The multiplier, or why the layer is not separated with it."""
    _, kh, kw, channels = layer.weights.shape
    if kh * kw == 1:
        return "its kernel is 1x1"
    if multiplier > min(kh * kw, len(layer.weights)):
        return f"{multiplier} kernels for a channel of {kh * kw} taps and {len(layer.weights)} filters"
    weights = channels * multiplier * (kh * kw + len(layer.weights))
    return multiplier if weights < layer.weights.size else f"{weights} weights in place of {layer.weights.size}"


def _fire_size(layer: WeightLayer, share: float) -> str | int:
    """Channels of the squeezing layer, or why there is no fire module."""
    attrs = layer.node.attrs
    out, kh, kw, channels = layer.weights.shape
    if not isinstance(attrs, Conv2DAttrs) or kh * kw == 1:
        return "its kernel is 1x1"
    same = attrs.pads == ((kh - 1) // 2, (kw - 1) // 2, kh // 2, kw // 2) and attrs.dilations == (1, 1)
    if not same or kh % 2 == 0 or kw % 2 == 0:
        return "its padding does not keep the size, which both branches need"
    if out < 2 or (attrs.activation.low, attrs.activation.high) != (0.0, float("inf")):
        return "it has no ReLU"
    squeezed = max(1, round(share * channels))
    weights = squeezed * (channels + out // 2 + (out - out // 2) * kh * kw)
    return squeezed if weights < layer.weights.size else f"{weights} weights in place of {layer.weights.size}"


def _split(
    graph: Graph, wanted: Mapping[str, Size], judge: Callable[[WeightLayer, Size], str | int]
) -> tuple[dict[str, int], tuple[Refusal, ...]]:
    """The layers that can be rewritten, with their sizes, and convolutions that cannot."""
    chosen: dict[str, int] = {}
    refused: list[Refusal] = []
    for layer in weight_layers(graph):
        if layer.weights.ndim != 4 or layer.name not in wanted:
            continue
        found = judge(layer, wanted[layer.name]) if shareable(layer) else "it has groups, or promises of its weights"
        if isinstance(found, str):
            refused.append(Refusal(layer.name, found))
        else:
            chosen[layer.name] = found
    return chosen, tuple(refused)
