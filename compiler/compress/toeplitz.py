"""Toeplitz-like layers: a dense layer as the product of a skew-circulant and a circulant layer.

Matrices of displacement rank r are sums of r products of a circulant and a skew-circulant matrix (Pan 2001; Sindhwani,
Sainath, Kumar, "Structured transforms for small-footprint deep learning", 2015, theorem 2.2): with blocks of n, a
first layer of r n skew-circulant outputs for every block and a second one of circulant blocks that sums them up. Both
are ordinary layers here, with a requantization between them, and every block of the product has displacement rank at
most hidden / n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..errors import UsageError
from ..ir.circulant import Circulant
from ..ir.encoding import Compressed
from ..ir.graph import Graph
from ..ir.rewrite import GraphEditor
from ..ops.dense import DenseAttrs
from ..passes.base import Preserves
from .layers import WeightLayer, check_names, pick, weight_layers

ROUNDS = 30
"""Alternating least squares; the fit changes by less than a percent after."""


@dataclass(frozen=True, slots=True)
class Displacement:
    """Size of a Toeplitz-like layer.

    Attributes:
        block: rows of a block.
        rank: products summed up for every block: the layer between has rank * block outputs.
    """

    block: int = 8
    rank: int = 8


@dataclass(frozen=True, slots=True)
class MakeToeplitzLike:
    """Replace dense layers by two: skew-circulant, then circulant blocks, fitted by alternating least squares.

    Attributes:
        layers: by layer name or pattern; dense layers with float weights.
        seed: of the start.
    """

    layers: Mapping[str, Displacement]
    seed: int = 0

    name: ClassVar[str] = "toeplitz-like"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with two layers in the place of each."""
        check_names(graph, self.layers)
        editor = GraphEditor(graph)
        for place, layer in enumerate(weight_layers(graph)):
            size = pick(self.layers, layer.name)
            if size is None:
                continue
            if layer.node.op != "Dense":
                raise UsageError(f"layer '{layer.name}' is no dense layer, and only those become Toeplitz-like")
            _split(editor, layer, size, self.seed + place)
        return editor.finish()


def _split(editor: GraphEditor, layer: WeightLayer, size: Displacement, seed: int) -> None:
    first, second = factors(layer.matrix, size, seed)
    node = next(n for n in editor.nodes if n.name == layer.name)
    promise = layer.promise.width
    inner = editor.add_constant(
        f"{layer.name}_skew",
        first.astype(np.float32),
        encoding=Compressed(promise, circulant=Circulant(size.block, skew=True)),
    )
    outer = editor.add_constant(
        f"{layer.name}_circulant",
        second.astype(np.float32),
        encoding=Compressed(promise, circulant=Circulant(size.block)),
    )
    source = replace(node.source, node=f"{node.source.node}_skew")
    made = editor.add_node(
        "Dense", [node.inputs[0], inner], DenseAttrs(), source, name=f"{layer.name}_skew", before=node
    )
    editor.update(node, inputs=(made.outputs[0], outer, *node.inputs[2:]))


def factors(matrix: np.ndarray, size: Displacement, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(skew-circulant (hidden, in), circulant (out, hidden)) whose product is near a matrix (out, in).

    With one factor given the other is a linear least-squares problem, whose rows (or columns) of blocks share one
    matrix; both are solved by turns from a random start. At the end both have the same norm.
    """
    rows, columns = matrix.shape
    hidden = size.rank * size.block
    skew, plain = Circulant(size.block, True), Circulant(size.block)
    random = np.random.default_rng(seed)
    first = skew.matrix(random.standard_normal((*skew.grid((hidden, columns)), size.block)), (hidden, columns))
    second = np.zeros((rows, hidden))
    for _ in range(ROUNDS):
        second = _solve(matrix.T, first.T, plain, transposed=True).T
        first = _solve(matrix, second, skew, transposed=False)
    balance = np.sqrt(np.linalg.norm(second) / max(np.linalg.norm(first), 1e-30))
    return first * balance, second / balance


def _solve(target: np.ndarray, known: np.ndarray, structure: Circulant, *, transposed: bool) -> np.ndarray:
    """The X of a structure (of X^T if `transposed`) that makes known @ X nearest to `target`.

    Args:
        target: (a, c).
        known: (a, b).

    Returns:
        (b, c): every column of blocks is a problem with the same features, `known` times the unit vectors' blocks.
    """
    block, width = structure.block, known.shape[1]
    across = -(-width // block)
    wide = np.pad(known, ((0, 0), (0, across * block - width)))
    unit = np.eye(block)[:, None, :]  # of block t: ones where the vector's entry t goes
    ones = np.stack([structure.matrix(one[None], (block, block)) for one in unit])
    if transposed:
        ones = ones.transpose(0, 2, 1)
    features = np.einsum("agi,tij->jgta", wide.reshape(len(known), across, block), ones, optimize=True)
    features = features.reshape(block, across * block, len(known))
    down = -(-target.shape[1] // block)
    padded = np.pad(target, ((0, 0), (0, down * block - target.shape[1]))).reshape(len(known), down, block)
    found = np.zeros((down, across * block))
    rest = target.shape[1] % block
    for count, which in ((block, range(down - (rest > 0))), (rest, range(down - (rest > 0), down))):
        if count and len(which):
            own = features[:count]
            system = np.einsum("jfa,jga->fg", own, own, optimize=True)
            system[np.diag_indices(len(system))] += 1e-6 * max(float(np.trace(system)) / len(system), 1e-12)
            sums = np.einsum("jfa,adj->fd", own, padded[:, list(which), :count], optimize=True)
            found[list(which)] = np.linalg.solve(system, sums).T
    vectors = found.reshape(down, across, block).transpose(1, 0, 2)
    if transposed:
        return structure.matrix(vectors.transpose(1, 0, 2), (target.shape[1], width)).T
    return structure.matrix(vectors, (width, target.shape[1]))
