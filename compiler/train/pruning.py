"""Gradual pruning while training: which weights go, and when.

Schedule: Zhu, Gupta, "To prune, or not to prune" (2017), the cubic one. Saliency |w| * rms(x): the size of what a
weight adds to its sum (as in Sun et al. 2023, "Wanda", taken here during training). To compare layers it is told as a
share of the size of the layer's sums: scaling a layer up and the next one down changes nothing then, and the few
weights of a convolution count for more than the many of a dense layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ..compress.layers import pick
from ..errors import UsageError

INPUT_FLOOR = 0.05
"""Share of a layer's rms input that every input counts for at least: an input that is rarely on may still decide."""


class Saliency(str, Enum):
    """What a weight is worth."""

    MAGNITUDE = "magnitude"  # |w|
    INPUT = "input"  # |w| * rms of the input it multiplies, over the rms such sums have in the layer


@dataclass(frozen=True, slots=True, eq=False)
class GradualPruning:
    """Prune in small steps while training goes on.

    Attributes:
        density: share of weights that stay in the end: of all weights together, or of each layer by name or pattern
            (layers that are not named stay whole).
        saliency: what is pruned first.
        end: share of the training steps after which the final density is reached.
        every: steps between two prunings.
        block: weights go in aligned runs of that many inputs of an output channel.
        keep, group: N:M sparsity: at most `keep` of every `group` neighbouring inputs stay; then `density` is unused.
    """

    density: float | Mapping[str, float] = 1.0
    saliency: Saliency = Saliency.INPUT
    end: float = 0.65
    every: int = 50
    block: int = 1
    keep: int = 0
    group: int = 0

    def check(self) -> None:
        """Refuse options out of range.

        Raises:
            UsageError: such an option.
        """
        densities = self.density.values() if isinstance(self.density, Mapping) else [self.density]
        if not all(0.0 < density <= 1.0 for density in densities):
            raise UsageError("density must be above 0 and at most 1")
        if not 0.0 < self.end <= 1.0 or self.every < 1 or self.block < 1:
            raise UsageError("pruning must end within the training, with at least one step between two prunings")
        if self.group and not 0 < self.keep < self.group:
            raise UsageError(f"{self.keep} of {self.group} is no N:M pattern")

    def due(self, step: int, total: int) -> bool:
        """Whether to prune before this step."""
        last = int(self.end * total)
        return step <= last and (step % self.every == 0 or step == last)

    def progress(self, step: int, total: int) -> float:
        """How far the schedule has come at this step, 0 to 1: 1 - (1 - t)**3."""
        t = min(step / max(int(self.end * total), 1), 1.0)
        return 1.0 - (1.0 - t) ** 3

    def masks(
        self,
        weights: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
        first: Mapping[str, float],
        done: float,
    ) -> dict[str, np.ndarray]:
        """Masks of this step.

        Args:
            weights: layer name -> (out, ...) masked weights.
            inputs: layer name -> rms of the inputs, broadcastable to the weights.
            first: layer name -> density when training began.
            done: see `progress`.

        Returns:
            Layer name -> bool mask; pruned weights are never in it again.
        """
        scores = {name: self._scores(w, inputs[name]) for name, w in weights.items()}
        if self.group:
            return {name: self._pattern(score, weights[name], done) for name, score in scores.items()}
        if isinstance(self.density, Mapping):
            densities = self.density
            found: dict[str, np.ndarray] = {}
            for name, score in scores.items():
                final = pick(densities, name)
                start = first[name]
                now = 1.0 if final is None else min(start, final + (start - final) * (1.0 - done))
                found[name] = _largest({name: score}, now)[name]
            return found
        sizes = {name: w.size for name, w in weights.items()}
        start = sum(first[name] * size for name, size in sizes.items()) / sum(sizes.values())
        return _largest(scores, min(start, self.density + (start - self.density) * (1.0 - done)))

    def _scores(self, weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """Saliency of each weight; of its whole block where blocks are pruned."""
        score = np.abs(weights)
        if self.saliency is Saliency.INPUT:
            score = score * (inputs + INPUT_FLOOR * np.sqrt(np.mean(np.square(inputs))))
            energy = np.square(score).reshape(len(score), -1).sum(axis=1)
            score = score / max(float(np.sqrt(energy.mean())), 1e-30)
        if self.block > 1:
            rows = _runs(score, self.block)
            norms = np.sqrt(np.square(rows).mean(axis=2, keepdims=True))
            score = np.broadcast_to(norms, rows.shape).reshape(len(rows), -1)[:, : score[0].size].reshape(score.shape)
        return score

    def _pattern(self, score: np.ndarray, weights: np.ndarray, done: float) -> np.ndarray:
        """N:M: in every group all but the `keep` best go, the least of them first as the schedule proceeds."""
        rows = _runs(score, self.group)
        keep = self.group - round((self.group - self.keep) * done)
        order = np.argsort(np.argsort(-rows, axis=2, kind="stable"), axis=2, kind="stable")
        mask = (order < keep).reshape(len(rows), -1)[:, : score[0].size].reshape(score.shape)
        return mask & (weights != 0)


def promised_zeros(mask: np.ndarray, block: int) -> int:
    """Weights outside `mask` that may be promised to stay zero: all, or those in blocks that are empty."""
    if block == 1:
        return int((~mask).sum())
    kept = _runs(mask, block).any(axis=2)
    inside = _runs(np.ones_like(mask), block).sum(axis=2)
    return int(inside[~kept].sum())


def _runs(values: np.ndarray, length: int) -> np.ndarray:
    """(out, runs, length), zeros behind the end."""
    rows = values.reshape(len(values), -1)
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % length))).reshape(len(rows), -1, length)


def _largest(scores: Mapping[str, np.ndarray], density: float) -> dict[str, np.ndarray]:
    """Masks of the largest scores over all layers together; zero scores never stay."""
    flat = np.concatenate([score.reshape(-1) for score in scores.values()])
    keep = max(1, round(density * flat.size))
    edge = np.partition(flat, flat.size - keep)[flat.size - keep]
    return {name: (score >= edge) & (score > 0) for name, score in scores.items()}
