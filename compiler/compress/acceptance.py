"""Rewrites of convolutions are kept for a layer only where the board needs less for it; what is refused is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..board import Board
from ..estimate.report import Estimate
from ..ir.graph import Graph
from ..options import QuantizeOptions
from .chains import placed_sources
from .resource_rule import COMPARED, MUST_FALL, cheaper

Rewrite = Callable[[Graph, frozenset[str]], Graph]
"""Rewrites the named layers of a graph; the layers in the place of one are called like it, with a slash behind."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A layer that stays as it is, and why."""

    layer: str
    reason: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.reason}"


def judge(
    graph: Graph, names: frozenset[str], rewrite: Rewrite, board: Board | None, data: Mapping[str, np.ndarray]
) -> tuple[Graph, tuple[Refusal, ...]]:
    """The rewritten graph and what was refused: see `accept`; without a board nothing is."""
    if board is not None and names:
        return accept(graph, names, rewrite, board, data)
    return (rewrite(graph, names) if names else graph), ()


def accept(
    graph: Graph, names: frozenset[str], rewrite: Rewrite, board: Board, data: Mapping[str, np.ndarray]
) -> tuple[Graph, tuple[Refusal, ...]]:
    """Rewrite the layers that get cheaper on a board, by the backend's own estimate.

    A rewrite changes what the layers behind it read, and so their cost: layers are taken out until all that are left
    pay.

    Args:
        graph: float canonical graph.
        data: calibration samples.

    Returns:
        The rewritten graph, and what was refused.
    """
    from ..backend import find_backend
    from ..prepare import lower_for_board

    backend = find_backend(board.kind)

    def estimate(made: Graph) -> Estimate:
        integer = lower_for_board(made, board, dict(data), QuantizeOptions())
        return backend.estimate(integer, board, COMPARED[board.kind])

    before = estimate(graph)
    left, refused = names, list[Refusal]()
    while left:
        made = rewrite(graph, left)
        after = estimate(made)
        dear: list[Refusal] = []
        for name in sorted(left):
            was = before.share(placed_sources(graph, graph, name))
            now = after.share(placed_sources(graph, made, name))
            if not cheaper(now, was, board.kind):
                parts = [
                    f"{getattr(now, need):,} {need} where {getattr(was, need):,} are enough"
                    for need in MUST_FALL[board.kind]
                    if getattr(now, need) >= getattr(was, need)
                ]
                dear.append(Refusal(name, " and ".join(parts)))
        if not dear:
            return made, tuple(refused)
        refused += dear
        left -= {refusal.layer for refusal in dear}
    return graph, tuple(refused)
