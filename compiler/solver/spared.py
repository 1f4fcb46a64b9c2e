"""Which layers stay wide when the others become binary or ternary: those the outputs would feel most."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..compress.grids import Grid
from ..compress.layers import weight_layers
from ..compress.round_to_nearest import RoundToNearest
from ..compress.sensitivity import Option, sensitivity_table
from ..errors import InternalError
from ..ir.graph import Graph


def most_sensitive(graph: Graph, data: Mapping[str, np.ndarray], grid: Grid, share: float) -> tuple[str, ...]:
    """Layers with at most `share` of all weights whose rounding to `grid` changes the outputs most, in sum.

    The change of the outputs is measured with one layer rounded at a time, without training; which layers are spared is
    a knapsack with the layers' weights as sizes, solved exactly (HiGHS).

    Args:
        graph: float canonical graph.
        data: graph input -> (S, *shape), unlabelled.
        share: 0 spares none.
    """
    layers = weight_layers(graph)
    if share <= 0.0 or not layers:
        return ()
    option = Option(str(grid), lambda layer: RoundToNearest({layer: grid}))
    costs = sensitivity_table(graph, [option], data).costs
    felt = np.array([costs[layer.name][option.name].divergence for layer in layers])
    sizes = np.array([layer.weights.size for layer in layers])
    from scipy.optimize import Bounds, LinearConstraint, milp

    limit = LinearConstraint(sizes[None], ub=share * sizes.sum())
    found = milp(-felt, constraints=limit, integrality=np.ones(len(layers)), bounds=Bounds(0, 1))
    if found.x is None:
        raise InternalError(f"no choice of layers to spare: {found.message}")
    return tuple(layer.name for layer, taken in zip(layers, found.x, strict=True) if taken > 0.5)
