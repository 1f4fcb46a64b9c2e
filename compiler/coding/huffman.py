"""Canonical Huffman codes of limited length, so that a table of 2**limit entries decodes any symbol in one step.

Lengths: package-merge, Larmore and Hirschberg, "A fast algorithm for optimal length-limited Huffman codes", J. ACM 37
(1990), after Huffman 1952. Canonical codewords (Schwartz and Kallick 1964): of equal length in the order of symbols,
shorter ones before longer ones, so the lengths alone say the code.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InternalError


def code_lengths(counts: Sequence[int] | np.ndarray, limit: int) -> np.ndarray:
    """Lengths of an optimal prefix code in which no codeword is longer than `limit`.

    Args:
        counts: how often each symbol occurs; symbols that never occur get no codeword.
        limit: longest codeword; 2**limit must not be less than the number of symbols that occur.

    Returns:
        (symbols,) int64, 0 where there is no codeword. A symbol that is alone gets one bit.
    """
    weights = np.asarray(counts, np.int64)
    used = np.flatnonzero(weights)
    lengths = np.zeros(len(weights), np.int64)
    if len(used) > 1 << limit:
        raise InternalError(f"{len(used)} symbols in codewords of {limit} bits")
    if len(used) < 2:
        lengths[used] = 1
        return lengths
    # an item of package-merge: (weight, symbols in it); ties are broken by order, so the result is one and the same
    leaves: list[tuple[int, tuple[int, ...]]] = [(int(weights[symbol]), (int(symbol),)) for symbol in used]
    leaves.sort(key=lambda item: item[0])
    merged = list(leaves)
    for _ in range(limit - 1):
        pairs = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(merged[::2], merged[1::2], strict=False)]
        merged = sorted(leaves + pairs, key=lambda item: item[0])
    for _, symbols in merged[: 2 * len(used) - 2]:
        for symbol in symbols:
            lengths[symbol] += 1
    return lengths


def canonical_order(lengths: np.ndarray) -> np.ndarray:
    """Symbols that have a codeword, in the order of their codewords."""
    symbols = np.flatnonzero(lengths)
    ordered: np.ndarray = symbols[np.argsort(np.asarray(lengths)[symbols], kind="stable")]
    return ordered


def canonical_codes(lengths: np.ndarray) -> np.ndarray:
    """Codeword of each symbol, (symbols,) int64; 0 where there is none.

    Raises:
        InternalError: the lengths are not those of a prefix code.
    """
    codes = np.zeros(len(lengths), np.int64)
    code = previous = 0
    for symbol in canonical_order(lengths):
        code <<= int(lengths[symbol]) - previous
        previous = int(lengths[symbol])
        codes[symbol] = code
        code += 1
    if code > 1 << previous:
        raise InternalError("the lengths are not those of a prefix code")
    return codes


def decode_table(lengths: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """What every `width` bits begin with.

    Args:
        width: bits looked at, at least the longest codeword.

    Returns:
        (2**width,) symbols and their lengths; length 0 where no codeword fits (a code of one symbol).
    """
    symbols = np.zeros(1 << width, np.int64)
    taken = np.zeros(1 << width, np.int64)
    codes = canonical_codes(lengths)
    for symbol in np.flatnonzero(lengths):
        free = width - int(lengths[symbol])
        first = int(codes[symbol]) << free
        symbols[first : first + (1 << free)] = symbol
        taken[first : first + (1 << free)] = lengths[symbol]
    return symbols, taken
