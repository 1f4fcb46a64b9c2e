"""How close two sets of outputs are, and how good they are: numbers for tables and tests."""

from __future__ import annotations

import math

import numpy as np


def classes(outputs: np.ndarray) -> np.ndarray:
    """Index of the largest output of each sample, (S,); the first of equals."""
    return outputs.reshape(len(outputs), -1).argmax(axis=1)


def top1(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Share of samples whose largest output is at the label.

    Args:
        outputs: (S, ...) real values or raw integers of one scale.
        labels: (S,) class indices, or (S, classes) one-hot.
    """
    labels = labels if labels.reshape(len(labels), -1).shape[1] == 1 else classes(labels)
    return float(np.mean(classes(outputs) == labels.reshape(-1)))


def agreement(outputs: np.ndarray, reference: np.ndarray) -> float:
    """Share of samples whose largest output is at the same place in both."""
    return float(np.mean(classes(outputs) == classes(reference)))


def max_abs_error(outputs: np.ndarray, reference: np.ndarray) -> float:
    """Largest absolute difference."""
    return float(np.max(np.abs(outputs.astype(np.float64) - reference.astype(np.float64)), initial=0.0))


def snr_db(outputs: np.ndarray, reference: np.ndarray) -> float:
    """Signal-to-noise ratio in dB: power of the reference over power of the difference."""
    signal = float(np.square(reference.astype(np.float64)).sum())
    noise = float(np.square(outputs.astype(np.float64) - reference.astype(np.float64)).sum())
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf


def roc_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive sample scores above a negative one, ties counting half.

    Args:
        scores: (S,) larger means more likely positive.
        labels: (S,) true or 1 for positive samples.

    Raises:
        ValueError: only one class is present.
    """
    positive = np.asarray(labels).reshape(-1).astype(bool)
    values, inverse, counts = np.unique(np.asarray(scores).reshape(-1), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse.reshape(-1)]  # mean rank of equal scores, from 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives or not len(values):
        raise ValueError("the area under the ROC curve needs positive and negative samples")
    return float((ranks[positive].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))
