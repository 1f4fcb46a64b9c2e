"""How far the output of a layer may reach into the input it consumes.

A layer that walks its output in raster order reads its input in raster order too, so the output may start a little
below the input and overwrite what has been read ("diagonal memory", Peter Blacker et al. 2020, "Rapid prototyping of
deep learning models with minimal memory"). The safe distance is exact arithmetic on the layer's geometry: the largest
lead the write pointer ever has over the oldest byte that is still to be read.
"""

from __future__ import annotations

import numpy as np

from ..ops.windows import Pads, Pair


def window_distance(
    image: tuple[int, int, int],
    output: tuple[int, int, int],
    strides: Pair,
    pads: Pads,
    *,
    element_bytes: tuple[int, int] = (1, 1),
    tile: int = 1,
    buffered: bool = False,
) -> int:
    """Safe distance of a sliding-window layer (convolution, pooling) that makes its output pixels in raster order.

    Args:
        image: (H, W, C) of the input, channels-last.
        output: (OH, OW, C) of the output.
        strides, pads: of the window (top, left, bottom, right).
        element_bytes: bytes of an input and of an output element.
        tile: consecutive output pixels of one row that are made together (a row is cut into tiles; 0: a whole row).
        buffered: whether a tile reads all its input before it writes; if not, a tile's own writes must not reach
            what the tile itself may still read.

    Returns:
        The smallest d such that `input address - output address >= d` is safe; at most the output's bytes,
        at least 0.
    """
    height, width, channels = image
    rows, columns, filters = output
    row_first = np.clip(np.arange(rows) * strides[0] - pads[0], 0, height - 1)
    column_first = np.clip(np.arange(columns) * strides[1] - pads[1], 0, width - 1)
    # a tile's first byte read is that of its first pixel: later pixels of the row start further right
    starts = np.arange(0, columns, tile or columns)
    ends = np.minimum(starts + (tile or columns), columns)
    oldest = (row_first[:, None] * width + column_first[starts][None, :]) * channels * element_bytes[0]
    written = (np.arange(rows)[:, None] * columns + ends[None, :]) * filters * element_bytes[1]
    return safe_distance(written.reshape(-1), oldest.reshape(-1), buffered=buffered)


def safe_distance(written: np.ndarray, oldest: np.ndarray, *, buffered: bool) -> int:
    """Safe distance of units executed in order.

    Args:
        written: end of what each unit writes, in bytes from the start of the output.
        oldest: first byte each unit reads, in bytes from the start of the input.
        buffered: whether a unit reads everything before it writes.
    """
    still_read = np.minimum.accumulate(oldest[::-1])[::-1]
    highest = np.maximum.accumulate(written)
    if buffered:
        highest, still_read = highest[:-1], still_read[1:]
    lead = int((highest - still_read).max(initial=0))
    return min(max(lead, 0), int(written.max(initial=0)))
