"""Weight layout of the Helium kernels: blocks of 16 inputs, four output channels to a tile, constants in the stream."""

from __future__ import annotations

import numpy as np

from boardfit.numerics import Requantization

from ..kernel import Site
from ..storage import S8
from .common import LinearParameters, affine_refusal, linear_refusal

LANES = 16
TILE = 4
HIGH_WORD = 32
TOP_BYTE = 24


def refuse_linear(site: Site) -> str | None:
    """Why a layer does not suit the int8 matrix products, whatever its geometry."""
    reason = affine_refusal(site, 0) or linear_refusal(site)
    if reason:
        return reason
    if site.x_storage() != S8 or site.y_storage != S8:
        return "its activations are not int8"
    return None


def refuse_parameters(parameters: LinearParameters) -> str | None:
    """Why weights and requantization do not suit VMLADAV, VMULH and VQSHL, or None."""
    if parameters.weights.dtype != np.int8:
        return "its weights less their zero point do not fit int8"
    return refuse_shift(parameters.requantization)


def refuse_shift(requantization: Requantization) -> str | None:
    """Why a requantization cannot be done on the high word of the product, or None."""
    shift = requantization.shift - HIGH_WORD
    if requantization.ties_to_even or shift < 1 or shift > TOP_BYTE - 1:
        return f"requantization shift {requantization.shift}"
    return None


def addend(requantization: Requantization) -> int:
    """Zero point and one half, as added to the high word of the product."""
    shift = requantization.shift - HIGH_WORD
    return (requantization.zero_point << shift) + (1 << (shift - 1))


def shift_left(requantization: Requantization) -> int:
    """Left shift of the high word that moves the result to the top byte."""
    return TOP_BYTE - (requantization.shift - HIGH_WORD)


def clamps(requantization: Requantization) -> bool:
    """Whether the activation bounds the output inside the int8 range."""
    return (requantization.low, requantization.high) != (-128, 127)


def round_up(value: int, unit: int) -> int:
    """The smallest multiple of `unit` that is not below `value`."""
    return -(-value // unit) * unit


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
