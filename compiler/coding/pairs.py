"""A sparse integer matrix as (gap, value) pairs in canonical Huffman codes, with the biases of its rows.

The bits, most significant first, in 16-bit words (docs/compression.md has the format):

1. the code of the gaps' upper parts, then that of the values: for each length from 1 to its longest, how many codewords
   have it; then the symbols in the order of their codewords;
2. which columns are used at all: by turns the number skipped (plus one) and the number taken, in Elias's gamma code;
3. the bias of the first row; then pair by pair the gap (codeword and `low_bits` plain bits), the biases of the rows
   that begin within the gap, and the value. Positions run through the used columns row by row. The last gap leads
   behind the last row, and no value follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import InternalError
from .bits import BitReader, code_bits, pack_words
from .gaps import from_relative_index, relative_index, runs
from .huffman import canonical_codes, canonical_order, code_lengths, decode_table

COUNT_BITS = 9
PAIR_BITS = 16
"""Most bits of a pair: a decoder that holds so many needs no further word between gap and value."""

GAP_LIMITS = (5, 6, 7, 8)
VALUE_LIMITS = (4, 5, 6, 7, 8)
MOST_LOW_BITS = 6
MOST_GAP = (1 << 11) - 1
"""Table entries hold a gap and a length in 15 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class PairCode:
    """The parameters of a coded matrix that stand outside the bits.

    Attributes:
        rows, columns: of the matrix.
        used: columns with a value that is not zero.
        gap_bits, value_bits: longest codewords.
        low_bits: of a gap, stored plainly behind its codeword.
        symbol_bits: of a value in the list of values, which counts from `base`.
        base: smallest value.
        gap_symbol_bits: of the upper part of a gap in its list.
        bias_bits, bias_shift: a bias is a signed number of so many bits, times 2**bias_shift.
        words: (N,) uint16, one more than holds the bits, for a decoder that is a word ahead.
        bits: how many bits are used.
        pairs: coded gaps: values that are not zero, fillers and the last gap.
    """

    rows: int
    columns: int
    used: int
    gap_bits: int
    value_bits: int
    low_bits: int
    symbol_bits: int
    base: int
    gap_symbol_bits: int
    bias_bits: int
    bias_shift: int
    words: np.ndarray
    bits: int
    pairs: int


@dataclass(frozen=True, slots=True, eq=False)
class _Split:
    """Gaps cut into a coded and a plain part, with the codes that go with them."""

    low_bits: int
    gaps: np.ndarray
    values: np.ndarray
    gap_lengths: np.ndarray
    value_lengths: np.ndarray

    @property
    def gap_bits(self) -> int:
        return int(self.gap_lengths.max())

    @property
    def value_bits(self) -> int:
        return int(self.value_lengths.max(initial=1))


def bias_form(bias: np.ndarray) -> tuple[int, int]:
    """(bits, shift) of the shortest signed numbers which, times 2**shift, are the biases exactly."""
    values = bias.astype(np.int64)
    if not values.any():
        return 0, 0
    common = int(np.bitwise_or.reduce(np.abs(values)))
    shift = (common & -common).bit_length() - 1
    reach = max(int(values.max()), -int(values.min()) - 1, 0) >> shift
    return reach.bit_length() + 1, shift


def encode_pairs(matrix: np.ndarray, bias: np.ndarray) -> PairCode:
    """The shortest code of a matrix over the ways to cut gaps and to limit codewords.

    Args:
        matrix: (rows, columns) integers with at most 255 distinct values that are not zero, less than 256 apart.
        bias: (rows,) int32.
    """
    rows, columns = matrix.shape
    flags = (matrix != 0).any(axis=0)
    used = matrix[:, flags] if flags.any() else matrix[:, :1]
    base = min(int(matrix.min(initial=0)), 0)
    split = min(_splits(used, base), key=lambda one: _cost(one, base))
    bias_bits, bias_shift = bias_form(bias)
    symbol_bits = _symbol_bits(split.value_lengths)
    gap_symbol_bits = _symbol_bits(split.gap_lengths)
    parts = [
        _code_description(split.gap_lengths, split.gap_bits, gap_symbol_bits),
        _code_description(split.value_lengths, split.value_bits, symbol_bits),
        *(_gamma(number) for skip, take in runs(flags) or [(0, 1)] for number in (skip + 1, take)),
        _body(split, base, used.shape, _signed(bias >> bias_shift, bias_bits), bias_bits),
    ]
    bits = np.concatenate(parts)
    words = np.append(pack_words(bits), np.uint16(0))
    return PairCode(
        rows,
        columns,
        used.shape[1],
        split.gap_bits,
        split.value_bits,
        split.low_bits,
        symbol_bits,
        base,
        gap_symbol_bits,
        bias_bits,
        bias_shift,
        words,
        len(bits),
        len(split.gaps),
    )


def decode_pairs(code: PairCode) -> tuple[np.ndarray, np.ndarray]:
    """Matrix (rows, columns) and bias (rows,), int64: the inverse of `encode_pairs`, as the kernels do it."""
    reader = BitReader(code.words)
    gap_lengths, gap_symbols = _read_code(reader, code.gap_bits, code.gap_symbol_bits)
    value_lengths, value_symbols = _read_code(reader, code.value_bits, code.symbol_bits)
    places = _read_columns(reader, code.used)
    gap_table, gap_taken = decode_table(gap_lengths, code.gap_bits)
    value_table, value_taken = decode_table(value_lengths, code.value_bits)
    biases = [_read_signed(reader, code.bias_bits)]
    gaps: list[int] = []
    values: list[int] = []
    at = 0
    while True:
        entry = reader.peek(code.gap_bits)
        reader.read(int(gap_taken[entry]))
        gaps.append((gap_symbols[gap_table[entry]] << code.low_bits) + reader.read(code.low_bits))
        at += gaps[-1]
        while at >= code.used and len(biases) < code.rows:
            at -= code.used
            biases.append(_read_signed(reader, code.bias_bits))
        if at >= code.used:
            break
        entry = reader.peek(code.value_bits)
        reader.read(int(value_taken[entry]))
        values.append(value_symbols[value_table[entry]] + code.base)
        at += 1
    if reader.position != code.bits:
        raise InternalError("the coded weights end elsewhere")
    matrix = np.zeros((code.rows, code.columns), np.int64)
    matrix[:, places] = from_relative_index(np.array(gaps), np.array(values), code.rows * code.used).reshape(
        code.rows, code.used
    )
    return matrix, np.array(biases, np.int64) << code.bias_shift


def _splits(used: np.ndarray, base: int) -> Iterator[_Split]:
    for low_bits in range(MOST_LOW_BITS + 1):
        for limit in GAP_LIMITS:
            for symbols in (1 << limit, 3 << (limit - 2), 1 << (limit - 1)):
                longest = (symbols << low_bits) - 1
                if longest > MOST_GAP:
                    continue
                gaps, values = relative_index(used, longest, terminate=True)
                gap_lengths = code_lengths(np.bincount(gaps >> low_bits), limit)
                counts = np.bincount(values - base, minlength=1)
                for value_limit in VALUE_LIMITS:
                    too_long = int(gap_lengths.max()) + low_bits + value_limit > PAIR_BITS
                    if not too_long and np.count_nonzero(counts) <= 1 << value_limit:
                        yield _Split(low_bits, gaps, values, gap_lengths, code_lengths(counts, value_limit))


def _cost(split: _Split, base: int) -> int:
    """Bits of the pairs and of the codes."""
    gaps = int(split.gap_lengths[split.gaps >> split.low_bits].sum()) + split.low_bits * len(split.gaps)
    values = int(split.value_lengths[split.values - base].sum())
    described = sum(
        COUNT_BITS * int(lengths.max(initial=1)) + _symbol_bits(lengths) * int(np.count_nonzero(lengths))
        for lengths in (split.gap_lengths, split.value_lengths)
    )
    return gaps + values + described


def _symbol_bits(lengths: np.ndarray) -> int:
    used = np.flatnonzero(lengths)
    return max(1, int(used.max(initial=0)).bit_length())


def _code_description(lengths: np.ndarray, longest: int, symbol_bits: int) -> np.ndarray:
    counts = np.bincount(lengths[lengths > 0], minlength=longest + 1)[1:]
    symbols = canonical_order(lengths)
    sizes = np.concatenate([np.full(longest, COUNT_BITS), np.full(len(symbols), symbol_bits)])
    return code_bits(np.concatenate([counts, symbols]), sizes)


def _read_code(reader: BitReader, longest: int, symbol_bits: int) -> tuple[np.ndarray, list[int]]:
    """(lengths of codewords in their order, their symbols)."""
    counts = [reader.read(COUNT_BITS) for _ in range(longest)]
    lengths = np.repeat(np.arange(1, longest + 1), counts)
    return lengths, [reader.read(symbol_bits) for _ in lengths]


def _gamma(number: int) -> np.ndarray:
    """Elias gamma code (1975) of a positive number."""
    return code_bits(np.array([number]), np.array([2 * number.bit_length() - 1]))


def _read_columns(reader: BitReader, used: int) -> list[int]:
    """The used columns."""

    def gamma() -> int:
        zeros = 0
        while reader.read(1) == 0:
            zeros += 1
        return 1 << zeros | reader.read(zeros)

    places: list[int] = []
    at = 0
    while len(places) < used:
        at += gamma() - 1
        take = gamma()
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


def _body(split: _Split, base: int, shape: tuple[int, ...], biases: np.ndarray, bias_bits: int) -> np.ndarray:
    """Gaps, biases and values in the order of decoding."""
    rows, columns = shape
    order = np.arange(len(split.gaps)) * 4
    upper = split.gaps >> split.low_bits
    values = split.values - base
    # the gap that brings a decoder into each row after the first: positions are those of the values behind the gaps
    reached = np.cumsum(split.gaps + 1) - 1
    into = np.searchsorted(reached, np.arange(1, rows) * columns)
    keys = np.concatenate([[-1], order, order + 1, order[into] + 2, order[:-1] + 3])
    codes = np.concatenate(
        [
            biases[:1],
            canonical_codes(split.gap_lengths)[upper],
            split.gaps & ((1 << split.low_bits) - 1),
            biases[1:],
            canonical_codes(split.value_lengths)[values],
        ]
    )
    lengths = np.concatenate(
        [
            [bias_bits],
            split.gap_lengths[upper],
            np.full(len(order), split.low_bits),
            np.full(rows - 1, bias_bits),
            split.value_lengths[values],
        ]
    )
    by_key = np.argsort(keys, kind="stable")
    return code_bits(codes[by_key], lengths[by_key])
