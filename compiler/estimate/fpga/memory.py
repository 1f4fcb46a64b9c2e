"""Block RAM: weight memories, tables and stream FIFOs, in RAMB18 units (UG473, UG573)."""

from __future__ import annotations

import math

# Depth and width of the aspect ratios of one RAMB18 in simple dual-port mode.
_SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))


def bram18_blocks(depth: int, width: int) -> int:
    """RAMB18 blocks of a depth x width memory: the cheapest of the aspect ratios, in whole columns and rows."""
    if depth <= 0 or width <= 0:
        return 0
    return min(math.ceil(depth / rows) * math.ceil(width / columns) for rows, columns in _SHAPES)


def weight_blocks(depth: int, width: int, threshold_bits: float) -> int:
    """Blocks of a read-only memory in the HLS report; up to `threshold_bits` the tool keeps it in LUTs."""
    return 0 if depth * width <= threshold_bits else bram18_blocks(depth, width)


def weight_blocks_synthesised(depth: int, width: int, threshold_depth: float) -> int:
    """Blocks after Vivado synthesis: a shallow memory becomes LUTs, and so does a last column less than half used."""
    if depth <= threshold_depth:
        return 0
    return min(math.ceil(depth / rows) * max(1, round(width / columns)) for rows, columns in _SHAPES)


def fifo_blocks(depth: int, width: int, threshold_depth: float) -> int:
    """Blocks of one FIFO in the HLS report; up to `threshold_depth` words it is a shift register made of LUTs."""
    return 0 if depth <= threshold_depth else bram18_blocks(depth, width)
