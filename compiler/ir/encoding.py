"""Storage encodings of constants: what compression promises about the values, so that no later pass may lose it.

A constant always holds its values one by one: they are its meaning, whatever form is stored. An encoding says which
forms the values allow. The verifier checks the promise after every pass; a backend looks at the values and stores the
cheapest form that they allow and that its kernels execute.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .circulant import Circulant


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the values of a constant may be stored on the device."""

    @property
    def name(self) -> str:
        """Short name for tables."""
        return type(self).__name__.lower()

    def broken(self, values: np.ndarray) -> str | None:
        """Why `values` do not keep the promise, as a fragment, or None if they keep it."""
        return None


@dataclass(frozen=True, slots=True)
class Dense(Encoding):
    """Plain array, one storage unit per value."""


DENSE = Dense()


@dataclass(frozen=True, slots=True, eq=False)
class Tie:
    """Which values are one value up to their sign: values.flat == signs * free[indices].

    Filters that are negations, mirror images or turns of others, or cut out of larger ones, are tied like this.

    Attributes:
        indices: (n,) which free value each value is, counted from 0 without gaps.
        signs: (n,) 1 or -1.
    """

    indices: np.ndarray
    signs: np.ndarray

    def __post_init__(self) -> None:
        if self.indices.ndim != 1 or self.indices.shape != self.signs.shape or not np.isin(self.signs, (-1, 1)).all():
            raise ValueError("indices and signs must be one each, signs 1 or -1")

    @property
    def count(self) -> int:
        """Number of free values."""
        return int(self.indices.max(initial=-1)) + 1

    def free(self, values: np.ndarray) -> np.ndarray:
        """(count,) float64: the free values nearest to `values` (least squares)."""
        sums = np.bincount(self.indices, self.signs * values.reshape(-1).astype(np.float64), self.count)
        found: np.ndarray = sums / np.maximum(np.bincount(self.indices, minlength=self.count), 1)
        return found

    def expand(self, free: np.ndarray) -> np.ndarray:
        """(n,) values from the free ones."""
        found: np.ndarray = self.signs * free[self.indices]
        return found

    def broken(self, values: np.ndarray) -> str | None:
        """Why `values` are not tied like this, as a fragment, or None."""
        flat = values.reshape(-1)
        if flat.size != self.indices.size:
            return f"{flat.size} values where {self.indices.size} are tied"
        signed = self.signs * (flat.astype(np.int64) if flat.dtype.kind in "iu" else flat)
        _, first = np.unique(self.indices, return_index=True)
        wrong = int((signed != signed[first][self.indices]).sum())
        return f"{wrong} values differ from those they are tied to" if wrong else None


@dataclass(frozen=True, slots=True)
class Compressed(Encoding):
    """Weights that compression has constrained; axis 0 is the output channel.

    Attributes:
        width: bits of one raw value; on real values, the width quantization has to give them.
        zeros: fewest values that are zero (pruned weights stay pruned).
        clusters: most distinct values, zero included (shared weights stay shared; quantized with one scale for
            the whole tensor), or None.
        block: the promised zeros fill whole aligned runs of that many inputs of an output channel (flattened).
        keep: with `group`, at most `keep` values of every aligned run of `group` inputs are not zero (N:M sparsity).
        circulant: the values, flattened to (out, K), are block-circulant (quantized with one scale for every row of
            blocks), or None.
        signs: all values of an output channel have one magnitude, which alone is trained.
        tie: values that are one value up to their sign, or None.
    """

    width: int = 8
    zeros: int = 0
    clusters: int | None = None
    block: int = 1
    keep: int = 0
    group: int = 0
    circulant: Circulant | None = None
    signs: bool = False
    tie: Tie | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 32:
            raise ValueError(f"width must be 1 to 32, not {self.width}")
        if self.clusters is not None and self.clusters < 1:
            raise ValueError("at least one cluster is needed")
        if self.block < 1 or self.zeros < 0 or self.group < 0 or not 0 <= self.keep <= self.group:
            raise ValueError("block, zeros, keep and group must be counts")

    def broken(self, values: np.ndarray) -> str | None:
        """Why `values`, shape (out, ...), do not keep the promise, as a fragment, or None if they keep it."""
        found = self._promised_zeros(values)
        if found < self.zeros:
            return f"{found} zeros where {self.zeros} are promised"
        if self.clusters is not None:
            distinct = len(np.unique(values))
            if distinct > self.clusters:
                return f"{distinct} distinct values where {self.clusters} are promised"
        if values.dtype.kind in "iu" and values.size:
            low, high = -(1 << (self.width - 1)), (1 << self.width) - 1
            if int(values.min()) < low or int(values.max()) > high or int(np.ptp(values)) >= 1 << self.width:
                return f"raw values {values.min()} to {values.max()} do not fit {self.width} bits"
        if self.group and int(_per_run(values, self.group).max(initial=0)) > self.keep:
            return f"more than {self.keep} of {self.group} neighbouring values are not zero"
        if self.circulant is not None and not self.circulant.holds(values.reshape(len(values), -1)):
            return f"no {self.circulant}, as promised"
        if self.signs:
            magnitudes = np.abs(values.reshape(len(values), -1))
            if not np.array_equal(magnitudes, np.broadcast_to(magnitudes[:, :1], magnitudes.shape)):
                return "an output channel has several magnitudes where one is promised"
        return None if self.tie is None else self.tie.broken(values)

    def by_block_row(self, magnitudes: np.ndarray) -> np.ndarray:
        """The largest of the (out,) magnitudes in every row of circulant blocks, repeated: rows share a scale."""
        if self.circulant is None:
            return magnitudes
        starts = np.arange(0, len(magnitudes), self.circulant.block)
        return np.repeat(np.maximum.reduceat(magnitudes, starts), self.circulant.block)[: len(magnitudes)]

    def _promised_zeros(self, values: np.ndarray) -> int:
        """Zeros that count for the promise: all, or those that fill whole blocks."""
        if self.block == 1:
            return int(values.size - np.count_nonzero(values))
        width = values.reshape(len(values), -1).shape[1]
        empty = np.nonzero(_per_run(values, self.block) == 0)[1]
        return int(np.minimum(self.block, width - empty * self.block).sum())


def _per_run(values: np.ndarray, length: int) -> np.ndarray:
    """Non-zeros in every aligned run of `length` inputs of every output channel, shape (out, runs)."""
    rows = values.reshape(len(values), -1) != 0
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % length)))
    counts: np.ndarray = padded.reshape(len(rows), -1, length).sum(axis=2)
    return counts
