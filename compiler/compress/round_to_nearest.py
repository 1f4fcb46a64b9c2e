"""Weights to integers by rounding to nearest, with scales that cover all weights or minimise the squared error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import ClassVar

import numpy as np

from ..ir.graph import Graph
from ..passes.base import Preserves
from .grids import Grids, best_scales, min_max_scales, pick_grid
from .layers import NewWeights, WeightLayer, check_names, refuse_tied
from .reconstruction import change_layers


class ScaleChoice(str, Enum):
    """How the scale of a channel is chosen."""

    MIN_MAX = "min-max"  # the largest weight is exact
    MSE = "mse"  # least squared error: large weights may saturate


@dataclass(frozen=True, slots=True, eq=False)
class RoundToNearest:
    """Weights to integers of 8 to 2 bits, powers of two, ternary or binary; needs no data.

    Shared weights keep one scale for the layer, so that equal weights stay equal.

    Attributes:
        grids: widths or grids.
        scales: how scales are chosen.
        importance: layer name -> weights of the squared errors (see `hessian.diagonal_hessian`), or none.
        per_channel: one scale for each output channel; else one for the layer.
    """

    grids: Grids = 8
    scales: ScaleChoice = ScaleChoice.MSE
    importance: Mapping[str, np.ndarray] = field(default_factory=dict)
    per_channel: bool = True

    name: ClassVar[str] = "round-to-nearest"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with integer weights."""
        if isinstance(self.grids, Mapping):
            check_names(graph, self.grids)
        return change_layers(graph, self.rounded)

    def rounded(self, layer: WeightLayer) -> NewWeights | None:
        """Integer weights of one layer."""
        grid = pick_grid(self.grids, layer.name)
        if grid is None:
            return None
        refuse_tied(layer, "rounding one by one")
        single = layer.promise.clusters is not None or layer.promise.circulant is not None or not self.per_channel
        rows = layer.matrix.reshape(1, -1) if single else layer.matrix
        known = self.importance.get(layer.name)
        importance = None if known is None else known.reshape(rows.shape)
        choose = self.scales is ScaleChoice.MSE
        scales = best_scales(rows, grid, importance) if choose else min_max_scales(rows, grid)
        scales = scales.astype(np.float32).astype(np.float64)
        raw = grid.round(rows / scales[:, None]).reshape(layer.weights.shape)
        if grid.has_zero:
            raw = raw * (layer.weights != 0)
        clusters = layer.promise.clusters if grid.clusters is None else grid.clusters
        promise = replace(layer.promise, width=grid.storage, clusters=clusters)
        return NewWeights(raw, promise, grid.element(scales[0] if single else scales))
