"""Weight sharing: the weights of a layer take few distinct values, found by k-means in one dimension.

Quantization by shared values: Han, Mao, Dally, "Deep Compression" (2016), section 3 (linear, density-based and random
starts); sensitivity-weighted: Choi, El-Khamy, Lee, "Towards the limit of network quantization" (2017), section 4;
k-means++: Arthur, Vassilvitskii (2007); exact in one dimension: Wu, "Optimal quantization by matrix searching" (1991).
Tied by a hash: Chen et al., "Compressing neural networks with the hashing trick" (2015).
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
from .layers import NewWeights, WeightLayer, by_layer, pick, refuse_tied, replace_weights, weight_layers
from .least_squares_1d import optimal_clusters

ITERATIONS = 200
"""Most rounds of Lloyd's algorithm; in one dimension it settles long before."""


class Start(str, Enum):
    """How the centroids are found or started."""

    LINEAR = "linear"  # evenly spaced over the range: large weights keep centroids of their own
    DENSITY = "density"  # evenly spaced in the distribution
    KMEANS_PLUS_PLUS = "k-means++"  # drawn with probability proportional to the squared distance
    EXACT = "exact"  # the global optimum, by dynamic programming


@dataclass(frozen=True, slots=True, eq=False)
class Codebook:
    """Distinct values and which of them each weight has.

    Attributes:
        centroids: (k,) ascending.
        indices: index of each value's centroid, of the shape of the values.
    """

    centroids: np.ndarray
    indices: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """The shared values, float64."""
        return self.centroids[self.indices]


def cluster_values(
    values: np.ndarray,
    clusters: int,
    *,
    start: Start = Start.LINEAR,
    importance: np.ndarray | None = None,
    keep_zero: bool = True,
    seed: int = 0,
) -> Codebook:
    """At most `clusters` distinct values that stand for `values` with a small (weighted) squared error.

    Args:
        values: any shape, real.
        clusters: distinct values allowed, the zero included.
        importance: weight of each value's squared error (the diagonal of the Hessian), not negative; None counts all
            alike.
        keep_zero: values that are exactly zero stay exactly zero and have a cluster of their own (pruned weights);
            another value joins it only if the mean of its cluster is zero.
        seed: of the k-means++ start.

    Raises:
        UsageError: fewer than one cluster, or only one where zeros are to be kept beside other values.
    """
    flat = np.asarray(values, np.float64).reshape(-1)
    weight = np.ones_like(flat) if importance is None else np.asarray(importance, np.float64).reshape(-1)
    zero = (flat == 0.0) & keep_zero
    live = ~zero
    free = clusters - int(zero.any())
    if clusters < 1 or (free < 1 and live.any()):
        raise UsageError(
            f"{clusters} clusters are too few" + (": one is the zero of pruned weights" if zero.any() else ""),
            hint="give at least 2",
        )
    centroids = _centroids(flat[live], weight[live], free, start, seed) if live.any() else np.zeros(0)
    if zero.any():  # a centroid that came out as zero would join pruned and live weights
        centroids = np.concatenate([[0.0], centroids[centroids != 0.0]])
    order = np.argsort(centroids)
    centroids = centroids[order]
    indices = nearest(flat, centroids)
    if zero.any() and len(centroids) > 1:
        spot = int(np.flatnonzero(centroids == 0.0)[0])
        others = np.delete(np.arange(len(centroids)), spot)
        indices[live] = others[nearest(flat[live], centroids[others])]
        indices[zero] = spot
    used, indices = np.unique(indices, return_inverse=True)
    return Codebook(centroids[used], indices.reshape(np.shape(values)))


def nearest(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Index of the nearest of ascending centroids for each value; halfway goes up."""
    edges = (centroids[:-1] + centroids[1:]) / 2
    return np.searchsorted(edges, values, side="right")


def _centroids(values: np.ndarray, weight: np.ndarray, clusters: int, start: Start, seed: int) -> np.ndarray:
    """Ascending centroids of live values."""
    distinct, inverse = np.unique(values, return_inverse=True)
    mass = np.bincount(inverse.reshape(-1), weight)
    if not mass.sum() > 0.0:
        mass = np.bincount(inverse.reshape(-1)).astype(np.float64)
    if len(distinct) <= clusters:
        return distinct
    if start is Start.EXACT:
        return optimal_clusters(distinct, mass, clusters)
    return _lloyd(distinct, mass, _start(distinct, mass, clusters, start, seed))


def _start(values: np.ndarray, mass: np.ndarray, clusters: int, start: Start, seed: int) -> np.ndarray:
    if start is Start.LINEAR:
        return np.linspace(values[0], values[-1], clusters)
    if start is Start.DENSITY:
        shares = (np.cumsum(mass) - mass / 2) / mass.sum()
        return np.interp((np.arange(clusters) + 0.5) / clusters, shares, values)
    random = np.random.default_rng(seed)
    chosen = [values[random.choice(len(values), p=mass / mass.sum())]]
    distance = (values - chosen[0]) ** 2
    for _ in range(clusters - 1):
        chance = mass * distance
        if not chance.sum() > 0.0:
            break
        chosen.append(values[random.choice(len(values), p=chance / chance.sum())])
        distance = np.minimum(distance, (values - chosen[-1]) ** 2)
    return np.sort(np.asarray(chosen))


def _lloyd(values: np.ndarray, mass: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Lloyd's algorithm on ascending values: every cluster is an interval, so prefix sums give the means."""
    total = np.concatenate([[0.0], np.cumsum(mass)])
    moment = np.concatenate([[0.0], np.cumsum(mass * values)])
    for _ in range(ITERATIONS):
        ends = np.searchsorted(values, (centroids[:-1] + centroids[1:]) / 2, side="left")
        ends = np.concatenate([[0], ends, [len(values)]])
        weight = np.diff(total[ends])
        means = np.divide(np.diff(moment[ends]), weight, out=centroids.copy(), where=weight > 0.0)
        if np.array_equal(means, centroids):
            break
        centroids = np.sort(means)
    return centroids


@dataclass(frozen=True, slots=True, eq=False)
class ShareWeights:
    """Give the weights of each layer at most that many distinct values; pruned weights stay zero.

    Attributes:
        clusters: distinct values, the zero of pruned weights included: for all layers, or by layer name or pattern
            (layers that are not named stay as they are).
        start: how centroids are found.
        importance: layer name -> array of the shape of its weights (see `hessian.diagonal_hessian`); layers without
            one count all weights alike.
        seed: of the k-means++ start.
    """

    clusters: int | Mapping[str, int]
    start: Start = Start.LINEAR
    importance: Mapping[str, np.ndarray] = field(default_factory=dict)
    seed: int = 0

    name: ClassVar[str] = "share-weights"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with shared weights."""
        choices = by_layer(graph, self.clusters)
        changes: dict[str, NewWeights] = {}
        for layer in weight_layers(graph):
            clusters = pick(choices, layer.name)
            if clusters is not None:
                changes[layer.name] = self.shared(layer, clusters)
        return replace_weights(graph, changes)

    def shared(self, layer: WeightLayer, clusters: int) -> NewWeights:
        """Shared weights of one layer."""
        refuse_tied(layer, "sharing by value")
        book = cluster_values(
            layer.weights,
            clusters,
            start=self.start,
            importance=self.importance.get(layer.name),
            seed=self.seed,
        )
        values = book.centroids.astype(np.float32)[book.indices]
        return NewWeights(values, replace(layer.promise, clusters=len(np.unique(values))))


def hashed_indices(shape: tuple[int, ...], buckets: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bucket and sign of every weight of a layer, from its position alone: nothing is stored (HashedNets).

    The hash is the finaliser of SplitMix64 (Steele, Lea, Flood 2014) over seed and flat position.

    Returns:
        (bucket 0 .. buckets - 1, sign -1 or 1), int64 arrays of `shape`.
    """
    size = int(np.prod(shape, dtype=np.int64))
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is the point
        state = (np.arange(1, size + 1, dtype=np.uint64) + np.uint64(seed) * np.uint64(size + 1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    bucket = ((state >> np.uint64(1)) % np.uint64(buckets)).astype(np.int64)
    sign = 1 - 2 * (state & np.uint64(1)).astype(np.int64)
    return bucket.reshape(shape), sign.reshape(shape)


@dataclass(frozen=True, slots=True)
class TieWeights:
    """HashedNets: every weight takes, up to its sign, the value of the bucket its position hashes to.

    The value of a bucket is the mean of its weights (signs undone): the least squared error. Accuracy after this pass
    alone is poor by nature; it is where training with tied weights starts.

    Attributes:
        buckets: distinct magnitudes, or below 1 their share of a layer's weights: for all layers, or by layer name or
            pattern.
        seed: of the hash; together with the layer's place in the network it gives the positions.
    """

    buckets: int | float | Mapping[str, int | float]
    seed: int = 0

    name: ClassVar[str] = "tie-weights"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with tied weights."""
        choices = by_layer(graph, self.buckets)
        changes: dict[str, NewWeights] = {}
        for place, layer in enumerate(weight_layers(graph)):
            asked = pick(choices, layer.name)
            if asked is None:
                continue
            if not asked > 0 or (asked > 1 and asked != int(asked)):
                raise UsageError(
                    f"{asked} hash buckets for layer '{layer.name}'", hint="give at least 1, or a share below 1"
                )
            buckets = max(round(asked * layer.weights.size), 1) if asked < 1 else int(asked)
            refuse_tied(layer, "tying by a hash")
            if layer.promise.zeros:
                raise UsageError(
                    f"layer '{layer.name}' is pruned, and tied weights cannot stay zero one by one",
                    hint="tie the weights before pruning, or share them by clusters",
                )
            bucket, sign = hashed_indices(layer.weights.shape, buckets, self.seed + place)
            count = np.bincount(bucket.reshape(-1), minlength=buckets)
            total = np.bincount(bucket.reshape(-1), (layer.weights * sign).reshape(-1), minlength=buckets)
            book = (total / np.maximum(count, 1)).astype(np.float32)
            values = (book[bucket] * sign).astype(np.float32)
            changes[layer.name] = NewWeights(values, replace(layer.promise, clusters=len(np.unique(values))))
        return replace_weights(graph, changes)
