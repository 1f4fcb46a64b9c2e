"""Optimal clusters of numbers on a line, by dynamic programming over intervals."""

from __future__ import annotations

import numpy as np


def optimal_clusters(values: np.ndarray, mass: np.ndarray, clusters: int) -> np.ndarray:
    """The `clusters` centroids with the least sum of mass * squared distance to the nearest one.

    Optimal clusters are intervals, and the best last cut moves right with the end of the prefix, so each row of the
    table is filled by halving: O(clusters * n log n) (Wu 1991; Gronlund et al. 2017).

    Args:
        values: (n,) ascending and distinct, n > clusters.
        mass: (n,) not negative, not all zero.

    Returns:
        Ascending centroids, at most `clusters` (clusters without mass are left out).
    """
    shift = float(np.average(values, weights=mass))  # centred, so that the differences of prefix sums stay exact
    centred = values - shift
    sums = np.zeros((3, len(values) + 1))
    for power in range(3):
        np.cumsum(mass * centred**power, out=sums[power, 1:])
    size = len(values)
    best = _cost(sums, np.zeros(size, np.int64), np.arange(1, size + 1))
    cuts = np.zeros((clusters, size), np.int64)
    for row in range(1, clusters):
        best, cuts[row] = _next_row(sums, best)
    ends = [size]
    for row in range(clusters - 1, -1, -1):
        ends.append(int(cuts[row, ends[-1] - 1]))
        if ends[-1] == 0:
            break
    edges = np.asarray(ends[::-1])
    weight = np.diff(sums[0][edges])
    moment = np.diff(sums[1][edges])
    return np.sort(moment[weight > 0] / weight[weight > 0]) + shift


def _cost(sums: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Squared error of one cluster over values[start:end]."""
    weight, moment, square = (line[end] - line[start] for line in sums)
    spread = np.divide(moment**2, weight, out=np.zeros_like(moment), where=weight > 0.0)
    return np.maximum(square - spread, 0.0)


def _next_row(sums: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """With one cluster more: least cost of each prefix, and where its last cluster starts.

    Prefixes are done in rounds, the middle ones first; a prefix between two that are done has its cut between theirs.
    All prefixes of a round are evaluated together.
    """
    size = len(before)
    best, cut = np.empty(size), np.empty(size, np.int64)
    padded = np.concatenate([[0.0], before])  # cost of the empty prefix
    step = 1 << max(size - 1, 1).bit_length()
    done_step = step
    lowest, highest = np.zeros(size, np.int64), np.arange(size)
    while step >= 1:
        ends = np.arange(step - 1, size, step)
        fresh = ends if done_step == step else ends[(ends + 1) % done_step != 0]
        if len(fresh):
            low, high = lowest[fresh], np.minimum(highest[fresh], fresh)
            counts = high - low + 1
            offsets = np.concatenate([[0], np.cumsum(counts)[:-1]])
            starts = np.arange(int(counts.sum())) - np.repeat(offsets - low, counts)
            costs = padded[starts] + _cost(sums, starts, np.repeat(fresh + 1, counts))
            least = np.minimum.reduceat(costs, offsets)
            hit = np.flatnonzero(costs == np.repeat(least, counts))
            first = hit[np.searchsorted(hit, offsets)]
            best[fresh], cut[fresh] = least, starts[first]
        done = np.arange(step - 1, size, step)
        if len(done):
            place = np.searchsorted(done, np.arange(size))
            lowest = np.where(place > 0, cut[done[np.maximum(place - 1, 0)]], 0)
            highest = np.where(place < len(done), cut[done[np.minimum(place, len(done) - 1)]], np.arange(size))
        done_step, step = step, step // 2
    return best, cut
