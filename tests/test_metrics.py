"""Accuracy metrics against hand-computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from boardfit.metrics import agreement, max_abs_error, roc_auc, snr_db, top1

OUTPUTS = np.array([[[0.1, 0.9]], [[0.8, 0.2]], [[0.5, 0.5]], [[0.3, 0.4]]])


def test_top1_takes_indices_and_one_hot() -> None:
    assert top1(OUTPUTS, np.array([1, 0, 1, 1], np.uint8)) == 0.75  # of equals the first counts
    assert top1(OUTPUTS, np.array([[0, 1], [1, 0], [1, 0], [1, 0]])) == 0.75


def test_agreement() -> None:
    assert agreement(OUTPUTS, -OUTPUTS) == 0.25


def test_errors() -> None:
    reference = np.array([3.0, -4.0])
    assert max_abs_error(reference + np.array([0.0, 0.5]), reference) == 0.5
    assert snr_db(reference + np.array([0.0, 0.5]), reference) == pytest.approx(20.0)
    assert snr_db(reference, reference) == math.inf
    assert snr_db(reference, np.zeros(2)) == -math.inf
    assert max_abs_error(np.array([-128], np.int8), np.array([127], np.int8)) == 255.0


def test_roc_auc_counts_pairs() -> None:
    scores, labels = np.array([0.1, 0.4, 0.35, 0.8, 0.4]), np.array([0, 0, 1, 1, 1])
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[labels == 1] for n in scores[labels == 0]]
    assert roc_auc(scores, labels) == pytest.approx(np.mean(pairs))
    with pytest.raises(ValueError, match="positive and negative"):
        roc_auc(scores, np.ones(5))
