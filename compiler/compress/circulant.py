"""Block-circulant layers: each block of a weight matrix becomes a vector and its rotations.

Circulant projections: Cheng et al., "An exploration of parameter redundancy in deep networks with circulant
projections" (2015); blocks: Ding et al., "CirCNN" (2017). A circulant layer is the nearest one to the dense layer, in
its weights or, with data, in its outputs; the accuracy comes back by training, which keeps the structure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import UsageError
from ..ir.circulant import Circulant
from ..ir.encoding import Compressed
from ..ir.graph import Graph
from ..passes.base import Preserves
from .layers import NewWeights, WeightLayer, check_names, pick, replace_weights, weight_layers
from .reconstruction import LayerProblem, compress_layers

LEAST_BLOCKS = 2
"""Blocks down and across below which a layer stays as it is, unless it is named."""


@dataclass(frozen=True, slots=True, eq=False)
class MakeCirculant:
    """Give layers block-circulant weights (out, K): one value for each wrapped diagonal of a block.

    Attributes:
        data: graph input -> (S, *shape), unlabelled; without data wrapped diagonals are averaged.
        blocks: rows of a block: for all dense layers with at least two blocks down and across, or by layer name or
            pattern (convolutions only so: no kernel of theirs executes the structure).
        skew: skew-circulant blocks.
    """

    data: Mapping[str, np.ndarray]
    blocks: int | Mapping[str, int] = 8
    skew: bool = False

    name: ClassVar[str] = "circulant"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with block-circulant weights, which are promised."""
        sizes = self.blocks.values() if isinstance(self.blocks, Mapping) else [self.blocks]
        for size in sizes:
            if size < 2:
                raise UsageError(f"circulant blocks of {size}", hint="a block has at least 2 rows")
        if isinstance(self.blocks, Mapping):
            check_names(graph, self.blocks)
        if self.data:
            return compress_layers(graph, self.data, self.solve, asymmetric=False)
        layers = {layer.name: (layer, self.structure_of(layer)) for layer in weight_layers(graph)}
        made = {name: nearest(layer, found) for name, (layer, found) in layers.items() if found is not None}
        return replace_weights(graph, made)

    def structure_of(self, layer: WeightLayer) -> Circulant | None:
        """The structure a layer gets, or None if it stays."""
        if isinstance(self.blocks, Mapping):
            block = pick(self.blocks, layer.name)
        else:
            fits = min(layer.matrix.shape) >= LEAST_BLOCKS * self.blocks and layer.node.op == "Dense"
            block = self.blocks if fits else None
        if block is None:
            return None
        if layer.groups != 1:
            raise UsageError(f"layer '{layer.name}' has groups, which circulant blocks would mix")
        return Circulant(block, self.skew)

    def solve(self, problem: LayerProblem) -> NewWeights | None:
        """Circulant weights of one layer, whose outputs are nearest to those of the layer."""
        structure = self.structure_of(problem.layer)
        return None if structure is None else fitted(problem, structure)


@dataclass(frozen=True, slots=True)
class CirculantBlocks:
    """Circulant blocks as a form of the solver: for dense layers of at least two blocks down and across.

    Attributes:
        block: rows of a block.
    """

    block: int

    def __str__(self) -> str:
        return str(Circulant(self.block))

    def __call__(self, problem: LayerProblem) -> NewWeights | None:
        """The layer's weights with circulant blocks, or None where they do not fit."""
        return MakeCirculant({}, self.block).solve(problem)


def nearest(layer: WeightLayer, structure: Circulant) -> NewWeights:
    """The nearest weights of a structure: the mean of every wrapped diagonal."""
    return _new(layer, structure, structure.vectors(layer.matrix), None)


def fitted(problem: LayerProblem, structure: Circulant) -> NewWeights:
    """The weights of a structure, and the bias, with the least squared error of the layer's outputs.

    All rows of blocks share one linear system: with P_i the permutation that takes the vectors to row i of a row of
    blocks and G the inputs' covariance, its matrix is sum_i P_i^T G P_i.
    """
    layer, block = problem.layer, structure.block
    target, gram = problem.target, problem.damped[0]
    mean = problem.gram[0, :-1, -1]
    covariance = gram[:-1, :-1] - np.outer(mean, mean)
    rows, columns = layer.matrix.shape
    down, across = structure.grid((rows, columns))
    width = across * block
    padded = np.zeros((width, width))
    padded[:columns, :columns] = covariance
    wanted = np.zeros((down * block, width))
    wanted[:rows, :columns] = target[:, :-1]
    pulled = wanted @ padded
    index, sign = structure.places((block, width))  # of one row of blocks: the vectors, flattened
    order = np.argsort(index, axis=1)
    signs = np.take_along_axis(sign, order, axis=1)
    vectors = np.zeros((down, width))
    for count, which in _row_groups(rows, block, down):
        system = np.zeros((width, width))
        sums = np.zeros((len(which), width))
        for i in range(count):
            taken = padded[np.ix_(order[i], order[i])]
            system += taken * np.outer(signs[i], signs[i])
            sums += pulled[np.asarray(which) * block + i][:, order[i]] * signs[i]
        system[np.diag_indices(width)] += 1e-9 * max(float(np.trace(system)) / width, 1e-12)
        vectors[which] = np.linalg.solve(system, sums.T).T
    blocks = vectors.reshape(down, across, block)
    lost = target[:, :-1] - structure.matrix(blocks, (rows, columns))
    return _new(layer, structure, blocks, target[:, -1] + lost @ mean)


def _row_groups(rows: int, block: int, down: int) -> list[tuple[int, list[int]]]:
    """(matrix rows in it, rows of blocks): the whole ones, and the last one if it is cut off."""
    rest = rows % block
    whole = list(range(down - (rest > 0)))
    return [(count, which) for count, which in ((block, whole), (rest, [down - 1])) if count and which]


def _new(layer: WeightLayer, structure: Circulant, vectors: np.ndarray, bias: np.ndarray | None) -> NewWeights:
    shape = (layer.matrix.shape[0], layer.matrix.shape[1])
    values = structure.matrix(vectors.astype(np.float32), shape).reshape(layer.weights.shape)
    promise = Compressed(layer.promise.width, circulant=structure)
    if bias is not None:
        bias = None if layer.bias is None and not np.any(bias) else bias.astype(np.float32)
    return NewWeights(values, promise, None, bias)
