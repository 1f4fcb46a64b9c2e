"""Low rank: layers become two to four smaller ones behind each other.

Truncated and activation-whitened SVD, spatially separable, Tucker-2, CP and depthwise factors (see `schemes`), each
fitted to the outputs of its layer on unlabelled data, earlier layers' errors taken in. A rank that saves no weights, no
cycles (no LUTs) or no bytes is never used: the layer stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..board import Board
from ..errors import UsageError
from ..ir.graph import Graph
from ..passes.base import Preserves
from .chains import Chain, run_chain, run_layer
from .factoring import MULTIPLE, Factoring, factored, factored_shape
from .layers import WeightLayer, by_layer, check_names, pick, weight_layers
from .reconstruction import LayerProblem, compress_layers
from .resource_rule import kept_dear
from .schemes import Ranks, Scheme, applies, full_ranks, parameters, saves

Rank = int | tuple[int, int]
"""A rank; for Tucker-2 those of the input and of the output channels."""


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """Factor layers.

    Attributes:
        data: graph input -> (S, *shape), unlabelled.
        share: weights of the factors relative to those of the layer: one number, or by layer name or pattern; layers
            that no pattern fits stay.
        scheme: of all layers; None takes for each layer the one of least error at that share.
        ranks: by layer name or pattern, in place of shares; needs a scheme.
        multiple: ranks made of shares are multiples of it.
        asymmetric: fit each layer to the inputs the compressed network makes.
        board: with a board, layers that become no cheaper there stay; else weights and products are counted.
    """

    data: Mapping[str, np.ndarray]
    share: float | Mapping[str, float] = 0.5
    scheme: Scheme | None = None
    ranks: Mapping[str, Rank] | None = None
    multiple: int = MULTIPLE
    asymmetric: bool = True
    board: Board | None = None

    name: ClassVar[str] = "low-rank"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with factored layers.

        Raises:
            UsageError: a share or rank that saves nothing, or a name that no layer has.
        """
        self._check(graph)
        stay: set[str] = set()

        def method(problem: LayerProblem) -> Chain | None:
            return None if problem.layer.name in stay else self.solve(problem)

        while True:
            made = compress_layers(graph, self.data, method, asymmetric=self.asymmetric)
            if self.board is None:
                return made
            dear = kept_dear(graph, made, self.board, self.data)
            if not dear:
                return made
            stay |= dear

    def solve(self, problem: LayerProblem) -> Chain | None:
        """The factors of one layer; None where it stays."""
        if self.ranks is not None and self.scheme is not None:
            rank = pick(self.ranks, problem.layer.name)
            return None if rank is None else factored(problem, self.scheme, _ranks(problem.layer, self.scheme, rank))
        shares = self.share if isinstance(self.share, Mapping) else {"*": self.share}
        share = pick(shares, problem.layer.name)
        if share is None:
            return None
        if self.scheme is not None:
            return Factoring(self.scheme, share, self.multiple)(problem)
        found = [Factoring(scheme, share, self.multiple)(problem) for scheme in Scheme]
        chains = [chain for chain in found if chain is not None]
        return min(chains, key=lambda chain: chain_error(problem, chain), default=None)

    def _check(self, graph: Graph) -> None:
        shares = by_layer(graph, self.share)
        if not all(0.0 < share <= 1.0 for share in shares.values()) or self.multiple < 1:
            raise UsageError("shares of weights are above 0 and at most 1, and the multiple is at least 1", hint="0.5")
        if self.ranks is None:
            return
        if self.scheme is None:
            raise UsageError("ranks need a scheme", hint="one of " + ", ".join(scheme.value for scheme in Scheme))
        check_names(graph, self.ranks)
        for layer in weight_layers(graph):
            shape, rank = factored_shape(layer), pick(self.ranks, layer.name)
            if rank is not None and shape is not None and applies(self.scheme, shape):
                _check_rank(layer, self.scheme, _ranks(layer, self.scheme, rank), named=layer.name in self.ranks)


def _ranks(layer: WeightLayer, scheme: Scheme, rank: Rank) -> Ranks:
    """Ranks as a scheme wants them: for Tucker-2 one number is that of the outputs, the inputs in proportion."""
    if isinstance(rank, tuple):
        return rank
    shape = factored_shape(layer)
    if scheme is not Scheme.TUCKER or shape is None:
        return (rank,)
    inputs, outputs = full_ranks(scheme, shape)
    return max(round(inputs * rank / outputs), 1), rank


def _check_rank(layer: WeightLayer, scheme: Scheme, ranks: Ranks, *, named: bool) -> None:
    """Refuse ranks out of range, and such that save nothing where the layer was named."""
    shape = factored_shape(layer)
    if shape is None:
        return
    full = full_ranks(scheme, shape)
    if len(ranks) != len(full) or not all(1 <= rank <= most for rank, most in zip(ranks, full, strict=True)):
        raise UsageError(
            f"ranks {ranks} of layer '{layer.name}' are not between 1 and {full}",
            hint=f"{scheme.value} takes {len(full)} rank(s)",
        )
    if named and not saves(scheme, shape, ranks):
        count, whole = parameters(scheme, shape, ranks), int(np.prod(shape))
        raise UsageError(
            f"rank {ranks[-1]} of layer '{layer.name}' saves nothing: {count:,} weights in place of {whole:,}",
            hint="a matrix of m x n needs a rank below m n / (m + n)",
        )


def chain_error(problem: LayerProblem, chain: Chain) -> float:
    """Mean squared error of a chain's outputs, activation included, against the original layer's."""
    wanted = run_layer(problem.layer, problem.original_inputs)
    lost = run_chain(problem.layer, chain, problem.inputs) - wanted
    return float(np.mean(np.square(lost, dtype=np.float64)))
