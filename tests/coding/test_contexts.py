"""Matrices in the adaptive arithmetic code: every matrix comes back; structure and clusters make it shorter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.coding.contexts import decode_contexts, encode_contexts, find_reach, least_decisions, near_signs
from boardfit.coding.pairs import encode_pairs

from .test_pairs import sparse


@given(
    st.integers(1, 30),
    st.integers(1, 80),
    st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]),
    st.sampled_from([2, 4, 16, 254]),
    st.integers(0, 1 << 20),
    st.integers(0, 31),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_matrices_come_back(
    rows: int, columns: int, density: float, clusters: int, seed: int, reach: int, spread: bool
) -> None:
    matrix = sparse(rows, columns, density, clusters, seed)
    random = np.random.default_rng(seed)
    bias = random.integers(-(1 << reach), 1 << reach, rows)
    places = np.cumsum(random.integers(1, 9, columns)) if spread else None
    code = encode_contexts(matrix, bias, places)
    found, biases = decode_contexts(code, places)
    np.testing.assert_array_equal(found, matrix)
    np.testing.assert_array_equal(biases, bias)


def test_one_sided_and_extreme_values_come_back() -> None:
    for values in ([0, 0, 5, 0], [-128, 0, 127, -128], [0], [-1, -2, -3, -4]):
        matrix = np.array([values])
        np.testing.assert_array_equal(decode_contexts(encode_contexts(matrix, np.array([-7])))[0], matrix)


def strokes(rows: int, seed: int) -> np.ndarray:
    """Rows that are 20x20 images of one positive and one negative blob, thinned."""
    random = np.random.default_rng(seed)
    y, x = np.divmod(np.arange(400), 20)
    matrix = np.zeros((rows, 400), np.int64)
    for row in range(rows):
        for sign in (-1, 1):
            cy, cx = random.integers(2, 18, 2)
            inside = ((y - cy) ** 2 + (x - cx) ** 2 < 12) & (random.random(400) < 0.5)
            matrix[row, inside] = sign * random.integers(1, 9, int(inside.sum()))
    return matrix


def test_the_row_of_pixels_above_is_found_and_used() -> None:
    matrix = strokes(60, 1)
    assert find_reach(matrix, np.arange(400)) == 20
    code = encode_contexts(matrix, np.zeros(60, np.int64))
    shuffled = matrix[:, np.random.default_rng(0).permutation(400)]
    assert code.reach == 20
    assert len(code.data) < 0.8 * len(encode_contexts(shuffled, np.zeros(60, np.int64)).data)


def test_noise_has_no_reach() -> None:
    assert find_reach(sparse(50, 300, 0.1, 16, 4), np.arange(300)) == 0


def test_near_signs() -> None:
    places, signs = [0, 7, 8, 9, 17, 18], [1, 1, 1, 1, -1, 1]
    assert near_signs(places, signs, 19, 0) == 0
    assert near_signs(places, signs, 18, 10) == 2
    assert near_signs(places, signs, 20, 0) == 1


@pytest.mark.parametrize(("rows", "columns", "density"), [(100, 700, 0.02), (60, 100, 0.1), (20, 50, 0.3)])
def test_shorter_than_huffman_pairs(rows: int, columns: int, density: float) -> None:
    matrix = sparse(rows, columns, density, 16, 5)
    bias = np.random.default_rng(1).integers(-30, 31, rows) << 3
    assert len(encode_contexts(matrix, bias).data) < 2 * len(encode_pairs(matrix, bias).words)


def test_the_same_matrix_gives_the_same_bytes() -> None:
    matrix = sparse(40, 90, 0.1, 16, 2)
    first, second = (encode_contexts(matrix.copy(), np.arange(40)) for _ in range(2))
    assert first.data == second.data


GOLDEN = {
    (300, 784, 0.02, 16): (6648, 6485),
    (100, 300, 0.04, 16): (1566, 1532),
    (10, 100, 0.2, 8): (186, 176),
    (64, 64, 0.5, 200): (2492, 2483),
}
"""(rows, columns, density, clusters) to bytes as Huffman pairs and in the arithmetic code."""


@pytest.mark.parametrize("case", GOLDEN)
def test_sizes_do_not_grow(case: tuple[int, int, float, int]) -> None:
    matrix = sparse(*case, seed=11)
    bias = np.random.default_rng(2).integers(-31, 32, case[0]) << 5
    assert (2 * len(encode_pairs(matrix, bias).words), len(encode_contexts(matrix, bias).data)) == GOLDEN[case]


@pytest.mark.parametrize(("density", "clusters"), [(0.02, 16), (0.3, 4), (0.9, 2), (0.0, 2)])
def test_decisions_are_counted_without_coding(density: float, clusters: int) -> None:
    """All but those of the biases, of which one each is counted."""
    matrix = sparse(20, 60, density, clusters, 1)
    code = encode_contexts(matrix, np.zeros(20, np.int64))
    least = least_decisions(matrix)
    assert 0.6 * code.decisions - 120 <= least <= code.decisions
