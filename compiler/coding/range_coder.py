"""An adaptive binary range coder: arithmetic coding with whole bytes, every bit with a probability that learns.

Arithmetic coding: Witten, Neal and Cleary, "Arithmetic coding for data compression", CACM 30 (1987). Range coding,
renormalized by bytes: Martin, "Range encoding" (1979); Subbotin (1999). A probability moves by a share of its error
that begins at a quarter and falls to 1/64: what a counting estimator does at first, so that a context used only a few
times costs little.
"""

from __future__ import annotations

from ..errors import InternalError

PROBABILITY_BITS = 12
TOP = 1 << 32
BOTTOM = 1 << 24

State = int
"""Of a context, as the device keeps it in 16 bits: probability of a zero in the upper 12, visits in the lower 4."""

START: State = (1 << (PROBABILITY_BITS - 1)) << 4
"""Zero and one are equally likely; never visited."""


def updated(state: State, bit: int) -> State:
    """State of a context after a bit."""
    probability, visits = state >> 4, state & 15
    rate = (visits + 9) >> 2
    if bit:
        probability -= probability >> rate
    else:
        probability += ((1 << PROBABILITY_BITS) - probability) >> rate
    return probability << 4 | min(visits + 1, 15)


class RangeEncoder:
    """Writes bits. `low` has 32 bits; what carries out of them is added to the bytes already written."""

    def __init__(self) -> None:
        self._low = 0
        self._range = TOP - 1
        self._bytes = bytearray()

    def encode(self, bit: int, probability: int) -> None:
        """One bit, where `probability` / 4096 is that of a zero (1 to 4095)."""
        bound = (self._range >> PROBABILITY_BITS) * probability
        if bit:
            self._add(bound)
            self._range -= bound
        else:
            self._range = bound
        while self._range < BOTTOM:
            self._range <<= 8
            self._bytes.append(self._low >> 24)
            self._low = (self._low << 8) & (TOP - 1)

    def finish(self) -> bytes:
        """The bytes a decoder reads, as many as it reads: four at first, and one whenever the encoder made one."""
        self._add((self._range - 1) >> 1)
        return bytes(self._bytes) + self._low.to_bytes(4, "big")

    def _add(self, value: int) -> None:
        self._low += value
        if self._low >= TOP:
            self._low -= TOP
            place = len(self._bytes) - 1
            while self._bytes[place] == 0xFF:
                self._bytes[place] = 0
                place -= 1
            self._bytes[place] += 1


class RangeDecoder:
    """Reads what a RangeEncoder wrote."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._next = 4
        self._range = TOP - 1
        self._code = int.from_bytes(data[:4], "big")

    def decode(self, probability: int) -> int:
        """The next bit.

        Raises:
            InternalError: the bytes were not written with these probabilities.
        """
        bound = (self._range >> PROBABILITY_BITS) * probability
        bit = int(self._code >= bound)
        if bit:
            self._code -= bound
            self._range -= bound
        else:
            self._range = bound
        if self._code >= self._range:
            raise InternalError("the coded weights are damaged")
        while self._range < BOTTOM:
            self._range <<= 8
            if self._next >= len(self._data):
                raise InternalError("the coded weights end too early")
            self._code = self._code << 8 | self._data[self._next]
            self._next += 1
        return bit
