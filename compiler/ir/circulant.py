"""Block-circulant matrices: every block is one vector and its rotations.

A block of size n made from the vector c has the entries W[i, j] = c[(i - j) mod n], so that a block times x is the
circular convolution of c and x: the product of two polynomials modulo t^n - 1. In a skew-circulant block the entries
above the diagonal, where the index has wrapped, have the opposite sign: modulo t^n + 1. Blocks at the right and lower
edge may be cut off by the matrix. Weights of convolutions are matrices (out, kh * kw * in).

Cheng et al., "An exploration of parameter redundancy in deep networks with circulant projections" (2015); blocks:
Ding et al., "CirCNN" (2017); skew-circulant factors: Sindhwani, Sainath, Kumar, "Structured transforms for small-
footprint deep learning" (2015), section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_SHARE = 0.75
"""Entries of the vectors, of those of a matrix, up to which a structure is worth being told."""


@dataclass(frozen=True, slots=True)
class Circulant:
    """The structure of a matrix.

    Attributes:
        block: rows and columns of a block, at least 2.
        skew: entries above the diagonal of a block have the opposite sign.
    """

    block: int
    skew: bool = False

    def __post_init__(self) -> None:
        if self.block < 2:
            raise ValueError(f"a circulant block has at least 2 rows, not {self.block}")

    def __str__(self) -> str:
        return f"{'skew-' if self.skew else ''}circulant blocks of {self.block}"

    def grid(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Blocks down and across a matrix of that shape."""
        return -(-shape[0] // self.block), -(-shape[1] // self.block)

    def places(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Where every entry of a matrix comes from.

        Returns:
            (index into the vectors of all blocks, flattened from (rows, columns, block); sign -1 or 1), int64 arrays
            of `shape`.
        """
        row, column = np.indices(shape, sparse=True)
        across = self.grid(shape)[1]
        turn = row % self.block - column % self.block
        number = row // self.block * across + column // self.block
        sign = np.where(turn < 0, -1, 1) if self.skew else np.ones(shape, np.int64)
        return number * self.block + turn % self.block, sign

    def vectors(self, matrix: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """The vectors of the nearest matrix of this structure, (rows, columns, block) float64.

        The mean along every wrapped diagonal has the least squared error; entries nobody has (of cut blocks) are 0.

        Args:
            matrix: (out, in).
            weight: (out, in) or (1, in): of each squared error, not negative; None counts all alike.
        """
        index, sign = self.places((matrix.shape[0], matrix.shape[1]))
        size = self.block * int(np.prod(self.grid((matrix.shape[0], matrix.shape[1]))))
        mass = np.ones(matrix.shape) if weight is None else np.broadcast_to(weight, matrix.shape).astype(np.float64)
        if weight is not None:  # a diagonal without weight still has a mean
            mass = mass + 1e-9 * max(float(mass.max(initial=0.0)), 1e-30)
        total = np.bincount(index.reshape(-1), (mass * matrix * sign).reshape(-1), minlength=size)
        count = np.bincount(index.reshape(-1), mass.reshape(-1), minlength=size)
        mean = np.divide(total, count, out=np.zeros(size), where=count > 0)
        return mean.reshape(*self.grid((matrix.shape[0], matrix.shape[1])), self.block)

    def matrix(self, vectors: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """The matrix (out, in) of the vectors (rows, columns, block)."""
        index, sign = self.places(shape)
        found: np.ndarray = vectors.reshape(-1)[index] * sign.astype(vectors.dtype)
        return found

    def holds(self, matrix: np.ndarray) -> bool:
        """Whether a matrix (out, in) has this structure, to the last bit."""
        rows, columns = matrix.shape
        index = np.arange(columns)
        inner = index[:-1][(index[1:] % self.block) != 0]
        below = np.arange(1, rows)[np.arange(1, rows) % self.block != 0]
        for first in (below[:1], below):  # most matrices fail in their second row
            if not np.array_equal(matrix[np.ix_(first, inner + 1)], matrix[np.ix_(first - 1, inner)]):
                return False
            ends = index[index % self.block == self.block - 1]
            wrapped = matrix[np.ix_(first - 1, ends)]
            starts = matrix[np.ix_(first, ends - self.block + 1)]
            if not np.array_equal(starts, -wrapped if self.skew else wrapped):
                return False
        return self._cut_holds(matrix)

    def _cut_holds(self, matrix: np.ndarray) -> bool:
        """Whether the last columns, of blocks that are cut off, agree across their missing part."""
        rest = matrix.shape[1] % self.block
        if rest == 0:
            return True
        last = matrix[:, matrix.shape[1] - rest :]
        fitted = self.matrix(self._taken(last), (last.shape[0], rest))
        return bool(np.array_equal(fitted, last))

    def _taken(self, matrix: np.ndarray) -> np.ndarray:
        """Vectors from any one of the entries that share a value."""
        shape = (matrix.shape[0], matrix.shape[1])
        index, sign = self.places(shape)
        found = np.zeros(self.block * int(np.prod(self.grid(shape))), matrix.dtype)
        found[index.reshape(-1)] = (matrix * sign.astype(matrix.dtype)).reshape(-1)
        return found.reshape(*self.grid(shape), self.block)

    def exact_vectors(self, matrix: np.ndarray) -> np.ndarray:
        """The vectors (rows, columns, block) of a matrix that `holds`, of its dtype."""
        return self._taken(matrix)


def find_circulant(matrix: np.ndarray, blocks: tuple[int, ...]) -> Circulant | None:
    """The structure with the largest block among `blocks` that a matrix (out, in) has, or None.

    Vectors must have no more than `MOST_SHARE` of the matrix's entries: a single row has every structure.
    """
    for block in sorted(blocks, reverse=True):
        shape = (matrix.shape[0], matrix.shape[1])
        if block * np.prod(Circulant(block).grid(shape)) > MOST_SHARE * matrix.size:
            continue
        for skew in (False, True):
            structure = Circulant(block, skew)
            if structure.holds(matrix):
                return structure
    return None
