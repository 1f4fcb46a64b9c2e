"""Fitting products of small tensors to a weight tensor, in the metric of the inputs.

The error of weights W against target T, both (out, K), is tr((W - T) C (W - T)^T) with C the covariance of the layer's
inputs: what the layer's outputs lose. Every scheme of low rank is multilinear in its factors, so one factor after the
other is a least-squares problem (alternating least squares).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SWEEPS = 6
"""Times every factor is fitted."""

STEPS = 10
"""Conjugate-gradient steps for one factor."""

RIDGE = 1e-6
"""Share of the mean diagonal added where a system is solved directly."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A product to be fitted.

    Attributes:
        equation: einsum of the factors to (out, kh, kw, in), such as 'rijc,or->oijc'; the first index of the last
            factor is the output channel.
        target: (out, kh, kw, in), float64.
        metric: covariance of the inputs, (K, K) with K = kh * kw * in; or None for the plain squared error.
    """

    equation: str
    target: np.ndarray
    metric: np.ndarray | None = None

    def product(self, factors: Sequence[np.ndarray]) -> np.ndarray:
        """The weights the factors stand for, (out, kh, kw, in)."""
        found: np.ndarray = np.einsum(self.equation, *factors, optimize=True)
        return found

    def weighed(self, weights: np.ndarray) -> np.ndarray:
        """Weights (..., kh, kw, in) times the metric."""
        if self.metric is None:
            return weights
        found: np.ndarray = (weights.reshape(-1, len(self.metric)) @ self.metric).reshape(weights.shape)
        return found

    def error(self, factors: Sequence[np.ndarray]) -> float:
        """Squared error of the product."""
        lost = self.product(factors) - self.target
        return float((lost * self.weighed(lost)).sum())

    def refined(self, factors: Sequence[np.ndarray], sweeps: int = SWEEPS) -> list[np.ndarray]:
        """Better factors from a start; the error never rises."""
        best = [np.asarray(factor, np.float64) for factor in factors]
        least = self.error(best)
        for _ in range(sweeps):
            found = list(best)
            for index in range(len(found) - 1):
                found[index] = self._descended(found, index)
            found[-1] = self._last(found)
            error = self.error(found)
            if not error < least * (1.0 - 1e-4):
                return found if error < least else best
            best, least = found, error
        return best

    def _gradient(self, factors: Sequence[np.ndarray], index: int, weights: np.ndarray) -> np.ndarray:
        """The adjoint of `product` in one factor, at weights (out, kh, kw, in)."""
        inputs, output = self.equation.split("->")
        names = inputs.split(",")
        others = [name for place, name in enumerate(names) if place != index]
        operands = [factor for place, factor in enumerate(factors) if place != index]
        found: np.ndarray = np.einsum(
            f"{','.join([*others, output])}->{names[index]}", *operands, weights, optimize=True
        )
        return found

    def _descended(self, factors: Sequence[np.ndarray], index: int) -> np.ndarray:
        """One factor after a few steps of conjugate gradients (Hestenes, Stiefel 1952)."""

        def product(factor: np.ndarray) -> np.ndarray:
            return self.product([*factors[:index], factor, *factors[index + 1 :]])

        value = factors[index]
        left = self._gradient(factors, index, self.weighed(self.target - product(value)))
        direction, size = left, float((left * left).sum())
        for _ in range(STEPS):
            if size <= 1e-30:
                break
            moved = product(direction)
            weighed = self.weighed(moved)
            curvature = float((moved * weighed).sum())
            if curvature <= 0.0:
                break
            step = size / curvature
            value = value + step * direction
            left = left - step * self._gradient(factors, index, weighed)
            size, before = float((left * left).sum()), size
            direction = left + size / before * direction
        return value

    def _last(self, factors: Sequence[np.ndarray]) -> np.ndarray:
        """The last factor that is best for the others: one linear system for all output channels."""
        shape = factors[-1].shape[1:]
        count = int(np.prod(shape))
        basis = self.product([*factors[:-1], np.eye(count).reshape(count, *shape)]).reshape(count, -1)
        weighed = self.weighed(basis.reshape(count, *self.target.shape[1:])).reshape(count, -1)
        system = weighed @ basis.T
        system[np.diag_indices(count)] += RIDGE * np.trace(system) / count + 1e-30
        right = weighed @ self.target.reshape(len(self.target), -1).T
        solved: np.ndarray = np.linalg.solve(system, right).T.reshape(len(self.target), *shape)
        return solved


def whitened_svd(target: np.ndarray, rank: int, metric: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The best product (rank, K), (out, rank) for a matrix (out, K) in the metric of its inputs.

    The singular value decomposition of T C^(1/2), where C^(1/2) whitens the inputs (as in SVD-LLM, Wang et al. 2024;
    without a metric Eckart, Young 1936). The first factor has orthonormal rows in the whitened space.
    """
    if metric is None:
        u, s, vt = np.linalg.svd(target, full_matrices=False)
        return vt[:rank], u[:, :rank] * s[:rank]
    values, vectors = np.linalg.eigh(metric)
    values = np.maximum(values, 1e-9 * max(float(values[-1]), 1e-30))
    root = np.sqrt(values)
    u, s, vt = np.linalg.svd((target @ vectors) * root, full_matrices=False)
    return (vt[:rank] / root) @ vectors.T, u[:, :rank] * s[:rank]
