"""What it costs to remove a weight: the criteria that pruning ranks weights by.

All scores belong to one layer's least-squares problem; a lower score goes first.
"""

from __future__ import annotations

from enum import Enum

import numpy as np

from .reconstruction import LayerProblem

DECAY_ROUNDS = 60
DECAY_KNEE = 4.0
"""Steepness of the biased decay: beta times the largest weight of the layer."""


class Criterion(str, Enum):
    """How weights are ranked."""

    MAGNITUDE = "magnitude"  # |w|
    BIASED_DECAY = "biased-decay"  # what is left after a decay that spares large weights
    INPUT = "input"  # |w| rms(input)
    OBD = "obd"  # w^2 h / 2 with the diagonal of the Hessian of the outputs
    OBS = "obs"  # w^2 / (2 [H^-1]_ii): what removal costs once all other weights have made up for it


def saliency(problem: LayerProblem, criterion: Criterion, hessian: np.ndarray | None = None) -> np.ndarray:
    """Score of each weight, (out, K), by every criterion but OBS, whose scores change as weights go.

    Args:
        hessian: diagonal Hessian of the network's outputs, (out, ...), for OBD; None takes that of the layer's output.
    """
    weights = problem.target[:, :-1]
    if criterion is Criterion.MAGNITUDE:
        return np.abs(weights)
    if criterion is Criterion.INPUT:
        return np.abs(weights) * np.sqrt(problem.importance)
    if criterion is Criterion.BIASED_DECAY:
        return biased_decay(problem)
    diagonal = problem.importance if hessian is None else hessian.reshape(weights.shape)
    return weights**2 * diagonal / 2


def biased_decay(problem: LayerProblem) -> np.ndarray:
    """Magnitudes after descending the layer's error plus the penalty sum b|w| / (1 + b|w|), (out, K).

    The penalty pulls small weights to zero and lets large ones be (Hanson, Pratt, "Comparing biases for minimal
    network construction with back-propagation", 1988). Proximal gradient steps, the penalty growing to where half of
    the weights of a layer with white inputs would vanish; weights that reached zero keep their order through a small
    share of their first magnitude.
    """
    start = problem.target[:, :-1]
    weights = start.copy()
    knee = DECAY_KNEE / max(float(np.abs(start).max(initial=0.0)), 1e-30)
    for step in range(DECAY_ROUNDS):
        parts: list[np.ndarray] = []
        for gram, rows, goal in zip(problem.damped, problem.by_group(weights), problem.by_group(start), strict=True):
            size = gram.shape[0] - 1
            length = 1.0 / float(np.abs(gram[:size, :size]).sum(axis=1).max())  # a bound on the largest eigenvalue
            strength = float(np.median(np.abs(goal))) * float(np.diag(gram)[:size].mean()) * (step + 1) / DECAY_ROUNDS
            moved = rows - length * (rows - goal) @ gram[:size, :size]
            pull = length * strength / (1.0 + knee * np.abs(moved)) ** 2
            parts.append(np.sign(moved) * np.maximum(np.abs(moved) - pull, 0.0))
        weights = np.concatenate(parts)
    return np.abs(weights) + 1e-6 * np.abs(start)
