"""Weight layout of the Helium kernels: blocks of 16 inputs, four output channels to a tile, constants in the stream."""

from __future__ import annotations

import numpy as np

from boardfit.numerics import Requantization

from .int8_layers import high_word_shift, round_up

LANES = 16
TILE = 4
TOP_BYTE = 24


def shift_left(requantization: Requantization) -> int:
    """Left shift of the high word that moves the result to the top byte."""
    return TOP_BYTE - high_word_shift(requantization)


def tile_stream(weights: np.ndarray, bias: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
    """What `mve/multiply.c.j2` reads.

    Args:
        weights: (outputs, depth) int8.
        bias, multiplier: (outputs,) int32.

    Returns:
        Flat uint32: for every four outputs the blocks, then four biases and four multipliers. Missing outputs
        and the lanes before the first input are zero.
    """
    outputs, depth = weights.shape
    tiles, lanes = round_up(outputs, TILE) // TILE, round_up(depth, LANES)
    padded = np.zeros((tiles * TILE, lanes), np.int8)
    padded[:outputs, lanes - depth :] = weights
    blocks = padded.reshape(tiles, TILE, lanes // LANES, LANES).transpose(0, 2, 1, 3)
    constants = np.zeros((2, tiles * TILE), np.int32)
    constants[0, :outputs] = bias
    constants[1, :outputs] = multiplier
    tail = constants.reshape(2, tiles, TILE).transpose(1, 0, 2).reshape(tiles, -1)
    words = np.ascontiguousarray(blocks).reshape(tiles, -1).view(np.uint32)
    return np.concatenate([words, tail.astype(np.uint32)], axis=1).reshape(-1)
