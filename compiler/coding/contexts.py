"""A sparse integer matrix and the biases of its rows in an adaptive arithmetic code, at a cost for each non-zero only.

Every bit is coded with the probability its context has learnt so far (docs/compression.md has the format). Positions
are gaps through the used columns, row by row, as in `pairs`, in Elias's gamma code with adaptive bits. A value is its
sign, whose context is the signs of non-zero values near it in the row, and the rank of its magnitude, bit by bit.
Columns have places: near means one or two places before, or `reach` places before, give or take one: the pixel above,
where a row of weights is an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .gaps import runs
from .pairs import bias_form
from .range_coder import START, RangeDecoder, RangeEncoder, updated

PLAIN = 1 << 11
"""Probability of a bit without a context."""

PREFIXES = 16
NUMBER_CONTEXTS = 4 * PREFIXES
"""Of a kind of numbers: 16 for the length; then, for each length, one for the bit below the first and two below."""

GAPS, SKIPPED, TAKEN, BIASES = (kind * NUMBER_CONTEXTS for kind in range(4))
SIGNS = 4 * NUMBER_CONTEXTS
MOST_SIGNS = 2
"""The sum of near signs is cut to -2 to 2."""

RANKS = SIGNS + 2 * MOST_SIGNS + 1
"""First context of the ranks: 2**bits for negative values, then as many for positive ones."""

NEAR = 2
LEAST_REACH = 4
SIGNIFICANT = 4.0
"""Standard deviations by which the agreement of signs must exceed chance for a reach to be used."""

MOST_NEIGHBOURS = 1 << 21
"""Pairs of neighbours that the search for the reach looks at."""


@dataclass(frozen=True, slots=True, eq=False)
class ContextCode:
    """A coded matrix, and what stands outside the code.

    Attributes:
        rows, columns: of the matrix.
        used: columns with a value that is not zero.
        rank_bits: of the rank of a magnitude among the values of its sign.
        reach: places to the neighbour in the row above, 0 for none.
        bias_shift: a bias is the coded number times 2**bias_shift.
        data: the code.
        decisions: coded bits.
        most_in_row: non-zeros of the fullest row.
    """

    rows: int
    columns: int
    used: int
    rank_bits: int
    reach: int
    bias_shift: int
    data: bytes
    decisions: int
    most_in_row: int

    @property
    def contexts(self) -> int:
        """Probabilities that a decoder keeps."""
        return RANKS + (2 << self.rank_bits)


class _Encoder:
    """Numbers, signs and ranks as adaptive bits."""

    def __init__(self) -> None:
        self._states: dict[int, int] = {}
        self.coder = RangeEncoder()
        self.decisions = 0

    def bit(self, context: int, bit: int) -> None:
        state = self._states.get(context, START)
        self.coder.encode(bit, state >> 4)
        self._states[context] = updated(state, bit)
        self.decisions += 1

    def plain(self, bit: int) -> None:
        self.coder.encode(bit, PLAIN)
        self.decisions += 1

    def number(self, kind: int, number: int) -> None:
        """A number from 0 in Elias's gamma code of its successor."""
        coded = number + 1
        length = coded.bit_length() - 1
        for position in range(length + 1):
            self.bit(kind + min(position, PREFIXES - 1), int(position < length))
        below = kind + PREFIXES + 3 * min(length, PREFIXES - 1)
        for position in range(length - 1, -1, -1):
            bit, depth = (coded >> position) & 1, length - 1 - position
            if depth < 2:
                self.bit(below if depth == 0 else below + 1 + ((coded >> (position + 1)) & 1), bit)
            else:
                self.plain(bit)

    def rank(self, first: int, bits: int, rank: int) -> None:
        node = 1
        for position in range(bits - 1, -1, -1):
            bit = (rank >> position) & 1
            self.bit(first + node, bit)
            node = 2 * node + bit


class _Decoder:
    """The inverse of `_Encoder`."""

    def __init__(self, data: bytes) -> None:
        self._states: dict[int, int] = {}
        self._coder = RangeDecoder(data)

    def bit(self, context: int) -> int:
        state = self._states.get(context, START)
        bit = self._coder.decode(state >> 4)
        self._states[context] = updated(state, bit)
        return bit

    def plain(self) -> int:
        return self._coder.decode(PLAIN)

    def number(self, kind: int) -> int:
        length = 0
        while self.bit(kind + min(length, PREFIXES - 1)):
            length += 1
        below = kind + PREFIXES + 3 * min(length, PREFIXES - 1)
        coded = 1
        for depth in range(length):
            if depth < 2:
                coded = 2 * coded + self.bit(below if depth == 0 else below + 1 + (coded & 1))
            else:
                coded = 2 * coded + self.plain()
        return coded - 1

    def rank(self, first: int, bits: int) -> int:
        node = 1
        for _ in range(bits):
            node = 2 * node + self.bit(first + node)
        return node - (1 << bits)


def near_signs(places: Sequence[int], signs: Sequence[int], place: int, reach: int) -> int:
    """Sum of the signs near a place, -2 to 2, from the non-zeros before it in its row."""
    total = 0
    for other, sign in zip(places, signs, strict=True):
        distance = place - other
        if distance <= NEAR or (reach and abs(distance - reach) <= 1):
            total += sign
    return max(-MOST_SIGNS, min(MOST_SIGNS, total))


def find_reach(matrix: np.ndarray, places: np.ndarray) -> int:
    """The distance of places at which signs agree most, if that is no chance; 0 if there is none."""
    furthest = int(places.max(initial=0)) // 2
    agreement, count = np.zeros(furthest + 2), np.zeros(furthest + 2)
    seen = 0
    for row in matrix:
        used = np.flatnonzero(row)
        distance = places[used][None, :] - places[used][:, None]
        near = (distance >= LEAST_REACH - 1) & (distance <= furthest + 1)
        signs = np.sign(row[used])
        np.add.at(agreement, distance[near], (signs[None, :] * signs[:, None])[near])
        np.add.at(count, distance[near], 1)
        seen += used.size**2
        if seen > MOST_NEIGHBOURS:
            break
    if furthest < LEAST_REACH:
        return 0
    three = np.convolve(agreement, np.ones(3), "same") / np.sqrt(np.maximum(np.convolve(count, np.ones(3), "same"), 1))
    best = LEAST_REACH + int(np.argmax(three[LEAST_REACH : furthest + 1]))
    return best if three[best] > SIGNIFICANT else 0


def encode_contexts(matrix: np.ndarray, bias: np.ndarray, places: np.ndarray | None = None) -> ContextCode:
    """Code a matrix.

    Args:
        matrix: (rows, columns) integers, -128 to 127.
        bias: (rows,) int32.
        places: (columns,) increasing places of the columns; None: 0, 1, 2...
    """
    rows, columns = matrix.shape
    places = np.arange(columns) if places is None else places
    flags = (matrix != 0).any(axis=0)
    if not flags.any():
        flags = np.arange(columns) == 0
    used, at = matrix[:, flags], places[flags]
    reach = find_reach(used, at)
    _, shift = bias_form(bias)
    encoder = _Encoder()
    books = _codebooks(matrix)
    rank_bits = max(len(books[0]) - 1, len(books[1]) - 1, 0).bit_length()
    for book in books:
        encoder.number(TAKEN, len(book))
        for before, magnitude in zip([0, *book], book, strict=False):
            encoder.number(TAKEN, magnitude - before - 1)
    for skip, take in runs(flags):
        encoder.number(SKIPPED, skip)
        encoder.number(TAKEN, take - 1)
    ranks = [{magnitude: rank for rank, magnitude in enumerate(book)} for book in books]
    begun, before = 0, -1
    near: tuple[list[int], list[int]] = ([], [])
    for position in [*np.flatnonzero(used).tolist(), used.size]:
        encoder.number(GAPS, position - before - 1)
        before = position
        while begun < rows and position >= begun * used.shape[1]:
            _encode_bias(encoder, int(bias[begun]) >> shift)
            begun += 1
            near = ([], [])
        if position < used.size:
            value, place = int(used.flat[position]), int(at[position % used.shape[1]])
            negative = int(value < 0)
            encoder.bit(SIGNS + MOST_SIGNS + near_signs(*near, place, reach), negative)
            encoder.rank(RANKS + (0 if negative else 1 << rank_bits), rank_bits, ranks[1 - negative][abs(value)])
            near[0].append(place)
            near[1].append(-1 if negative else 1)
    return ContextCode(
        rows,
        columns,
        used.shape[1],
        rank_bits,
        reach,
        shift,
        encoder.coder.finish(),
        encoder.decisions,
        int(np.count_nonzero(matrix, axis=1).max(initial=0)),
    )


def least_decisions(matrix: np.ndarray) -> int:
    """Binary decisions of `encode_contexts` without those of biases but one each: counted, nothing is coded."""
    flags = (matrix != 0).any(axis=0)
    used = matrix[:, flags] if flags.any() else matrix[:, :1]
    positions = np.append(np.flatnonzero(used), used.size)
    lengths = np.floor(np.log2(np.diff(positions, prepend=-1))).astype(np.int64)
    books = _codebooks(matrix)
    rank_bits = max(len(books[0]) - 1, len(books[1]) - 1, 0).bit_length()
    return int((2 * lengths + 1).sum()) + (1 + rank_bits) * (len(positions) - 1) + len(matrix)


def decode_contexts(code: ContextCode, places: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Matrix (rows, columns) and bias (rows,), int64: the inverse of `encode_contexts`, as the kernels do it."""
    places = np.arange(code.columns) if places is None else places
    decoder = _Decoder(code.data)
    books: list[list[int]] = []
    for _ in range(2):
        book: list[int] = []
        for _ in range(decoder.number(TAKEN)):
            book.append((book[-1] if book else 0) + decoder.number(TAKEN) + 1)
        books.append(book)
    columns: list[int] = []
    while len(columns) < code.used:
        first = (columns[-1] + 1 if columns else 0) + decoder.number(SKIPPED)
        columns += range(first, first + decoder.number(TAKEN) + 1)
    matrix = np.zeros((code.rows, code.columns), np.int64)
    biases: list[int] = []
    near: tuple[list[int], list[int]] = ([], [])
    at = code.used + decoder.number(GAPS)
    while True:
        while at >= code.used and len(biases) < code.rows:
            at -= code.used
            biases.append(_decode_bias(decoder))
            near = ([], [])
        if at >= code.used:
            break
        column = columns[at]
        negative = decoder.bit(SIGNS + MOST_SIGNS + near_signs(*near, int(places[column]), code.reach))
        rank = decoder.rank(RANKS + (0 if negative else 1 << code.rank_bits), code.rank_bits)
        matrix[len(biases) - 1, column] = -books[0][rank] if negative else books[1][rank]
        near[0].append(int(places[column]))
        near[1].append(-1 if negative else 1)
        at += 1 + decoder.number(GAPS)
    return matrix, np.array(biases, np.int64) << code.bias_shift


def _codebooks(matrix: np.ndarray) -> tuple[list[int], list[int]]:
    """Magnitudes of the negative and of the positive values, ascending."""
    values = np.unique(matrix)
    return np.sort(-values[values < 0]).tolist(), values[values > 0].tolist()


def _encode_bias(encoder: _Encoder, bias: int) -> None:
    encoder.number(BIASES, abs(bias))
    if bias:
        encoder.plain(int(bias < 0))


def _decode_bias(decoder: _Decoder) -> int:
    magnitude = decoder.number(BIASES)
    return -magnitude if magnitude and decoder.plain() else magnitude
