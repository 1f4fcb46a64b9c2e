"""Codewords to bits and back, the most significant bit first."""

from __future__ import annotations

import numpy as np

from ..errors import InternalError

WORD_BITS = 16


def code_bits(codes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Codewords one after another.

    Args:
        codes: (N,) non-negative values, each less than 2**length.
        lengths: (N,) bits of each, 0 to 62; nothing is written for 0.

    Returns:
        (sum of lengths,) uint8 of zeros and ones.
    """
    codes, lengths = np.asarray(codes, np.int64), np.asarray(lengths, np.int64)
    if codes.shape != lengths.shape or (codes.size and ((codes < 0) | (codes >> lengths != 0)).any()):
        raise InternalError("a codeword does not fit its length")
    ends = np.cumsum(lengths)
    below = np.repeat(ends, lengths) - np.arange(int(lengths.sum())) - 1
    bits: np.ndarray = ((np.repeat(codes, lengths) >> below) & 1).astype(np.uint8)
    return bits


def pack_words(bits: np.ndarray) -> np.ndarray:
    """Bits as 16-bit words, (ceil(N / 16),) uint16; the last word is filled up with zeros."""
    padded = np.concatenate([bits, np.zeros(-len(bits) % WORD_BITS, np.uint8)])
    words: np.ndarray = np.packbits(padded).view(">u2").astype(np.uint16)
    return words


class BitReader:
    """Reads values from 16-bit words, the most significant bit first."""

    def __init__(self, words: np.ndarray) -> None:
        self._bits = np.unpackbits(np.asarray(words, np.uint16).astype(">u2").view(np.uint8))
        self.position = 0

    def read(self, count: int) -> int:
        """The next `count` bits as a number; 0 for none.

        Raises:
            InternalError: the words end before.
        """
        end = self.position + count
        if end > len(self._bits):
            raise InternalError("the coded weights end too early")
        value = int("".join(map(str, self._bits[self.position : end])) or "0", 2)
        self.position = end
        return value

    def peek(self, count: int) -> int:
        """The next `count` bits without consuming them; zeros beyond the end."""
        bits = self._bits[self.position : self.position + count]
        return int("".join(map(str, bits)) or "0", 2) << (count - len(bits))
