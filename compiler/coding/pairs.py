"""A sparse integer matrix as (gap, value) pairs in canonical Huffman codes, with the biases of its rows.

The bits, most significant first, in 16-bit words (docs/compression.md has the format):

1. the code of the gaps, then that of the values: the number of symbols; then for each symbol how far it is from the
   one before (Elias's gamma code) and how its codeword's length differs from that one's;
2. which columns are used at all: by turns the number skipped (plus one) and the number taken, in gamma code;
3. pair by pair the gap, the biases of the rows that begin within the gap (the first row within the first gap), and the
   value. Positions run through the used columns row by row. The last gap leads behind the last row, and no value
   follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import InternalError
from .bits import BitReader, code_bits, pack_words
from .gaps import from_relative_index, relative_index, runs
from .huffman import canonical_codes, code_lengths, decode_table

SYMBOL_COUNT_BITS = 10
FIRST_LENGTH = 8
"""What the length of the first codeword is compared with."""

LENGTH_BITS = 4
VALUE_OFFSET = 128
"""Symbol of the value 0."""

GAPS_TRIED = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 80, 96, 128, 192, 256, 384, 512)
"""Numbers of different gaps; longer ones take fillers."""


@dataclass(frozen=True, slots=True)
class Widths:
    """Longest codewords of gaps and values: a pair must not exceed the 16 bits that a decoder holds at least."""

    gap: int
    value: int


FEW_VALUES = Widths(9, 6)
MANY_VALUES = Widths(8, 8)


def widths_for(matrix: np.ndarray) -> Widths:
    """The widths that suit the number of distinct values, zero included for fillers."""
    return FEW_VALUES if len(np.unique(np.append(matrix, 0))) <= 1 << FEW_VALUES.value else MANY_VALUES


@dataclass(frozen=True, slots=True, eq=False)
class PairCode:
    """A coded matrix, and what stands outside the bits.

    Attributes:
        rows, columns: of the matrix.
        used: columns with a value that is not zero.
        widths: of the two codes.
        bias_bits, bias_shift: a bias is a signed number of so many bits, times 2**bias_shift.
        words: (N,) uint16, one more than holds the bits, for a decoder that is a word ahead.
        bits: how many bits are used.
        pairs: coded gaps: values that are not zero, fillers and the last gap.
        symbols: of the larger of the two codes.
        runs: of neighbouring columns that are used.
    """

    rows: int
    columns: int
    used: int
    widths: Widths
    bias_bits: int
    bias_shift: int
    words: np.ndarray
    bits: int
    pairs: int
    symbols: int
    runs: int


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Gaps and symbols of values, with their codes."""

    gaps: np.ndarray
    values: np.ndarray
    gap_lengths: np.ndarray
    value_lengths: np.ndarray

    @property
    def bits(self) -> int:
        """Size of the pairs and of the codes."""
        coded = self.gap_lengths[self.gaps].sum() + self.value_lengths[self.values].sum()
        codes = (_described(lengths)[1].sum() for lengths in (self.gap_lengths, self.value_lengths))
        return int(coded) + sum(map(int, codes))


def bias_form(bias: np.ndarray) -> tuple[int, int]:
    """(bits, shift) of the shortest signed numbers which, times 2**shift, are the biases exactly; at least one bit."""
    values = bias.astype(np.int64)
    if not values.any():
        return 1, 0
    common = int(np.bitwise_or.reduce(np.abs(values)))
    shift = (common & -common).bit_length() - 1
    reach = max(int(values.max()), -int(values.min()) - 1, 0) >> shift
    return reach.bit_length() + 1, shift


def encode_pairs(matrix: np.ndarray, bias: np.ndarray) -> PairCode:
    """The shortest code of a matrix over the numbers of different gaps.

    Args:
        matrix: (rows, columns) integers, -128 to 127.
        bias: (rows,) int32.
    """
    rows, columns = matrix.shape
    flags = (matrix != 0).any(axis=0)
    used = matrix[:, flags] if flags.any() else matrix[:, :1]
    widths = widths_for(matrix)
    pairs = min(_choices(used, widths), key=lambda one: one.bits)
    bias_bits, bias_shift = bias_form(bias)
    taken = runs(flags) or [(0, 1)]
    parts = [
        _description(pairs.gap_lengths),
        _description(pairs.value_lengths),
        *(_gamma(number) for skip, take in taken for number in (skip + 1, take)),
        _body(pairs, used.shape, _signed(bias >> bias_shift, bias_bits), bias_bits),
    ]
    bits = np.concatenate(parts)
    words = np.append(pack_words(bits), np.uint16(0))
    symbols = max(int(np.count_nonzero(lengths)) for lengths in (pairs.gap_lengths, pairs.value_lengths))
    return PairCode(
        rows,
        columns,
        used.shape[1],
        widths,
        bias_bits,
        bias_shift,
        words,
        len(bits),
        len(pairs.gaps),
        symbols,
        len(taken),
    )


def decode_pairs(code: PairCode) -> tuple[np.ndarray, np.ndarray]:
    """Matrix (rows, columns) and bias (rows,), int64: the inverse of `encode_pairs`, as the kernels do it."""
    reader = BitReader(code.words)
    gap_table, gap_taken = decode_table(_read_lengths(reader), code.widths.gap)
    value_table, value_taken = decode_table(_read_lengths(reader), code.widths.value)
    places = _read_columns(reader, code.used)
    biases: list[int] = []
    gaps: list[int] = []
    values: list[int] = []
    at = code.used
    while True:
        entry = reader.peek(code.widths.gap)
        reader.read(int(gap_taken[entry]))
        gaps.append(int(gap_table[entry]))
        at += gaps[-1]
        while at >= code.used and len(biases) < code.rows:
            at -= code.used
            biases.append(_read_signed(reader, code.bias_bits))
        if at >= code.used:
            break
        entry = reader.peek(code.widths.value)
        reader.read(int(value_taken[entry]))
        values.append(int(value_table[entry]) - VALUE_OFFSET)
        at += 1
    if reader.position != code.bits:
        raise InternalError("the coded weights end elsewhere")
    matrix = np.zeros((code.rows, code.columns), np.int64)
    matrix[:, places] = from_relative_index(np.array(gaps), np.array(values), code.rows * code.used).reshape(
        code.rows, code.used
    )
    return matrix, np.array(biases, np.int64) << code.bias_shift


def _choices(used: np.ndarray, widths: Widths) -> Iterator[_Pairs]:
    for symbols in GAPS_TRIED:
        if symbols <= 1 << widths.gap:
            gaps, values = relative_index(used, symbols - 1, terminate=True)
            values = values + VALUE_OFFSET
            gap_lengths = code_lengths(np.bincount(gaps), widths.gap)
            yield _Pairs(gaps, values, gap_lengths, code_lengths(np.bincount(values, minlength=1), widths.value))


def _description(lengths: np.ndarray) -> np.ndarray:
    """A code as bits: number of symbols, then for each the distance to the one before and the change of length.

    0: the same length, 10: one more, 110: one less, 111 and four bits: any.
    """
    return code_bits(*_described(lengths))


def _described(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(numbers, bits of each) of a code's description."""
    symbols = np.flatnonzero(lengths)
    own = lengths[symbols].astype(np.int64)
    steps = np.diff(symbols, prepend=-1)
    change = np.diff(own, prepend=FIRST_LENGTH)
    known = np.abs(change) <= 1
    codes = np.where(known, np.array([0b0, 0b10, 0b110])[np.where(known, change, 0)], 0b111 << LENGTH_BITS | own)
    taken = np.where(known, np.array([1, 2, 3])[np.where(known, change, 0)], 3 + LENGTH_BITS)
    gamma = 2 * np.floor(np.log2(np.maximum(steps, 1))).astype(np.int64) + 1
    numbers = np.stack([steps, codes], axis=1).reshape(-1)
    bits = np.stack([gamma, taken], axis=1).reshape(-1)
    return np.append(len(symbols), numbers), np.append(SYMBOL_COUNT_BITS, bits)


def _read_lengths(reader: BitReader) -> np.ndarray:
    """The inverse of `_description`: lengths by symbol."""
    lengths: dict[int, int] = {}
    symbol, length = -1, FIRST_LENGTH
    for _ in range(reader.read(SYMBOL_COUNT_BITS)):
        symbol += _read_gamma(reader)
        if reader.read(1):
            if reader.read(1) == 0:
                length += 1
            elif reader.read(1) == 0:
                length -= 1
            else:
                length = reader.read(LENGTH_BITS)
        lengths[symbol] = length
    found = np.zeros(symbol + 1, np.int64)
    found[list(lengths)] = list(lengths.values())
    return found


def _gamma(number: int) -> np.ndarray:
    """Elias gamma code (1975) of a positive number."""
    return code_bits(np.array([number]), np.array([2 * number.bit_length() - 1]))


def _read_gamma(reader: BitReader) -> int:
    zeros = 0
    while reader.read(1) == 0:
        zeros += 1
    return 1 << zeros | reader.read(zeros)


def _read_columns(reader: BitReader, used: int) -> list[int]:
    """The used columns."""
    places: list[int] = []
    at = 0
    while len(places) < used:
        at += _read_gamma(reader) - 1
        take = _read_gamma(reader)
        places += range(at, at + take)
        at += take
    return places


def _signed(values: np.ndarray, bits: int) -> np.ndarray:
    """Two's complement of that width."""
    coded: np.ndarray = values.astype(np.int64) & ((1 << bits) - 1)
    return coded


def _read_signed(reader: BitReader, bits: int) -> int:
    value = reader.read(bits)
    return value - (1 << bits) if bits and value >> (bits - 1) else value


def _body(pairs: _Pairs, shape: tuple[int, ...], biases: np.ndarray, bias_bits: int) -> np.ndarray:
    """Gaps, biases and values in the order of decoding."""
    rows, columns = shape
    order = np.arange(len(pairs.gaps)) * 3
    # the gap that brings a decoder into each row after the first: positions are those of the values behind the gaps
    reached = np.cumsum(pairs.gaps + 1) - 1
    into = np.searchsorted(reached, np.arange(1, rows) * columns)
    keys = np.concatenate([order, [1], order[into] + 1, order[:-1] + 2])
    codes = [
        canonical_codes(pairs.gap_lengths)[pairs.gaps],
        biases,
        canonical_codes(pairs.value_lengths)[pairs.values],
    ]
    lengths = [
        pairs.gap_lengths[pairs.gaps],
        np.full(rows, bias_bits),
        pairs.value_lengths[pairs.values],
    ]
    by_key = np.argsort(keys, kind="stable")
    return code_bits(np.concatenate(codes)[by_key], np.concatenate(lengths)[by_key])
