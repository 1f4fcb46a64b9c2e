"""Streams of stored weights for the DSP kernels, as flat uint32; `templates/mcu/kernels/dsp/stored/` says the layouts.

Inputs are widened in the order of SXTB16: of every four inputs k the column words hold k and k + 2, then k + 1, k + 3.
"""

from __future__ import annotations

import numpy as np

from .dsp_layout import LinearLayer, per_output
from .stored_values import BLOCK, Grid, gaps, occupied

GROUP = 4
"""Outputs that a row of packed weights is multiplied with at a time."""


def column_pairs(weights: np.ndarray) -> np.ndarray:
    """(outputs, depth / 2, 2): the two weights of every column word; depth is a multiple of four."""
    fours = weights.reshape(len(weights), -1, 4)
    pairs: np.ndarray = fours[:, :, [0, 2, 1, 3]].reshape(len(weights), -1, 2)
    return pairs


def byte_words(values: np.ndarray) -> np.ndarray:
    """Bytes, filled up with zeros to whole words, the first one lowest."""
    flat = np.asarray(values, np.int64).reshape(-1)
    padded = np.pad(flat, (0, -flat.size % 4)).astype(np.uint8)
    return padded.view("<u4")


def _word(value: int) -> np.ndarray:
    return np.array([value & 0xFFFFFFFF], np.uint32)


def _outputs(layer: LinearLayer) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(weights, start sum, multiplier) of every output."""
    multipliers = per_output(layer.requantization, layer.outputs)
    return [
        (row, _word(int(bias)), _word(multiplier))
        for row, bias, multiplier in zip(layer.weights, layer.bias, multipliers, strict=True)
    ]


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([part.astype(np.uint32) for part in parts])


def most_blocks(weights: np.ndarray, most_gap: int) -> int:
    """Blocks of the output that has most, those that only bridge a distance included."""
    return max((len(gaps(np.flatnonzero(row), most_gap)[0]) for row in occupied(weights, BLOCK)), default=0)


def _blocks(row: np.ndarray, most_gap: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances of the blocks of an output, and their weights (blocks, 4)."""
    fours = row.reshape(-1, BLOCK)
    places = np.flatnonzero(fours.any(axis=1))
    distances, real = gaps(places, most_gap)
    weights = np.zeros((len(distances), BLOCK), np.int64)
    weights[real] = fours[places]
    return distances, weights


def block_columns(layer: LinearLayer) -> np.ndarray:
    """Layout of `block.c.j2` for four pixels."""
    parts: list[np.ndarray] = []
    for row, bias, multiplier in _outputs(layer):
        distances, weights = _blocks(row, 255)
        parts += [bias, byte_words(np.concatenate([[len(distances)], distances])), byte_words(weights), multiplier]
    return _joined(parts)


ROW_GAP = 31
"""Blocks left out that a byte holds times eight."""


def block_row(layer: LinearLayer) -> np.ndarray:
    """Layout of `block.c.j2` for a row."""
    parts: list[np.ndarray] = []
    for row, bias, multiplier in _outputs(layer):
        distances, weights = _blocks(row, ROW_GAP)
        first = len(distances) % 4
        head = np.concatenate([[len(distances)], 8 * distances[:first], np.zeros(3 - first, np.int64)])
        parts += [bias, byte_words(head), byte_words(8 * distances[first:]), byte_words(weights), multiplier]
    return _joined(parts)


def block4_stream(layer: LinearLayer, extra: int) -> np.ndarray:
    """Layout of `block4.c.j2`, the start sums times 2**extra."""
    parts: list[np.ndarray] = []
    for row, bias, multiplier in _outputs(layer):
        distances, weights = _blocks(row, 255)
        nibbles = weights & 0xF
        bytes_ = nibbles[:, [0, 2]] << 4 | nibbles[:, [1, 3]]
        entries = np.concatenate([distances[:, None], bytes_], axis=1).reshape(-1)
        parts += [bias << np.uint32(extra), byte_words(np.concatenate([[len(distances)], entries])), multiplier]
    return _joined(parts)


def packed_words(layer: LinearLayer, grid: Grid) -> np.ndarray:
    """(outputs, words): numbers of a grid, a word for 16 // bits column words, the first one in the lowest bits."""
    lanes = 16 // grid.bits
    pairs = column_pairs(grid.numbers(layer.weights))
    padded = np.pad(pairs, ((0, 0), (0, -pairs.shape[1] % lanes), (0, 0)))
    by_word = padded.reshape(layer.outputs, -1, lanes, 2)
    shifts = grid.bits * np.arange(lanes)[:, None] + np.array([0, 16])
    words: np.ndarray = (by_word << shifts).sum(axis=(2, 3)).astype(np.uint32)
    return words


def packed_columns(layer: LinearLayer, grid: Grid) -> np.ndarray:
    """Layout of `packed.c.j2` for four pixels."""
    words = packed_words(layer, grid)
    ends = np.array([layer.bias & 0xFFFFFFFF, per_output(layer.requantization, layer.outputs)], np.int64).T.astype(
        np.uint32
    )
    return _joined([_word(grid.low), _word(grid.step), np.concatenate([words, ends], axis=1).reshape(-1)])


def packed_row(layer: LinearLayer, grid: Grid) -> np.ndarray:
    """Layout of `packed.c.j2` for a row; the number of outputs is a multiple of `GROUP`."""
    words = packed_words(layer, grid)
    groups = layer.outputs // GROUP
    by_turns = words.reshape(groups, GROUP, -1).transpose(0, 2, 1).reshape(groups, -1)
    bias = (layer.bias & 0xFFFFFFFF).astype(np.uint32).reshape(groups, GROUP)
    multipliers = np.array(per_output(layer.requantization, layer.outputs), np.uint32).reshape(groups, GROUP)
    return _joined(
        [_word(grid.low), _word(grid.step), np.concatenate([by_turns, bias, multipliers], axis=1).reshape(-1)]
    )


def codebook_stream(layer: LinearLayer, values: np.ndarray) -> np.ndarray:
    """Layout of `codebook.c.j2`; `values` are sorted."""
    pairs = column_pairs(np.searchsorted(values, layer.weights))
    indices = pairs[..., 0] | pairs[..., 1] << 4
    parts: list[np.ndarray] = []
    for row, (_, bias, multiplier) in zip(indices, _outputs(layer), strict=True):
        parts += [bias, byte_words(row), multiplier]
    return _joined(parts)


def _entries(values: np.ndarray, *, inclusive: bool) -> np.ndarray:
    """(entries, 2): distance and value of what is not zero.

    `inclusive`: distances are from the previous place itself, not from one past it.
    """
    places = np.flatnonzero(values)
    distances, real = gaps(places, 254 if inclusive else 255)
    weights = np.zeros(len(distances), np.int64)
    weights[real] = values[places]
    if inclusive and len(distances):
        distances[1:] += 1
    return np.stack([distances, weights], axis=1)


def csr_columns(layer: LinearLayer) -> np.ndarray:
    """Layout of `csr.c.j2` for four pixels."""
    parts: list[np.ndarray] = []
    for row, bias, multiplier in _outputs(layer):
        pairs = column_pairs(row[None])[0]
        lower, upper = _entries(pairs[:, 0], inclusive=True), _entries(pairs[:, 1], inclusive=True)
        parts += [bias, _word(len(lower) | len(upper) << 16), byte_words(np.concatenate([lower, upper])), multiplier]
    return _joined(parts)


def csr_row(layer: LinearLayer) -> np.ndarray:
    """Layout of `csr.c.j2` for a row."""
    parts: list[np.ndarray] = []
    for row, bias, multiplier in _outputs(layer):
        entries = _entries(row, inclusive=True)
        first = np.zeros((1, 2), np.int64)
        if len(entries) % 2:
            first, entries = entries[:1], entries[1:]
        elif len(entries):  # an entry of no weight first
            first = np.array([[0, 0]])
        head = len(entries) // 2 | int(byte_words(first)[0]) << 16
        parts += [bias, _word(head), byte_words(entries), multiplier]
    return _joined(parts)


def _mask_words(bits: np.ndarray) -> np.ndarray:
    """Masks of 32 bits each, the first one highest."""
    padded = np.pad(bits, (0, -bits.size % 32)).reshape(-1, 32)
    words: np.ndarray = (padded.astype(np.int64) << np.arange(31, -1, -1)).sum(axis=1).astype(np.uint32)
    return words


def bitmask_columns(layer: LinearLayer) -> np.ndarray:
    """Layout of `bitmask.c.j2` for four pixels."""
    parts: list[np.ndarray] = []
    pairs = column_pairs(layer.weights)
    padded = np.pad(pairs, ((0, 0), (0, -pairs.shape[1] % 32), (0, 0)))
    by_half = padded.reshape(layer.outputs, -1, 32, 2).transpose(0, 1, 3, 2)  # lower halves of 32 words, then upper
    for row, (_, bias, multiplier) in zip(by_half.reshape(layer.outputs, -1), _outputs(layer), strict=True):
        parts += [bias, _mask_words(row != 0), byte_words(row[row != 0]), multiplier]
    return _joined([_word(by_half[0].size // 8), *parts])


def bitmask_row(layer: LinearLayer) -> np.ndarray:
    """Layout of `bitmask.c.j2` for a row."""
    parts: list[np.ndarray] = []
    for row, bias, multiplier in _outputs(layer):
        parts += [bias, _mask_words(row != 0), byte_words(row[row != 0]), multiplier]
    return _joined([_word(-(-layer.weights.shape[1] // 32) * 4), *parts])
