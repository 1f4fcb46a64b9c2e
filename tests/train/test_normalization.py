"""Batch normalization in training: its statistics, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from boardfit.compress.layers import weight_layers
from boardfit.compress.share_filters import ShareFilters
from boardfit.errors import UsageError
from boardfit.train.losses import Labels
from boardfit.train.network import Network
from boardfit.train.normalization import EPSILON, MOMENTUM
from boardfit.train.options import Constraints, TrainingData, TrainOptions
from boardfit.train.trainer import Training

from .networks import image_network

tensorflow = pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install 'boardfit[train]'")


def images(count: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).uniform(size=(count, 1, 12, 12, 1)).astype(np.float32)}


@pytest.mark.parametrize("samples", [3, 40])
def test_a_batch_is_normalized_by_its_own_mean_and_variance(samples: int) -> None:
    """Variances are of the batch itself (divided by its size), as in the paper and as before the fused operation."""
    graph = image_network()
    network = Network(graph, normalize=images(300))
    first = weight_layers(graph)[0]
    norm = network.normalizations[first.name]
    start = norm.mean.numpy(), norm.variance.numpy()
    batch = tensorflow.constant(images(samples)["x"])
    weights = tensorflow.constant(first.weights[None])
    linear = replace(norm, layer=replace(first, node=norm.sums))
    sums = tensorflow.nn.conv2d(batch[:, 0], tensorflow.transpose(weights[0], [1, 2, 3, 0]), 1, "VALID").numpy()
    found = linear.apply(graph, [batch, weights], training=True).numpy().reshape(-1, len(first.weights))
    sums = sums.reshape(-1, len(first.weights))
    mean, variance = sums.mean(axis=0), sums.var(axis=0)
    expected = (sums - mean) / np.sqrt(variance + EPSILON) * norm.factor.numpy() + norm.offset.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    for average, old, new in ((norm.mean, start[0], mean), (norm.variance, start[1], variance)):
        np.testing.assert_allclose(average.numpy(), MOMENTUM * old + (1 - MOMENTUM) * new, rtol=1e-4, atol=1e-6)


def test_shared_weights_are_not_normalized_channel_by_channel() -> None:
    data = images(60)
    tied = ShareFilters(data, ("negation",), {"*": 0.5})(image_network())
    labels = np.arange(60, dtype=np.int64) % 2
    training = Training(
        tied, TrainingData(data, labels), (Labels(),), TrainOptions(epochs=1, batch=20), Constraints(normalize=True)
    )
    with pytest.raises(UsageError, match="shares weights among its channels"):
        training.run()
