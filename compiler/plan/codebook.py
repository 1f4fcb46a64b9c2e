"""Dense layers whose weights have few values: inputs that meet the same value are summed before they are multiplied.

An output then takes one product for each magnitude among its weights in place of one for each input (Han et al.: EIE,
2016, section 3, shares weights by a codebook; summing first is what factorised dot products do: Hegde et al., UCNN,
2018). The sums are exact and cast once, as those of the other strategies are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Graph, Node
from ..options import IoType

MOST_MAGNITUDES = 32
"""Different magnitudes of a layer's weights up to which inputs are summed first."""


@dataclass(frozen=True, slots=True, eq=False)
class Codebook:
    """A weight matrix as magnitudes and where they stand.

    Attributes:
        values: (n_values,) positive raw magnitudes, ascending.
        places: (n_out, n_in) 0 where the weight is zero, else the magnitude's index plus one, negative for negative
            weights.
    """

    values: np.ndarray
    places: np.ndarray

    @property
    def groups(self) -> np.ndarray:
        """(n_out, n_values) inputs that are summed for each output and magnitude."""
        index = np.abs(self.places)
        return np.stack([(index == value + 1).sum(axis=1) for value in range(len(self.values))], axis=1)


def codebook_of(weights: np.ndarray) -> Codebook | None:
    """The codebook of raw weights (n_out, n_in), or None if they have too many magnitudes or are all zero."""
    raw = np.asarray(weights, np.int64)
    values = np.unique(np.abs(raw))
    values = values[values > 0]
    if not 0 < len(values) <= MOST_MAGNITUDES:
        return None
    return Codebook(values, np.where(raw == 0, 0, np.searchsorted(values, np.abs(raw)) + 1) * np.sign(raw))


def refuse(node: Node, graph: Graph, positions: int, io_type: IoType) -> str | None:
    """Why a layer has no codebook kernel, or None."""
    if node.op != "Dense" or positions != 1:
        return "strategy codebook is for dense layers of vectors"
    if io_type is not IoType.PARALLEL:
        return "strategy codebook is for io_parallel"
    weights = graph.constant(node.inputs[1])
    found = None if weights is None else codebook_of(weights)
    if found is None:
        return f"its weights have no, or more than {MOST_MAGNITUDES}, different magnitudes"
    if np.count_nonzero(found.groups) >= np.count_nonzero(found.places):
        return "no two inputs of an output have the same weight"
    return None
