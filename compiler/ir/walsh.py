"""Walsh-Hadamard matrices: rows of plus and minus ones that additions alone multiply with.

In natural (Hadamard) order row i has (-1)^popcount(i & j) in column j; the matrix of 2^k rows is the k-th Kronecker
power
of [[1, 1], [1, -1]], so that a product takes k rounds of sums and differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def walsh_rows(rows: np.ndarray, columns: int) -> np.ndarray:
    """Rows of those numbers, the first `columns` columns: (len(rows), columns) int64 of -1 and 1."""
    common = np.asarray(rows, np.int64)[:, None] & np.arange(columns)[None]
    for shift in (16, 8, 4, 2, 1):
        common = common ^ (common >> shift)
    return 1 - 2 * (common & 1)


@dataclass(frozen=True, slots=True, eq=False)
class Walsh:
    """A matrix whose rows are Walsh rows times one number each.

    Attributes:
        size: rows of the whole Walsh matrix, a power of two not below the columns.
        rows: (out,) which row.
        factors: (out,) what it is multiplied by.
    """

    size: int
    rows: np.ndarray
    factors: np.ndarray


def find_walsh(matrix: np.ndarray) -> Walsh | None:
    """Which Walsh rows, times what, the rows of a matrix (out, in) are; None if they are none."""
    size = 1 << max(matrix.shape[1] - 1, 0).bit_length()
    factors = matrix[:, 0]
    if not np.all(factors) or not np.array_equal(
        np.abs(matrix[:1]), np.broadcast_to(np.abs(factors[:1, None]), (1, matrix.shape[1]))
    ):
        return None
    powers = 1 << np.arange((size - 1).bit_length())
    rows = ((matrix[:, powers] != factors[:, None]) * powers).sum(axis=1)
    whole = walsh_rows(rows, matrix.shape[1]) * factors[:, None]
    return Walsh(size, rows, factors) if np.array_equal(whole, matrix) else None
