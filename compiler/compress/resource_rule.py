"""The rule of structural rewrites: a layer is only rewritten where it gets cheaper on the board."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..board import Board
from ..ir.graph import Graph
from ..options import BackendOptions, QuantizeOptions
from ..resources import Resources
from .chains import placed_sources
from .layers import weight_layers

MUST_FALL = {"mcu": ("cycles", "flash"), "fpga": ("lut",)}
"""What a layer has to need less of, by the kind of the board."""

COMPARED = {"mcu": BackendOptions(), "fpga": BackendOptions(reuse_factor=1)}
"""Designs compared. On an FPGA each product has its own multiplier: else the planner spends what a layer saves."""


def cheaper(after: Resources, before: Resources, kind: str) -> bool:
    """Whether a layer needs less: fewer cycles and bytes (microcontroller), fewer LUTs (FPGA).

    Args:
        kind: of the board.
    """
    return all(getattr(after, name) < getattr(before, name) for name in MUST_FALL[kind])


def kept_dear(before: Graph, after: Graph, board: Board, data: Mapping[str, np.ndarray]) -> set[str]:
    """Layers in whose place there are others that are no cheaper on a board, by the backend's own estimate.

    Args:
        before, after: float canonical graphs.
        data: calibration samples.
    """
    from ..backend import find_backend
    from ..prepare import lower_for_board

    left = {node.name for node in after.nodes}
    replaced = [layer.name for layer in weight_layers(before) if layer.name not in left]
    if not replaced:
        return set()
    backend = find_backend(board.kind)
    old, new = (
        backend.estimate(lower_for_board(graph, board, dict(data), QuantizeOptions()), board, COMPARED[board.kind])
        for graph in (before, after)
    )
    found: set[str] = set()
    for name in replaced:
        was = old.share(placed_sources(before, before, name))
        now = new.share(placed_sources(before, after, name))
        if not cheaper(now, was, board.kind):
            found.add(name)
    return found
