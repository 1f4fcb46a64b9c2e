"""Doubly convolutional layers: filters are cut out of larger meta filters, so neighbouring ones share most weights.

Zhai, Cheng, Lu, Zhang 2016, "Doubly convolutional neural networks". A meta filter of m x m holds (m - k + 1)**2 filters
of k x k, translations of each other. The layer stays an ordinary convolution with tied weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from ..board import Board
from ..errors import UsageError
from ..ir.encoding import Tie
from ..ir.graph import Graph
from ..passes.base import Preserves
from .acceptance import Refusal, judge
from .layers import NewWeights, WeightLayer, by_layer, pick, weight_layers
from .reconstruction import LayerProblem, compress_layers
from .share_filters import shareable


@dataclass(frozen=True, slots=True, eq=False)
class CutFilters:
    """Cut the filters of convolutions out of meta filters.

    The filters of a meta filter are chosen greedily by how well they agree where they overlap. No microcontroller
    kernel reads weights from meta filters: with a board this is refused unless the values suit another format. It pays
    in a model file and as a regularizer.

    Attributes:
        data: graph input -> (S, *shape), unlabelled.
        size: side of a meta filter, of all layers or by name or pattern; layers with filters at least as large stay.
        board: with a board, layers that become no cheaper there stay.
        refused: layers that stay although they were chosen are told here, and why.
    """

    data: Mapping[str, np.ndarray]
    size: int | Mapping[str, int] = 4
    board: Board | None = None
    refused: list[str] = field(default_factory=list)

    name: ClassVar[str] = "cut-filters"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with tied filters.

        Raises:
            UsageError: a size below 2, or a name that no layer has.
        """
        sizes = by_layer(graph, self.size)
        if any(size < 2 for size in sizes.values()):
            raise UsageError("a meta filter has at least two taps a side", hint="4 holds four filters of 3x3")
        chosen: dict[str, int] = {}
        refusals: list[Refusal] = []
        for layer in weight_layers(graph):
            size = pick(sizes, layer.name)
            if size is None or layer.weights.ndim != 4:
                continue
            if not shareable(layer) or size <= max(layer.weights.shape[1:3]):
                refusals.append(Refusal(layer.name, f"its filters are no smaller than {size}x{size}, or not its own"))
            elif cuts(layer.weights.shape, size) > len(layer.weights):
                refusals.append(Refusal(layer.name, f"a meta filter holds more than its {len(layer.weights)} filters"))
            else:
                chosen[layer.name] = size

        def rewrite(whole: Graph, names: frozenset[str]) -> Graph:
            def method(problem: LayerProblem) -> NewWeights | None:
                name = problem.layer.name
                return cut(problem.layer, chosen[name]) if name in names else None

            return compress_layers(whole, self.data, method)

        made, dear = judge(graph, frozenset(chosen), rewrite, self.board, self.data)
        self.refused.extend(map(str, (*refusals, *dear)))
        return made


def cuts(shape: tuple[int, ...], size: int) -> int:
    """How many filters a meta filter of a size holds; `shape` (out, kh, kw, channels)."""
    return (size - shape[1] + 1) * (size - shape[2] + 1)


def cut(layer: WeightLayer, size: int) -> NewWeights:
    """The nearest weights that are cut out of meta filters; filters that are left over are their own."""
    weights = layer.weights.astype(np.float64)
    out, kh, kw, channels = weights.shape
    places = [(y, x) for y in range(size - kh + 1) for x in range(size - kw + 1)]
    free = list(range(out))
    indices = np.full(weights.shape, -1, np.int32)
    taps = np.arange(size * size * channels, dtype=np.int32).reshape(size, size, channels)
    count = 0
    while len(free) >= len(places):
        sums, seen = np.zeros((size, size, channels)), np.zeros((size, size, 1))
        for y, x in places:
            window = np.s_[y : y + kh, x : x + kw]
            mean = sums[window] / np.maximum(seen[window], 1.0)
            distance = [float((np.square(weights[one] - mean) * (seen[window] > 0)).sum()) for one in free]
            best = free.pop(int(np.argmin(distance)))
            sums[window] += weights[best]
            seen[window] += 1.0
            indices[best] = count + taps[window]
        count += taps.size
    for one in free:
        indices[one] = count + np.arange(kh * kw * channels, dtype=np.int32).reshape(kh, kw, channels)
        count += kh * kw * channels
    tie = Tie(indices.reshape(-1), np.ones(indices.size, np.int8))
    values = tie.expand(tie.free(weights)).astype(np.float32).reshape(weights.shape)
    return NewWeights(values, replace(layer.promise, tie=tie))
