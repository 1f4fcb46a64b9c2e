"""Pruning without training: weights, blocks or N:M patterns set to zero, what they did moved to those that stay.

One-shot by any criterion, then the exact least-squares weights on what is left of each output channel; with the OBS
criterion in a few rounds, scores and weights exact after each (LeCun et al., "Optimal Brain Damage", 1990; Hassibi,
Stork, "Optimal Brain Surgeon", 1993; row by row: Frantar, Alistarh, "Optimal Brain Compression", 2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import ClassVar

import numpy as np

from ..errors import UsageError
from ..ir.graph import Graph
from ..passes.base import Preserves
from .layers import NewWeights, WeightLayer, by_layer, check_names, pick, refuse_tied
from .reconstruction import LayerProblem, compress_layers
from .saliency import Criterion, saliency

STEPS = 2
"""Rounds of OBS: scores are exact at the start of each."""


class Allocation(str, Enum):
    """Which weights compete."""

    LAYER = "layer"  # each layer loses its share
    GLOBAL = "global"  # layers share one threshold on the error relative to their output


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which weights go together.

    Attributes:
        block: aligned runs of that many inputs of an output channel go or stay as one.
        keep, group: at most `keep` of every aligned run of `group` inputs stay (N:M); 0 for none.
    """

    block: int = 1
    keep: int = 0
    group: int = 0

    def __post_init__(self) -> None:
        if self.block < 1 or not 0 <= self.keep <= self.group or (self.group and self.block > 1):
            raise UsageError(
                f"block {self.block}, {self.keep} of {self.group} is no pruning pattern",
                hint="give a block length, or N of M with N <= M",
            )

    def runs(self, scores: np.ndarray) -> np.ndarray:
        """(out, K) as (out, runs, block), padded with zeros."""
        padded = np.pad(scores, ((0, 0), (0, -scores.shape[1] % self.block)))
        return padded.reshape(len(scores), -1, self.block)

    def mask(self, scores: np.ndarray, alive: np.ndarray, sparsity: float) -> np.ndarray:
        """Which weights stay, (out, K) bool: the best runs among those alive.

        Args:
            scores: (out, K), or (out, runs) with blocks.
            alive: (out, K) bool; what is not alive stays removed.
            sparsity: share of all runs that is removed.
        """
        if self.group:
            return alive & _best_of_group(np.where(alive, scores, -1.0), self.keep, self.group)
        live = self.runs(alive).any(axis=2)
        score = np.where(live, scores, -np.inf)
        stay = score.size - round(sparsity * score.size)
        order = np.argsort(-score, axis=None, kind="stable")[:stay]
        chosen = np.zeros(score.size, bool)
        chosen[order] = True
        kept = np.repeat(chosen.reshape(score.shape) & live, self.block, axis=1)[:, : alive.shape[1]]
        return alive & kept


def _best_of_group(scores: np.ndarray, keep: int, group: int) -> np.ndarray:
    rows, width = scores.shape
    padded = np.pad(scores, ((0, 0), (0, -width % group)), constant_values=-2.0).reshape(rows, -1, group)
    rank = np.argsort(np.argsort(-padded, axis=2, kind="stable"), axis=2)
    return (rank < keep).reshape(rows, -1)[:, :width]


@dataclass(frozen=True, slots=True, eq=False)
class Prune:
    """Remove weights and let the others make up for them.

    Attributes:
        data: graph input -> (S, *shape), unlabelled.
        sparsity: share of weights (or blocks) to remove: for all layers, or by layer name or pattern; a layer with an
            N:M pattern needs none.
        pattern: what goes together: for all layers, or by layer name or pattern.
        criterion: how weights are ranked.
        allocation: whether layers compete (`sparsity` is then one number for all of them together).
        compensate: refit the weights that stay.
        steps: rounds of OBS.
        hessian: layer name -> diagonal Hessian of the network's outputs (see `hessian.diagonal_hessian`), for OBD.
        asymmetric: each layer makes up for what the layers before it lost.
    """

    data: Mapping[str, np.ndarray]
    sparsity: float | Mapping[str, float] = 0.5
    pattern: Pattern | Mapping[str, Pattern] = Pattern()
    criterion: Criterion = Criterion.OBS
    allocation: Allocation = Allocation.LAYER
    compensate: bool = True
    steps: int = STEPS
    hessian: Mapping[str, np.ndarray] = field(default_factory=dict)
    asymmetric: bool = True

    name: ClassVar[str] = "prune"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The pruned graph, float weights, zeros promised."""
        for share in by_layer(graph, self.sparsity).values():
            if not 0.0 <= share < 1.0:
                raise UsageError(f"sparsity {share:g} is not in 0 .. 1", hint="0.8 removes four weights of five")
        if isinstance(self.pattern, Mapping):
            check_names(graph, self.pattern)
        if self.allocation is Allocation.GLOBAL:
            return replace(self, sparsity=self._allocated(graph), allocation=Allocation.LAYER)(graph)
        return compress_layers(graph, self.data, self.solve, asymmetric=self.asymmetric)

    def solve(self, problem: LayerProblem) -> NewWeights | None:
        """Pruned weights of one layer."""
        pattern = self.pattern_of(problem.layer)
        share = pick(self.sparsity, problem.layer.name) if isinstance(self.sparsity, Mapping) else self.sparsity
        if (share is None or share == 0.0) and not pattern.group:
            return None
        refuse_tied(problem.layer, "pruning")
        weights = pruned(
            problem,
            share or 0.0,
            pattern,
            self.criterion,
            steps=self.steps,
            compensate=self.compensate,
            hessian=self.hessian.get(problem.layer.name),
        )
        return pruned_weights(problem.layer, weights, pattern, keep_bias=not self.compensate)

    def pattern_of(self, layer: WeightLayer) -> Pattern:
        """What goes together in a layer."""
        found = pick(self.pattern, layer.name) if isinstance(self.pattern, Mapping) else self.pattern
        return Pattern() if found is None else found

    def _allocated(self, graph: Graph) -> dict[str, float]:
        """Sparsity of each layer when all runs are ranked by the share of their layer's output they carry."""
        if isinstance(self.sparsity, Mapping):
            raise UsageError("global allocation takes one sparsity for all layers", hint="sparsity=0.8")
        scores: dict[str, np.ndarray] = {}

        def rank(problem: LayerProblem) -> None:
            pattern = self.pattern_of(problem.layer)
            values = first_scores(problem, pattern, self.criterion, self.hessian.get(problem.layer.name))
            energy = problem.errors(np.zeros_like(problem.target)).sum() if self.criterion in _ERRORS else 1.0
            scores[problem.layer.name] = values.reshape(-1) / max(float(energy), 1e-30)

        compress_layers(graph, self.data, rank, asymmetric=False)
        every = np.concatenate(list(scores.values()))
        gone = round(self.sparsity * len(every))
        limit = np.partition(every, gone)[gone] if gone < len(every) else np.inf
        return {name: min(float((values < limit).mean()), 0.99) for name, values in scores.items()}


_ERRORS = (Criterion.OBD, Criterion.OBS)
"""Criteria that are squared errors of the layer's output, and so are compared relative to its energy."""


def pruned_weights(layer: WeightLayer, weights: np.ndarray, pattern: Pattern, *, keep_bias: bool) -> NewWeights:
    """New weights (out, K + 1) with the promise of their zeros."""
    values = weights[:, :-1].astype(np.float32)
    runs = pattern.runs(values != 0)
    width = values.shape[1]
    empty = np.nonzero(~runs.any(axis=2))[1]
    zeros = int(np.minimum(pattern.block, width - empty * pattern.block).sum()) if pattern.block > 1 else 0
    zeros = zeros if pattern.block > 1 else int((values == 0).sum())
    promise = replace(
        layer.promise,
        zeros=zeros,
        clusters=None,
        circulant=None,
        block=pattern.block,
        keep=pattern.keep,
        group=pattern.group,
    )
    bias = None if keep_bias else weights[:, -1].astype(np.float32)
    if bias is not None and layer.bias is None and not np.any(bias):
        bias = None
    return NewWeights(values.reshape(layer.weights.shape), promise, None, bias)


def pruned(
    problem: LayerProblem,
    sparsity: float,
    pattern: Pattern,
    criterion: Criterion,
    *,
    steps: int = STEPS,
    compensate: bool = True,
    hessian: np.ndarray | None = None,
) -> np.ndarray:
    """Weights and bias (out, K + 1) with a share of the runs of weights set to zero.

    OBS removes in rounds of equal factors, and is never worse than magnitude or input-scaled magnitude with the same
    compensation. Any other criterion ranks once. What is zero already stays zero.
    """
    weights = problem.target.copy()
    alive = problem.layer.mask if problem.layer.promise.zeros or problem.layer.promise.group else None
    mask = np.ones_like(weights[:, :-1], bool) if alive is None else alive.copy()
    if criterion is not Criterion.OBS or not compensate:
        mask = pattern.mask(first_scores(problem, pattern, criterion, hessian), mask, sparsity)
        if compensate:
            return refit(problem, mask, pattern)[0]
        own = problem.layer.matrix * mask
        return np.concatenate([own, weights[:, -1:]], axis=1)
    rounds = 1 if pattern.group else max(1, steps)
    scores = first_scores(problem, pattern, criterion, None) if mask.all() else refit(problem, mask, pattern)[1]
    for turn in range(1, rounds + 1):
        share = sparsity if turn == rounds else 1.0 - (1.0 - sparsity) ** (turn / rounds)
        mask = pattern.mask(scores, mask, share)
        weights, scores = refit(problem, mask, pattern, score=turn < rounds)
    if alive is not None:
        return weights
    others = (Criterion.INPUT, Criterion.MAGNITUDE)  # greedy removal has no guarantee: never worse than these
    candidates = [weights, *(pruned(problem, sparsity, pattern, other) for other in others)]
    return min(candidates, key=lambda found: _damped_error(problem, found))


def _damped_error(problem: LayerProblem, weights: np.ndarray) -> float:
    lost = problem.by_group(weights - problem.target)
    return float((np.matmul(lost, problem.damped) * lost).sum())


def first_scores(
    problem: LayerProblem, pattern: Pattern, criterion: Criterion, hessian: np.ndarray | None
) -> np.ndarray:
    """Scores before anything is removed: (out, K), or (out, runs) with blocks."""
    if criterion is Criterion.OBS:
        weights, found = problem.target[:, :-1], []
        for gram, rows in zip(problem.damped, problem.by_group(weights), strict=True):
            inverse = np.linalg.inv(gram)[:-1, :-1]
            found.append(_obs_scores(rows, np.broadcast_to(inverse, (1, *inverse.shape)), pattern))
        return np.concatenate(found)
    scores = saliency(problem, criterion, hessian)
    return scores if pattern.block == 1 else np.square(pattern.runs(scores)).sum(axis=2)


def _obs_scores(rows: np.ndarray, inverse: np.ndarray, pattern: Pattern) -> np.ndarray:
    """w_B^T ([H^-1]_BB)^-1 w_B / 2 of each run; `inverse` is (1 or rows, K, K)."""
    if pattern.block == 1:
        return rows**2 / (2 * np.einsum("rii->ri", inverse))
    length, width = pattern.block, rows.shape[1]
    scores: list[np.ndarray] = []
    for start in range(0, width, length):
        part = slice(start, min(start + length, width))
        solved = np.linalg.solve(inverse[:, part, part], rows[:, part, None])[..., 0]
        scores.append((solved * rows[:, part]).sum(axis=1) / 2)
    return np.stack(scores, axis=1)


def refit(
    problem: LayerProblem, mask: np.ndarray, pattern: Pattern, *, score: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The best weights and bias on the support `mask`, (out, K + 1), and the OBS scores of what is on it.

    Each output channel has a support of its own: one factorisation each (exact, no sequence of removals).
    """
    from scipy.linalg import cho_factor, cho_solve
    from scipy.linalg.lapack import dpotri

    target = problem.target
    weights = np.zeros_like(target)
    runs = pattern.runs(mask).shape[1]
    scores = np.zeros((len(mask), runs))
    per_group, size = len(target) // problem.layer.groups, mask.shape[1]
    for row, keep in enumerate(mask):
        gram = problem.damped[row // per_group]
        live = np.append(np.flatnonzero(keep), size)
        gone = np.flatnonzero(~keep)
        factor = cho_factor(gram[np.ix_(live, live)], lower=True, check_finite=False)
        moved = gram[np.ix_(live, gone)] @ target[row, gone]
        weights[row, live] = target[row, live] + cho_solve(factor, moved, check_finite=False)
        if score:
            inverse = dpotri(factor[0], lower=1)[0]
            if pattern.block == 1:
                scores[row, live[:-1]] = weights[row, live[:-1]] ** 2 / (2 * np.diag(inverse)[:-1])
            else:
                scores[row] = _row_scores(weights[row], inverse, live[:-1], pattern.block, runs)
    return weights, scores


def _row_scores(weights: np.ndarray, inverse: np.ndarray, live: np.ndarray, length: int, runs: int) -> np.ndarray:
    """OBS scores of the blocks of one output channel; `inverse` is that of its support, lower triangle valid."""
    scores = np.zeros(runs)
    if len(live) == 0:
        return scores
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    block = live // length
    starts = np.flatnonzero(np.r_[True, np.diff(block) > 0])
    for start, end in zip(starts, np.append(starts[1:], len(live)), strict=True):
        own = weights[live[start:end]]
        scores[block[start]] = own @ np.linalg.solve(inverse[start:end, start:end], own) / 2
    return scores
