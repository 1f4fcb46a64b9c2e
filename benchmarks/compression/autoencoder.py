"""ad01, the MLPerf Tiny autoencoder, pruned to a fifth and distilled without labels and without a softmax.

The corpus has no machine sounds. Inputs are made from the network itself: noise of the level of log-mel spectra in
decibels is passed through the network four times, which brings it to spectra the network reproduces (their mean
squared reconstruction error is about 0.6 where their variance is 12), and a little noise is added. What is told is the
loss on other such inputs.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from boardfit.compress.layers import NewWeights, replace_weights, weight_layers
from boardfit.frontend import load_model
from boardfit.interp import run
from boardfit.ir import Graph
from boardfit.ir.encoding import Compressed
from boardfit.pipeline import canonicalize
from boardfit.train.losses import OutputError
from boardfit.train.options import Constraints, TrainingData, TrainOptions
from boardfit.train.pruning import GradualPruning
from boardfit.train.trainer import Training

from .. import corpus
from ..results import Row

DENSITY = 0.2
LEVEL, SPREAD, NOISE = -30.0, 20.0, 0.5
PASSES = 4
SAMPLES = 4096


def spectra(graph: Graph, count: int, seed: int) -> np.ndarray:
    """Inputs (count, 1, 640) the network reproduces, with a little noise."""
    random = np.random.default_rng([corpus.SEED, seed])
    x = (LEVEL + SPREAD * random.standard_normal((count, *graph.types[graph.inputs[0]].shape))).astype(np.float32)
    for _ in range(PASSES):
        x = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
    return (x + NOISE * random.standard_normal(x.shape)).astype(np.float32)


def reconstruction_loss(graph: Graph, x: np.ndarray) -> float:
    """Mean squared error between input and output."""
    y = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
    return float(np.mean(np.square(y.astype(np.float64) - x)))


def magnitude_pruned(graph: Graph, density: float) -> Graph:
    """Every layer keeps its largest weights; no training."""
    changes: dict[str, NewWeights] = {}
    for layer in weight_layers(graph):
        size = np.abs(layer.weights)
        mask = size >= np.quantile(size, 1.0 - density)
        changes[layer.name] = NewWeights(layer.weights * mask, Compressed(zeros=int((~mask).sum())))
    return replace_weights(graph, changes)


def run_autoencoder(seed: int, folder: Path, *, progress: bool) -> list[Row]:
    """One row: losses of the original, of the pruned and of the distilled network."""
    graph = canonicalize(load_model(corpus.model_path("ad01")))
    name = graph.inputs[0]
    data = TrainingData({name: spectra(graph, SAMPLES, seed)})
    other = spectra(graph, SAMPLES // 4, seed + 1000)
    start = time.perf_counter()
    pruned = magnitude_pruned(graph, DENSITY)
    training = Training(
        graph,
        data,
        (OutputError(),),
        TrainOptions(40, 128, 1e-3, hold=0.5, seed=seed),
        Constraints(pruning=GradualPruning(DENSITY, end=0.4, every=20)),
        teacher=graph,
        checkpoint=folder / "distilled.npz",
    )
    distilled = training.run(progress=progress).graph
    kept = [np.count_nonzero(layer.weights) for layer in weight_layers(distilled)]
    losses = [reconstruction_loss(net, other) for net in (graph, pruned, distilled)]
    return [
        {
            "case": "ad01",
            "recipe": "20 % density, distilled",
            "seed": seed,
            "density": round(sum(kept) / sum(layer.weights.size for layer in weight_layers(graph)), 4),
            "loss": round(losses[0], 4),
            "pruned_loss": round(losses[1], 4),
            "distilled_loss": round(losses[2], 4),
            "recovered": round((losses[1] - losses[2]) / (losses[1] - losses[0]), 4),
            "seconds": round(time.perf_counter() - start, 1),
        }
    ]
