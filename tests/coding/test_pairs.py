"""Matrices as Huffman-coded pairs: every matrix comes back, and the size is near the entropy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.coding.gaps import from_relative_index, relative_index, runs
from boardfit.coding.pairs import bias_form, decode_pairs, encode_pairs


def sparse(rows: int, columns: int, density: float, clusters: int, seed: int) -> np.ndarray:
    """A random mask over the centroids of a bell-shaped codebook."""
    random = np.random.default_rng(seed)
    book = np.unique(np.round(np.linspace(-1, 1, clusters + (clusters % 2)) * 127)).astype(np.int64)
    book = book[book != 0]
    shares = np.exp(-((book / 60.0) ** 2))
    values = random.choice(book, (rows, columns), p=shares / shares.sum())
    matrix: np.ndarray = np.where(random.random((rows, columns)) < density, values, 0)
    return matrix


@given(
    st.integers(1, 40),
    st.integers(1, 80),
    st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]),
    st.sampled_from([2, 4, 16, 254]),
    st.integers(0, 1 << 20),
    st.integers(0, 31),
)
@settings(max_examples=60, deadline=None)
def test_matrices_come_back(rows: int, columns: int, density: float, clusters: int, seed: int, reach: int) -> None:
    matrix = sparse(rows, columns, density, clusters, seed)
    bias = np.random.default_rng(seed).integers(-(1 << reach), 1 << reach, rows)
    code = encode_pairs(matrix, bias)
    found, biases = decode_pairs(code)
    np.testing.assert_array_equal(found, matrix)
    np.testing.assert_array_equal(biases, bias)


@given(st.lists(st.integers(-3, 3), max_size=200), st.integers(0, 20), st.booleans())
def test_relative_indexes_come_back(values: list[int], longest: int, terminate: bool) -> None:
    flat = np.array(values, np.int64)
    gaps, coded = relative_index(flat, longest, terminate=terminate)
    assert gaps.max(initial=0) <= longest
    np.testing.assert_array_equal(from_relative_index(gaps, coded, len(flat)), flat)
    if terminate:
        assert int((gaps + 1).sum()) - 1 == len(flat)


@given(st.lists(st.booleans(), max_size=100))
def test_runs_are_the_flags(flags: list[bool]) -> None:
    found = [bit for skip, take in runs(np.array(flags, bool)) for bit in [False] * skip + [True] * take]
    assert found == flags[: len(found)]
    assert not any(flags[len(found) :])


@pytest.mark.parametrize(
    ("bias", "form"),
    [([0, 0], (1, 0)), ([-64, 32], (2, 5)), ([-8, 7], (4, 0)), ([128], (2, 7)), ([-128], (1, 7)), ([-129, 0], (9, 0))],
)
def test_biases_take_as_few_bits_as_they_can(bias: list[int], form: tuple[int, int]) -> None:
    assert bias_form(np.array(bias)) == form


def test_the_size_is_near_the_entropy() -> None:
    matrix = sparse(100, 600, 0.02, 16, 3)
    code = encode_pairs(matrix, np.zeros(100, np.int64))
    count = np.count_nonzero(matrix)
    _, counts = np.unique(matrix[matrix != 0], return_counts=True)
    shares = counts / count
    places = math.log2(math.comb(matrix.size, count))
    entropy = places - count * float((shares * np.log2(shares)).sum())
    assert code.bits < 1.03 * entropy + 8 * 140
