"""Weights to integers by learned rounding: each weight goes up or down so that the layer's activations come out right.

Nagel et al., "Up or down? Adaptive rounding for post-training quantization" (2020), section 3: a rectified sigmoid in
the place of the rounding, a regulariser that drives it to 0 or 1, Adam, and the layer's activation in the objective
(asymmetric: inputs from the network quantized so far, outputs of the original). It starts from what GPTQ found and is
taken only where the activations come closer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..ir.graph import Graph
from ..numerics import dequantize_affine
from ..passes.base import Preserves
from .gptq import Gptq, grid_of, integer_weights
from .grids import GridKind, Grids
from .layers import NewWeights, check_names
from .reconstruction import LayerProblem, compress_layers, joined

STRETCH_LOW, STRETCH_HIGH = -0.1, 1.1
"""The sigmoid is stretched to this interval and clipped to 0..1, so that it reaches both ends."""

BETA_START, BETA_END = 20.0, 2.0
WARM_UP = 0.2
"""Share of the steps without regulariser."""

REGULARIZER = 0.02
"""Its weight, relative to the mean squared activation of the layer."""

CONFIDENCE = 0.75
"""How open the rounding is at the start: the chosen neighbour has this share."""


@dataclass(frozen=True, slots=True, eq=False)
class AdaRound:
    """Weights to integers with learned rounding; pruned weights stay zero.

    Attributes:
        data: graph input -> (S, *shape), unlabelled.
        grids: widths (uniform grids only).
        steps: steps of Adam for each layer.
        batch: positions in a step.
        rate: learning rate of the rounding variables.
        seed: of the batches.
        asymmetric: each layer makes up for what the layers before it lost.
    """

    data: Mapping[str, np.ndarray]
    grids: Grids = 4
    steps: int = 600
    batch: int = 512
    rate: float = 0.02
    seed: int = 0
    asymmetric: bool = True

    name: ClassVar[str] = "adaround"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with integer weights and corrected biases."""
        if isinstance(self.grids, Mapping):
            check_names(graph, self.grids)
        return compress_layers(graph, self.data, self.solve, asymmetric=self.asymmetric)

    def solve(self, problem: LayerProblem) -> NewWeights | None:
        """Integer weights of one layer."""
        start = Gptq(self.data, self.grids, asymmetric=self.asymmetric).solve(problem)
        grid = grid_of(self.grids, problem.layer)
        if start is None or grid is None or grid.kind is not GridKind.UNIFORM or problem.layer.depthwise:
            return start  # a depthwise channel has a handful of weights: coordinate descent has settled them
        assert start.element is not None
        scales = np.asarray(start.element.scale, np.float64)
        bias = np.zeros(len(scales)) if start.bias is None else start.bias.astype(np.float64)
        raw = start.values.reshape(len(start.values), -1).astype(np.int64)
        learned = _Rounding.make(problem, raw, scales, bias, grid.levels)
        learned.descend(self.steps, self.batch, self.rate, np.random.default_rng(self.seed))
        rounded = integer_weights(problem.layer, learned.rounded(), scales, grid, learned.bias)
        assert rounded.element is not None
        before = activation_errors(problem, joined(start, bias))
        new_values = dequantize_affine(rounded.values, rounded.element).reshape(len(raw), -1)
        after = activation_errors(problem, np.concatenate([new_values, learned.bias[:, None]], axis=1))
        better = after < before
        values = np.where(better[:, None], learned.rounded(), raw)
        return integer_weights(problem.layer, values, scales, grid, np.where(better, learned.bias, bias))


def activation_errors(problem: LayerProblem, weights: np.ndarray) -> np.ndarray:
    """Mean squared error of each output channel behind the activation, (out,), of weights and bias (out, K + 1)."""
    clamp = problem.layer.activation.apply
    lost = clamp(problem.outputs(weights)) - clamp(problem.outputs(original=True))
    return np.square(lost, dtype=np.float64).mean(axis=1).reshape(-1)


@dataclass(slots=True, eq=False)
class _Rounding:
    """Rounding variables of one layer.

    Attributes:
        below: (groups, out / groups, K) lower neighbour of each weight.
        variables: the same shape; the rectified sigmoid of one is how much of a step is added.
        bias: (out,).
        frozen: weights that stay at `below`.
    """

    problem: LayerProblem
    below: np.ndarray
    variables: np.ndarray
    bias: np.ndarray
    scales: np.ndarray
    frozen: np.ndarray

    @classmethod
    def make(
        cls, problem: LayerProblem, raw: np.ndarray, scales: np.ndarray, bias: np.ndarray, levels: np.ndarray
    ) -> _Rounding:
        """Open at the given rounding; the other neighbour is the one on the target's side."""
        ideal = problem.target[:, :-1] / scales[:, None]
        up = (ideal >= raw) & (raw < levels[-1]) | (raw <= levels[0])
        frozen = np.zeros(raw.shape, bool)
        if problem.layer.promise.zeros or problem.layer.promise.group:
            frozen = ~problem.layer.mask
        below = np.where(frozen | up, raw, raw - 1)
        share = np.where(up, 1.0 - CONFIDENCE, CONFIDENCE)
        sigmoid = (share - STRETCH_LOW) / (STRETCH_HIGH - STRETCH_LOW)
        variables = np.log(sigmoid / (1.0 - sigmoid))
        group = problem.by_group
        return cls(problem, group(below), group(variables), bias.copy(), group(scales), group(frozen))

    def rounded(self) -> np.ndarray:
        """Raw weights (out, K)."""
        up = (_rectified(self.variables)[0] >= 0.5) & ~self.frozen
        return (self.below + up).reshape(len(self.bias), -1)

    def descend(self, steps: int, batch: int, rate: float, random: np.random.Generator) -> None:
        """Adam on the rounding and the bias."""
        problem = self.problem
        x = problem.rows_of()[..., :-1]
        clamp = problem.layer.activation
        wanted = clamp.apply(problem.outputs(original=True))
        bias = problem.by_group(self.bias)[:, None, :].astype(np.float64)
        power = float(np.square(wanted).mean()) + 1e-12
        moments = [np.zeros((2, *array.shape)) for array in (self.variables, bias)]
        bias_rate = rate * 0.05 * float(np.sqrt(power))
        for step in range(1, steps + 1):
            rows = random.integers(0, x.shape[1], min(batch, x.shape[1]))
            share, slope = _rectified(self.variables)
            weights = (self.below + np.where(self.frozen, 0.0, share)) * self.scales[..., None]
            before = x[:, rows] @ weights.transpose(0, 2, 1).astype(np.float32) + bias.astype(np.float32)
            lost = (clamp.apply(before) - wanted[:, rows]) * ((before > clamp.low) & (before < clamp.high))
            lost = lost / np.float32(power * len(rows))
            gradient = (lost.transpose(0, 2, 1) @ x[:, rows]) * self.scales[..., None] * slope
            gradient += REGULARIZER / share.shape[1] / share.shape[2] * _pull(share, step / steps) * slope
            gradient[self.frozen] = 0.0
            self.variables -= rate * _adam(moments[0], gradient, step)
            bias -= bias_rate * _adam(moments[1], lost.sum(axis=1, keepdims=True), step)
        self.bias = bias.reshape(-1)


def _rectified(variables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The stretched and clipped sigmoid, and its slope."""
    sigmoid = 1.0 / (1.0 + np.exp(-variables))
    stretched = sigmoid * (STRETCH_HIGH - STRETCH_LOW) + STRETCH_LOW
    inside = (stretched > 0.0) & (stretched < 1.0)
    return np.clip(stretched, 0.0, 1.0), inside * sigmoid * (1.0 - sigmoid) * (STRETCH_HIGH - STRETCH_LOW)


def _pull(share: np.ndarray, progress: float) -> np.ndarray:
    """Slope of 1 - |2 h - 1|^beta, beta falling from soft to sharp."""
    if progress < WARM_UP:
        return np.zeros_like(share)
    rest = (progress - WARM_UP) / (1.0 - WARM_UP)
    beta = BETA_END + 0.5 * (BETA_START - BETA_END) * (1.0 + np.cos(rest * np.pi))
    centred = 2.0 * share - 1.0
    return -2.0 * beta * np.sign(centred) * np.abs(centred) ** (beta - 1.0)


def _adam(moments: np.ndarray, gradient: np.ndarray, step: int) -> np.ndarray:
    """One step of Adam with unit rate (Kingma, Ba 2015); the moments are updated in place."""
    moments[0] = 0.9 * moments[0] + 0.1 * gradient
    moments[1] = 0.999 * moments[1] + 0.001 * gradient**2
    return (moments[0] / (1 - 0.9**step)) / (np.sqrt(moments[1] / (1 - 0.999**step)) + 1e-12)
