"""Ranks for the whole network at once: schemes and sizes are options of one knapsack, so layers get different ranks.

Layer-wise low rank gives every layer the same ratio, or asks for a rank by hand; what a layer's loss means to the
outputs is not asked. Here every layer's factors are measured at the outputs, and the solver divides a budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..backend import find_backend
from ..board import Board
from ..compress.chains import placed_sources
from ..compress.factoring import Factoring
from ..compress.schemes import Scheme
from ..errors import BudgetError, UsageError
from ..estimate.report import Estimate
from ..ir.graph import Graph
from ..options import BackendOptions, QuantizeOptions
from ..passes.base import Preserves
from ..prepare import lower_for_board
from .forms import PLAIN, Form
from .search import Budgeted, apply_forms, choose_forms
from .table import FormTable, make_table

ROUNDS = 4
"""Times the limit is corrected by what the whole design really needs."""

RANKS: tuple[Form, ...] = (
    PLAIN,
    *(Form(structure=Factoring(Scheme.SVD, share)) for share in (0.0625, 0.125, 0.1875, 0.25, 0.375, 0.5, 0.7)),
    *(Form(structure=Factoring(Scheme.SEPARABLE, share)) for share in (0.17, 0.25, 0.34, 0.42, 0.5, 0.67)),
    *(Form(structure=Factoring(Scheme.TUCKER, share)) for share in (0.25, 0.37, 0.5)),
    Form(structure=Factoring(Scheme.CP, 0.25)),
    *(Form(structure=Factoring(Scheme.DEPTHWISE, share)) for share in (0.25, 0.37, 0.5, 0.7)),
)
"""Schemes and sizes that are tried, weights of 8 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class ChooseRanks:
    """Factor the layers so that the network needs a share of what it needed, at the least loss.

    Attributes:
        data: graph input -> (S, *shape), unlabelled.
        board: whose cycles and bytes count.
        share: of `cost` that may be left.
        cost: 'cycles' of one inference, or bytes of 'flash'; of the layers with weights.
        forms: what is tried for every layer; the plain form is always there.
    """

    data: Mapping[str, np.ndarray]
    board: Board | None = None
    share: float = 0.5
    cost: str = "cycles"
    forms: tuple[Form, ...] = RANKS

    name: ClassVar[str] = "choose-ranks"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with factored layers.

        Raises:
            UsageError: no board, an unknown cost, or a share out of range.
            BudgetError: no choice of ranks needs so little.
        """
        return self.solve(graph).graph

    def solve(self, graph: Graph) -> Budgeted:
        """The choice and what it comes to; errors as above."""
        board = self._checked()
        table = self.table(graph)
        whole = sum(getattr(row[0].resources, self.cost) for row in table.entries)
        limit = asked = self.share * whole
        for _ in range(ROUNDS):
            forms = choose_forms(table, {self.cost: asked})
            if forms is None:
                break
            found = apply_forms(graph, self.data, table, forms, self.lower, self.estimate)
            excess = needed(graph, found, table, self.cost) - limit
            if excess <= 0.0:
                return found
            asked -= excess
        least = sum(min(getattr(entry.resources, self.cost) for entry in row) for row in table.entries)
        raise BudgetError(
            f"no choice of ranks leaves {100 * self.share:.0f} % of the {self.cost} on {board.title}: "
            f"the least is {100 * least / whole:.0f} %",
            hint="allow a larger share",
        )

    def table(self, graph: Graph) -> FormTable:
        """Loss and cost of every form of every layer."""
        board = self._checked()
        backend = find_backend(board.kind)
        return make_table(graph, dict(self.data), board, backend, BackendOptions(), QuantizeOptions(), self.forms)

    def _checked(self) -> Board:
        if self.board is None:
            raise UsageError("ranks are chosen by what they cost on a board", hint="give --board")
        if self.cost not in ("cycles", "flash"):
            raise UsageError(f"'{self.cost}' is no cost that ranks are chosen by", hint="cycles or flash")
        if not 0.0 < self.share <= 1.0:
            raise UsageError("the share that is left is above 0 and at most 1", hint="0.5")
        return self.board

    def lower(self, graph: Graph) -> Graph:
        """The integer graph for the board."""
        return lower_for_board(graph, self._checked(), dict(self.data), QuantizeOptions())

    def estimate(self, graph: Graph) -> Estimate:
        """What an integer graph costs on the board."""
        board = self._checked()
        return find_backend(board.kind).estimate(graph, board, BackendOptions())


def needed(graph: Graph, found: Budgeted, table: FormTable, cost: str) -> float:
    """What the layers of a table, or those in their place, need of a resource in a design."""
    nodes = [node for name in table.layers for node in placed_sources(graph, found.graph, name)]
    return float(getattr(found.estimate.share(nodes), cost))
