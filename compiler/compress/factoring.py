"""One layer factored: the chain of layers that a scheme and its ranks make of it, fitted to the inputs of the layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..ir.affine import WEIGHT_BITS
from ..ir.encoding import DENSE, Compressed, Encoding
from ..ops.conv2d import Conv2DAttrs
from ..ops.dense import DenseAttrs
from .chains import Chain, Change, Piece, chain_layers, run_layer
from .layers import NewWeights, WeightLayer, with_weights
from .reconstruction import LayerProblem, changed_outputs
from .schemes import EQUATIONS, Ranks, Scheme, Shape, applies, fitted, pieces, ranks_for, saves

MULTIPLE = 4
"""Kernels work on two or four channels at a time: ranks between are not faster."""


@dataclass(frozen=True, slots=True)
class Factoring:
    """A scheme at a size: the largest ranks that keep it.

    Attributes:
        scheme: how the layer is factored.
        share: weights of the factors, relative to those of the layer.
        multiple: ranks are multiples of it, or below it.
    """

    scheme: Scheme
    share: float
    multiple: int = MULTIPLE

    def __str__(self) -> str:
        return f"{self.scheme.value} to {100 * self.share:.0f} %"

    def __call__(self, problem: LayerProblem) -> Chain | None:
        """The factored layer, or None where the scheme does not apply or no rank saves weights."""
        ranks = self.ranks(problem.layer)
        return None if ranks is None else factored(problem, self.scheme, ranks)

    def ranks(self, layer: WeightLayer) -> Ranks | None:
        """The ranks for a layer; None as above."""
        shape = factored_shape(layer)
        if shape is None or not applies(self.scheme, shape):
            return None
        return ranks_for(self.scheme, shape, self.share, self.multiple)


def factored_shape(layer: WeightLayer) -> Shape | None:
    """(out, kh, kw, in) of a layer's weights; None for layers that are not factored.

    Those are grouped convolutions, and weights whose integers, zeros or shared values are promised: factors would
    break the promise.
    """
    promise = layer.promise
    bound = layer.element is not None or promise.zeros or promise.group or promise.clusters is not None
    if bound or layer.groups > 1:
        return None
    if isinstance(layer.node.attrs, DenseAttrs):
        out, columns = layer.weights.shape
        return out, 1, 1, columns
    return tuple(layer.weights.shape)


def factored(problem: LayerProblem, scheme: Scheme, ranks: Ranks) -> Chain | None:
    """The layer at given ranks: fitted to its inputs, so that it makes up for what earlier layers lost.

    Returns:
        None if the ranks do not save weights: such a layer is never made.
    """
    layer = problem.layer
    shape = factored_shape(layer)
    if shape is None or not saves(scheme, shape, ranks):
        return None
    wanted, mean = problem.target, problem.gram[0][-1, :-1]
    metric = problem.damped[0][:-1, :-1] - np.outer(mean, mean)
    target = wanted[:, :-1].reshape(shape)
    factors = fitted(scheme, target, ranks, metric)
    lost = target - np.einsum(EQUATIONS[scheme], *factors, optimize=True)
    bias = wanted[:, -1] + lost.reshape(len(lost), -1) @ mean
    return _balanced(problem, _chain(problem, scheme, factors, bias))


def _chain(problem: LayerProblem, scheme: Scheme, factors: list[np.ndarray], bias: np.ndarray) -> Chain:
    layer = problem.layer
    attrs = layer.node.attrs
    if not isinstance(attrs, (Conv2DAttrs, DenseAttrs)):
        raise TypeError(f"{layer.node.op} has no weights")
    width = layer.promise.width
    promise: Encoding = DENSE if width == WEIGHT_BITS else Compressed(width)
    found = [
        Piece(name, own, NewWeights(values.astype(np.float32), promise))
        for name, own, values in pieces(scheme, factors, attrs)
    ]
    has_bias = layer.bias is not None or bool(np.any(bias))
    if has_bias:
        found[-1] = replace(found[-1], new=replace(found[-1].new, bias=bias.astype(np.float32)))
    return Chain(tuple(found))


def _balanced(problem: LayerProblem, chain: Chain) -> Chain:
    """The chain with channels between its pieces scaled to the same range, as fixed batch normalization (Tai 2016).

    Such a tensor is rounded with one scale for all channels, and trained with one rate.
    """
    x = problem.inputs
    found = list(chain.pieces)
    for index, layer in enumerate(chain_layers(problem.layer, chain)[:-1]):
        layer = with_weights(layer, found[index].new)
        y = run_layer(layer, x)
        size = np.abs(y).reshape(-1, y.shape[-1]).max(axis=0)
        scale = np.where(size > 0.0, 1.0 / np.maximum(size, 1e-30), 1.0).astype(np.float32)
        found[index] = _scaled(found[index], scale, outputs=True)
        found[index + 1] = _scaled(found[index + 1], 1.0 / scale, outputs=False)
        x = y * scale
    return Chain(tuple(found))


def _scaled(piece: Piece, scale: np.ndarray, *, outputs: bool) -> Piece:
    """A piece whose output channels, or input channels, are multiplied by `scale`."""
    values = piece.new.values
    by_row = outputs or (isinstance(piece.attrs, Conv2DAttrs) and piece.attrs.groups > 1)
    factor = scale.reshape(-1, *[1] * (values.ndim - 1)) if by_row else scale
    return replace(piece, new=replace(piece.new, values=values * factor))


def in_chain(problem: LayerProblem, chain: Chain, method: Callable[[LayerProblem], Change | None]) -> Chain:
    """The chain with the weights of its pieces replaced, each rebuilt from what the pieces before really give."""
    original, compressed = problem.original_inputs, problem.inputs
    if original is not compressed:  # what is to be met is what the chain makes of the inputs it will get
        original = compressed
    found: list[Piece] = []
    for piece, layer in zip(chain.pieces, chain_layers(problem.layer, chain), strict=True):
        new = method(LayerProblem(layer, compressed, original))
        made = piece
        if isinstance(new, NewWeights):
            bias = piece.new.bias if new.bias is None else new.bias
            made = replace(piece, new=replace(new, bias=bias))
        found.append(made)
        same = made is piece and compressed is original
        original = run_layer(layer, original)
        compressed = original if same else changed_outputs(layer, made.new, compressed)
    return Chain(tuple(found))
