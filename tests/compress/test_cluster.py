"""Weight sharing: optimality in one dimension, the zero cluster, and the promises of the pass."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.compress.cluster import ShareWeights, Start, TieWeights, cluster_values, hashed_indices
from boardfit.compress.layers import weight_layers
from boardfit.errors import UsageError
from boardfit.ir import Compressed, Graph, GraphEditor, Source, TensorType
from boardfit.ops.dense import DenseAttrs
from boardfit.pipeline import run_passes

VALUES = st.lists(st.integers(-50, 50).map(lambda n: n / 8), min_size=1, max_size=9)


def network(weights: np.ndarray, encoding: Compressed | None = None) -> Graph:
    editor = GraphEditor.empty("net")
    x = editor.add_input("x", TensorType((1, weights.shape[1])))
    constant = editor.add_constant("w", weights.astype(np.float32), encoding=encoding or Compressed())
    node = editor.add_node("Dense", [x, constant], DenseAttrs(), Source("net.onnx", "fc", "Gemm"), name="fc")
    editor.outputs = [node.outputs[0]]
    return editor.finish()


def least_error(values: np.ndarray, mass: np.ndarray, clusters: int) -> float:
    """The optimum by trying every way to cut the sorted values into intervals."""
    order = np.argsort(values)
    values, mass = values[order], mass[order]
    best = np.inf
    for count in range(min(clusters, len(values))):
        for cuts in itertools.combinations(range(1, len(values)), count):
            error = 0.0
            for part in np.split(np.arange(len(values)), cuts):
                if mass[part].sum() > 0:
                    mean = np.average(values[part], weights=mass[part])
                    error += float((mass[part] * (values[part] - mean) ** 2).sum())
            best = min(best, error)
    return best


@given(VALUES, st.integers(1, 5))
@settings(deadline=None, max_examples=150)
def test_exact_clusters_are_optimal(numbers: list[float], clusters: int) -> None:
    values = np.asarray(numbers)
    mass = np.random.default_rng(len(numbers) * 7 + clusters).integers(1, 5, len(values)).astype(float)
    book = cluster_values(values, clusters, start=Start.EXACT, importance=mass, keep_zero=False)
    error = float((mass * (book.values - values) ** 2).sum())
    assert len(book.centroids) <= clusters
    assert error == pytest.approx(least_error(values, mass, clusters), abs=1e-9)


@pytest.mark.parametrize("start", list(Start))
@pytest.mark.parametrize("size", [1, 7, 300])
def test_every_start_is_at_least_as_good_as_one_round_of_its_own(start: Start, size: int) -> None:
    values = np.random.default_rng(size).standard_normal(size)
    book = cluster_values(values, 8, start=start)
    assert len(book.centroids) <= 8
    assert np.all(np.diff(book.centroids) > 0)
    for index, centroid in enumerate(book.centroids):  # a fixed point: centroids are means, values go to the nearest
        assert centroid == pytest.approx(values[book.indices == index].mean(), abs=1e-12)
    distance = np.abs(values[:, None] - book.centroids)
    assert np.allclose(distance.min(axis=1), np.abs(values - book.values))


def test_exact_is_never_worse_than_the_other_starts() -> None:
    values = np.random.default_rng(3).laplace(size=2000)
    errors = {s: float(((cluster_values(values, 16, start=s).values - values) ** 2).sum()) for s in Start}
    assert errors[Start.EXACT] <= min(errors.values()) * (1 + 1e-9)


def test_zeros_stay_zero_and_are_counted() -> None:
    values = np.random.default_rng(1).standard_normal((20, 30))
    values[np.random.default_rng(2).random(values.shape) < 0.7] = 0.0
    for start in Start:
        book = cluster_values(values, 4, start=start)
        assert np.array_equal(book.values == 0.0, values == 0.0)
        assert len(book.centroids) == 4


def test_importance_moves_the_centroids() -> None:
    values = np.array([0.0, 1.0, 10.0])
    heavy = cluster_values(values, 2, start=Start.EXACT, importance=np.array([1.0, 1.0, 0.001]), keep_zero=False)
    assert heavy.centroids[0] == 0.0 and heavy.centroids[1] == pytest.approx(1.009 / 1.001, abs=1e-2)


def test_too_few_clusters_are_refused() -> None:
    with pytest.raises(UsageError, match="too few"):
        cluster_values(np.array([0.0, 1.0]), 1)


def test_the_pass_promises_what_it_made() -> None:
    weights = np.random.default_rng(0).standard_normal((6, 16))
    weights[:, ::2] = 0.0
    graph = run_passes(network(weights, Compressed(zeros=48)), [ShareWeights({"fc": 5})]).graph
    layer = weight_layers(graph)[0]
    assert layer.encoding == Compressed(8, zeros=48, clusters=5)
    assert len(np.unique(layer.weights)) == 5


def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(UsageError, match="fc9"):
        ShareWeights({"fc9": 4})(network(np.ones((2, 3))))


def test_tied_weights_follow_the_hash() -> None:
    weights = np.random.default_rng(0).standard_normal((40, 50))
    graph = run_passes(network(weights), [TieWeights(8, seed=5)]).graph
    layer = weight_layers(graph)[0]
    bucket, sign = hashed_indices((40, 50), 8, 5)
    assert len(np.unique(np.abs(layer.weights))) == 8
    for index in range(8):
        assert len(np.unique((layer.weights * sign)[bucket == index])) == 1
    counts = np.bincount(bucket.reshape(-1))
    assert counts.min() > 200 and abs(sign.mean()) < 0.1


def splitmix64(state: int) -> int:
    """The published generator, with Python's integers."""
    mask = (1 << 64) - 1
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)


def test_the_hash_is_the_published_one() -> None:
    bucket, sign = hashed_indices((2, 3), 100, 4)
    for place in range(6):
        state = splitmix64(((place + 1 + 4 * 7) * 0x9E3779B97F4A7C15) & ((1 << 64) - 1))
        assert bucket.reshape(-1)[place] == (state >> 1) % 100
        assert sign.reshape(-1)[place] == 1 - 2 * (state & 1)


def test_buckets_are_a_number_or_a_share() -> None:
    weights = np.random.default_rng(0).standard_normal((40, 50))
    for asked, expected in ((0.01, 20), (1e-6, 1), (1, 1), (3.0, 3)):
        (layer,) = weight_layers(TieWeights(asked)(network(weights)))
        assert len(np.unique(np.abs(layer.weights))) == expected
    for wrong in (0, -0.5, 2.5):
        with pytest.raises(UsageError, match="give at least 1, or a share below 1"):
            TieWeights(wrong)(network(weights))
