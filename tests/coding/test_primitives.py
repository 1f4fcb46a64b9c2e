"""Bits, Huffman codes and the range coder: what is coded comes back, and no shorter code exists."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.coding.bits import BitReader, code_bits, pack_words
from boardfit.coding.huffman import canonical_codes, code_lengths, decode_table
from boardfit.coding.range_coder import START, RangeDecoder, RangeEncoder, updated
from boardfit.errors import InternalError

COUNTS = st.lists(st.integers(0, 1000), min_size=1, max_size=40).filter(any)


def huffman_cost(counts: list[int]) -> int:
    """Bits of an unlimited Huffman code: the sum of all merged weights."""
    heap = [count for count in counts if count]
    heapq.heapify(heap)
    total = heap[0] if len(heap) == 1 else 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


@given(COUNTS)
def test_long_limits_give_huffman_codes(counts: list[int]) -> None:
    lengths = code_lengths(counts, 40)
    assert int((lengths * counts).sum()) == huffman_cost(counts)


@given(COUNTS, st.integers(0, 3))
def test_limited_codes_are_prefix_codes_and_decode(counts: list[int], spare: int) -> None:
    used = sum(count > 0 for count in counts)
    limit = max(1, math.ceil(math.log2(used))) + spare
    lengths = code_lengths(counts, limit)
    assert lengths.max() <= limit
    assert ((lengths > 0) == (np.array(counts) > 0)).all()
    if used > 1:
        assert sum(2.0 ** -int(length) for length in lengths[lengths > 0]) == 1.0
    symbols, taken = decode_table(lengths, limit)
    codes = canonical_codes(lengths)
    message = np.flatnonzero(lengths).repeat(2)
    reader = BitReader(pack_words(code_bits(codes[message], lengths[message])))
    for symbol in message:
        entry = reader.peek(limit)
        assert symbols[entry] == symbol
        reader.read(int(taken[entry]))


@pytest.mark.parametrize(("counts", "limit"), [([8, 4, 2, 1, 1], 3), ([1, 1, 2, 3, 5, 8], 3), ([40, 9, 3, 1, 1], 4)])
def test_the_limit_costs_as_little_as_possible(counts: list[int], limit: int) -> None:
    """Against every choice of lengths that satisfies Kraft's inequality."""
    choices = [np.array(choice) + 1 for choice in np.ndindex(*[limit] * len(counts))]
    best = min(int((choice * counts).sum()) for choice in choices if (2.0**-choice).sum() <= 1.0)
    assert int((code_lengths(counts, limit) * counts).sum()) == best


def test_too_many_symbols_and_wrong_lengths_are_refused() -> None:
    with pytest.raises(InternalError, match="5 symbols"):
        code_lengths([1] * 5, 2)
    with pytest.raises(InternalError, match="prefix"):
        canonical_codes(np.array([1, 1, 1]))
    with pytest.raises(InternalError, match="length"):
        code_bits(np.array([4]), np.array([2]))
    with pytest.raises(InternalError, match="too early"):
        BitReader(np.zeros(1, np.uint16)).read(17)


@given(st.lists(st.tuples(st.integers(0, (1 << 20) - 1), st.integers(20, 30)), max_size=30))
def test_values_come_back(values: list[tuple[int, int]]) -> None:
    codes, lengths = np.array([v for v, _ in values], np.int64), np.array([b for _, b in values], np.int64)
    reader = BitReader(pack_words(code_bits(codes, lengths)))
    assert [reader.read(bits) for _, bits in values] == [value for value, _ in values]


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4095)), max_size=400))
def test_bits_of_any_probability_come_back(bits: list[tuple[int, int]]) -> None:
    encoder = RangeEncoder()
    for bit, probability in bits:
        encoder.encode(bit, probability)
    decoder = RangeDecoder(encoder.finish())
    assert [decoder.decode(probability) for _, probability in bits] == [bit for bit, _ in bits]


@pytest.mark.parametrize("bit", [0, 1])
def test_carries_travel_through_written_bytes(bit: int) -> None:
    """A long run of improbable ones keeps `low` just under a carry."""
    message = [(1, 1), *[(0, 4095)] * 5, *[(1, 1)] * 200, (bit, 1)]
    encoder = RangeEncoder()
    for value, probability in message:
        encoder.encode(value, probability)
    decoder = RangeDecoder(encoder.finish())
    assert [decoder.decode(probability) for _, probability in message] == [value for value, _ in message]


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5])
def test_adaptive_bits_cost_little_more_than_their_entropy(share: float) -> None:
    bits = (np.random.default_rng(0).random(20000) < share).astype(int).tolist()
    encoder, state = RangeEncoder(), START
    for bit in bits:
        encoder.encode(bit, state >> 4)
        state = updated(state, bit)
    entropy = -share * math.log2(share) - (1 - share) * math.log2(1 - share)
    assert 8 * len(encoder.finish()) < 1.06 * entropy * len(bits) + 64


@given(st.lists(st.integers(0, 1), max_size=300))
def test_probabilities_stay_possible(bits: list[int]) -> None:
    state = START
    for bit in bits:
        state = updated(state, bit)
        assert 1 <= state >> 4 <= 4095
        assert 0 <= state < 1 << 16
