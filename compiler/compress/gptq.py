"""Weights to integers with second-order compensation: GPTQ, then coordinate descent.

Weights are rounded one input at a time; what rounding costs is moved to the inputs that are still free through the
inverse Gram matrix (Frantar et al., "Optimal Brain Compression", 2022, section 5; "GPTQ", 2023, with activation order).
Afterwards each weight in turn is set to its best level given all others, and the scales are refitted, while that
lowers the error. The bias is one more weight, which is never rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..errors import UsageError
from ..ir.affine import TINY
from ..ir.graph import Graph
from ..passes.base import Preserves
from .grids import Grid, Grids, best_scales, pick_grid
from .layers import NewWeights, WeightLayer, check_names, refuse_tied
from .reconstruction import LayerProblem, compress_layers

SCALE_WORK = 1 << 19
"""Weights times scales tried for a layer; small layers, where rounding hurts most, get more scales."""

MOST_SCALES = 48
SCALE_SPAN = (0.6, 1.3)


def grid_of(grids: Grids, layer: WeightLayer) -> Grid | None:
    """The grid chosen for a layer, or None to leave it as it is.

    Raises:
        UsageError: shared weights, which one scale for each channel would drive apart; a binary grid for pruned ones.
    """
    grid = pick_grid(grids, layer.name)
    if grid is not None:
        refuse_tied(layer, "rounding one by one")
    if grid is not None and layer.promise.clusters is not None:
        raise UsageError(
            f"layer '{layer.name}' has shared weights, which rounding one by one would separate",
            hint="round to nearest with one scale per tensor, or fix the grid before sharing",
        )
    if grid is not None and layer.promise.circulant is not None:
        raise UsageError(
            f"layer '{layer.name}' has {layer.promise.circulant}, which rounding one by one would break",
            hint="round to nearest, or name the other layers",
        )
    if grid is not None and not grid.has_zero and (layer.promise.zeros or layer.promise.group):
        raise UsageError(f"layer '{layer.name}' is pruned, and a {grid.kind.value} grid has no zero")
    return grid


@dataclass(frozen=True, slots=True, eq=False)
class Gptq:
    """Weights to integers of 8 to 2 bits with error compensation; pruned weights stay zero.

    Attributes:
        data: graph input -> (S, *shape), unlabelled.
        grids: widths or grids.
        sweeps: rounds of coordinate descent after the sequential pass.
        per_channel: one scale for each output channel; else one for the layer.
        asymmetric: each layer makes up for what the layers before it lost.
    """

    data: Mapping[str, np.ndarray]
    grids: Grids = 4
    sweeps: int = 2
    per_channel: bool = True
    asymmetric: bool = True

    name: ClassVar[str] = "gptq"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with integer weights and corrected biases."""
        if isinstance(self.grids, Mapping):
            check_names(graph, self.grids)
        return compress_layers(graph, self.data, self.solve, asymmetric=self.asymmetric)

    def solve(self, problem: LayerProblem) -> NewWeights | None:
        """Integer weights of one layer."""
        grid = grid_of(self.grids, problem.layer)
        if grid is None:
            return None
        mask = problem.layer.mask if problem.layer.promise.zeros or problem.layer.promise.group else None
        target = problem.target if mask is None else fitted(problem, mask)
        weights = target[:, :-1]
        if self.per_channel:
            scales = best_scales(weights, grid, problem.importance)
        else:
            one = best_scales(weights.reshape(1, -1), grid, problem.importance.reshape(1, -1))
            scales = np.repeat(one, len(weights))
        least = problem.least_scale if self.per_channel else TINY
        scales = np.maximum(scales, least).astype(np.float32).astype(np.float64)
        raw, scales, bias = quantized_rows(problem, target, scales, grid, mask, self.sweeps, refit=self.per_channel)
        return integer_weights(problem.layer, raw, scales if self.per_channel else scales[0], grid, bias)


def integer_weights(
    layer: WeightLayer, raw: np.ndarray, scales: np.ndarray, grid: Grid, bias: np.ndarray | None
) -> NewWeights:
    """New weights from raw values (out, K); a bias is added only where it is not zero."""
    element = grid.element(scales)
    promise = replace(layer.promise, width=grid.storage, clusters=grid.clusters)
    if bias is not None and layer.bias is None and not np.any(bias):
        bias = None
    return NewWeights(raw.reshape(layer.weights.shape), promise, element, bias)


def fitted(problem: LayerProblem, mask: np.ndarray) -> np.ndarray:
    """Real weights and bias (out, K + 1), zero outside `mask` (out, K), with the least squared error.

    Each output channel is a least-squares problem of its own on its own support (exact OBS compensation).
    """
    target, solved = problem.target, problem.target.copy()
    per_group = len(target) // problem.layer.groups
    for row, keep in enumerate(mask):
        gram = problem.damped[row // per_group]
        gone = np.flatnonzero(~keep)
        if len(gone) == 0:
            continue
        live = np.append(np.flatnonzero(keep), len(keep))
        change = np.linalg.solve(gram[np.ix_(live, live)], gram[np.ix_(live, gone)] @ target[row, gone])
        solved[row, gone] = 0.0
        solved[row, live] += change
    return solved


def quantized_rows(
    problem: LayerProblem,
    start: np.ndarray,
    scales: np.ndarray,
    grid: Grid,
    mask: np.ndarray | None,
    sweeps: int,
    *,
    refit: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Raw weights, scales and bias of all output channels, never worse than rounding `start` to nearest.

    Args:
        start: (out, K + 1) real weights and bias, zero outside `mask`.
        scales: (out,).
        refit: whether scales may change, channel by channel.

    Returns:
        raw (out, K) int64, scales (out,), bias (out,).
    """
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    room = SCALE_WORK // max(start.size, 1)
    factors = scale_factors(min(room, MOST_SCALES)) if refit else np.ones(1)
    for group, gram in enumerate(problem.damped):
        rows = np.repeat(np.arange(len(start)).reshape(problem.layer.groups, -1)[group], len(factors))
        own = None if mask is None else mask[rows]
        target, floor = problem.target[rows], problem.least_scale[rows]
        scale = np.maximum(scales[rows] * np.tile(factors, len(rows) // len(factors)), floor)
        scale = scale.astype(np.float32).astype(np.float64)
        raw = _sequential(start[rows], gram, scale, grid, own)
        nearest = grid.round(start[rows, :-1] / scale[:, None]) * (1 if own is None else own)
        better = _loss(target, gram, raw, scale) <= _loss(target, gram, nearest, scale)
        descent = _Descent(target, gram, grid, own, np.where(better[:, None], raw, nearest), scale)
        raw, scale, bias = descent.run(sweeps, refit=refit, floor=floor)
        losses = _loss(target, gram, raw, scale).reshape(-1, len(factors))
        best = np.arange(0, len(rows), len(factors)) + losses.argmin(axis=1)
        parts.append((raw[best], scale[best], bias[best]))
    joined = [np.concatenate(list(part)) for part in zip(*parts, strict=True)]
    return joined[0], joined[1], joined[2]


def scale_factors(count: int) -> np.ndarray:
    """Factors on the scale of least rounding error to try, 1 among them."""
    return np.append(np.geomspace(*SCALE_SPAN, count - 1), 1.0) if count > 3 else np.ones(1)


def best_bias(target: np.ndarray, gram: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The bias (rows,) with the least error beside weights (rows, K)."""
    lost = weights - target[:, :-1]
    return target[:, -1] - lost @ gram[:-1, -1] / gram[-1, -1]


def _loss(target: np.ndarray, gram: np.ndarray, raw: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Squared error of each row with its best bias."""
    weights = raw * scales[:, None]
    lost = np.concatenate([weights, best_bias(target, gram, weights)[:, None]], axis=1) - target
    return ((lost @ gram) * lost).sum(axis=1)


def _sequential(
    start: np.ndarray, gram: np.ndarray, scales: np.ndarray, grid: Grid, mask: np.ndarray | None
) -> np.ndarray:
    """GPTQ of the rows of one group; rows with masks of their own are done one by one on their support."""
    size = gram.shape[1] - 1
    if mask is None or mask.all():
        return _sweep(start, gram, scales, grid)
    raw = np.zeros((len(start), size), np.int64)
    for row, keep in enumerate(mask):
        live = np.flatnonzero(keep)
        if len(live):
            both = np.append(live, size)
            raw[row, live] = _sweep(start[row : row + 1, both], gram[np.ix_(both, both)], scales[row : row + 1], grid)[
                0
            ]
    return raw


def _sweep(start: np.ndarray, gram: np.ndarray, scales: np.ndarray, grid: Grid) -> np.ndarray:
    """Round all columns but the last (the bias), the most active input first."""
    size = gram.shape[0] - 1
    order = np.append(np.argsort(-np.diag(gram)[:size], kind="stable"), size)
    factor = np.linalg.cholesky(np.linalg.inv(gram[np.ix_(order, order)])).T
    weights = np.ascontiguousarray(start[:, order].T)  # one input a row: every step works on whole rows
    raw = np.zeros((size, len(start)), np.int64)
    for place in range(size):
        level = grid.round(weights[place] / scales)
        raw[order[place]] = level
        lost = (weights[place] - level * scales) / factor[place, place]
        weights[place + 1 :] -= factor[place, place + 1 :, None] * lost
    return raw.T


@dataclass(slots=True, eq=False)
class _Descent:
    """Coordinate descent of the rows of one group: each step sets one weight of every row to its best level.

    Attributes:
        target: (rows, K + 1).
        gram: (K + 1, K + 1).
        raw: (rows, K), changed in place of steps.
        scales: (rows,).
    """

    target: np.ndarray
    gram: np.ndarray
    grid: Grid
    mask: np.ndarray | None
    raw: np.ndarray
    scales: np.ndarray

    def run(self, sweeps: int, *, refit: bool, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(raw, scales, bias) after at most `sweeps` rounds; every step lowers the error or leaves it."""
        self.raw = self.raw.copy()
        bias = self._best_bias()
        for _ in range(sweeps):
            before = self.raw.copy()
            bias = self._round(bias)
            if refit:
                self._refit(floor)
                bias = self._best_bias()
            if np.array_equal(before, self.raw):
                break
        return self.raw, self.scales, bias

    def _values(self, bias: np.ndarray) -> np.ndarray:
        return np.concatenate([self.raw * self.scales[:, None], bias[:, None]], axis=1)

    def _best_bias(self) -> np.ndarray:
        return best_bias(self.target, self.gram, self.raw * self.scales[:, None])

    def _round(self, bias: np.ndarray) -> np.ndarray:
        slope = np.ascontiguousarray(((self._values(bias) - self.target) @ self.gram).T)
        diagonal, size = np.diag(self.gram), self.gram.shape[0] - 1
        for place in np.argsort(-diagonal[:size], kind="stable"):
            old = self.raw[:, place]
            level = self.grid.round(old - slope[place] / (diagonal[place] * self.scales))
            if self.mask is not None:
                level = level * self.mask[:, place]
            if np.array_equal(level, old):
                continue
            slope += self.gram[place][:, None] * ((level - old) * self.scales)
            self.raw[:, place] = level
        return bias - slope[-1] / diagonal[-1]

    def _refit(self, floor: np.ndarray) -> None:
        """The least-squares scale of each row for its raw values (in binary32, as types hold them), bias left free."""
        size = self.gram.shape[0] - 1
        centre = self.gram[:size, :size] - np.outer(self.gram[:size, -1], self.gram[-1, :size]) / self.gram[-1, -1]
        power = ((self.raw @ centre) * self.raw).sum(axis=1)
        match = ((self.raw @ centre) * self.target[:, :size]).sum(axis=1)
        scales = np.divide(match, power, out=self.scales.copy(), where=power > 0.0)
        usable = scales > np.maximum(floor, TINY)
        self.scales = np.where(usable, np.float64(np.float32(np.where(usable, scales, 1.0))), self.scales)
