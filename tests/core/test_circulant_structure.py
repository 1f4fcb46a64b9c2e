"""Block-circulant structures: places, projection, and telling them from the values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.ir.circulant import Circulant, find_circulant
from boardfit.ir.encoding import Compressed

structures = st.builds(Circulant, st.sampled_from([2, 3, 4, 8]), st.booleans())
shapes = st.tuples(st.integers(1, 20), st.integers(1, 20))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(structures, shapes, st.integers(0, 1000))
def test_a_matrix_of_vectors_holds_and_any_change_breaks_it(
    structure: Circulant, shape: tuple[int, int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    vectors = random.integers(-127, 128, (*structure.grid(shape), structure.block))
    matrix = structure.matrix(vectors, shape)
    assert structure.holds(matrix)
    np.testing.assert_array_equal(structure.matrix(structure.exact_vectors(matrix), shape), matrix)
    np.testing.assert_allclose(structure.matrix(structure.vectors(matrix), shape), matrix)
    row, column = random.integers(shape[0]), random.integers(shape[1])
    index = structure.places(shape)[0]
    changed = matrix.copy()
    changed[row, column] += 1
    alone = (index == index[row, column]).sum() == 1
    assert structure.holds(changed) == alone


def test_a_block_times_x_is_a_product_of_polynomials() -> None:
    random = np.random.default_rng(0)
    c, x = random.integers(-9, 9, 8), random.integers(-9, 9, 8)
    product = np.convolve(c, x)
    wrapped = np.append(product[8:], 0)
    np.testing.assert_array_equal(Circulant(8).matrix(c[None, None], (8, 8)) @ x, product[:8] + wrapped)
    np.testing.assert_array_equal(Circulant(8, True).matrix(c[None, None], (8, 8)) @ x, product[:8] - wrapped)


def test_the_largest_block_is_found_and_random_or_narrow_matrices_have_none() -> None:
    random = np.random.default_rng(1)
    blocks = tuple(range(2, 65))
    for structure in (Circulant(8), Circulant(5), Circulant(16, True)):
        vectors = random.integers(-127, 128, (*structure.grid((40, 50)), structure.block))
        assert find_circulant(structure.matrix(vectors, (40, 50)), blocks) == structure
    assert find_circulant(random.integers(-127, 128, (40, 50)), blocks) is None
    assert find_circulant(random.integers(-127, 128, (1, 50)), blocks) is None


def test_the_promise_is_checked_and_scales_are_shared_by_a_row_of_blocks() -> None:
    structure = Circulant(4)
    promise = Compressed(8, circulant=structure)
    matrix = structure.matrix(np.arange(-16, 16).reshape(2, 4, 4), (8, 16))
    assert promise.broken(matrix) is None
    matrix[1, 1] += 1
    assert promise.broken(matrix) == "no circulant blocks of 4, as promised"
    np.testing.assert_array_equal(promise.by_block_row(np.array([1.0, 5, 2, 3, 4, 9])), [5, 5, 5, 5, 9, 9])
    with pytest.raises(ValueError, match="at least 2 rows"):
        Circulant(1)
