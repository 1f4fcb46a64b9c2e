"""Sliding windows over channels-last images: shared by convolution and pooling."""

from __future__ import annotations

import numpy as np

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]
"""top, left, bottom, right"""


def output_size(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """Number of window positions along one axis.

    Raises:
        ValueError: the window is larger than the padded input.
    """
    reach = dilation * (kernel - 1) + 1
    if size + before + after < reach:
        raise ValueError(f"window of {reach} is larger than the padded input of {size + before + after}")
    return (size + before + after - reach) // stride + 1


def windows(
    images: np.ndarray, kernel: Pair, strides: Pair, pads: Pads, dilations: Pair, fill: float = 0
) -> np.ndarray:
    """All windows of a batch of images.

    Args:
        images: (B, H, W, C).

    Returns:
        (B, OH, OW, KH, KW, C), a view where possible.
    """
    top, left, bottom, right = pads
    if any(pads):
        images = np.pad(images, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    reach = (dilations[0] * (kernel[0] - 1) + 1, dilations[1] * (kernel[1] - 1) + 1)
    view = np.lib.stride_tricks.sliding_window_view(images, reach, axis=(1, 2))
    view = view[:, :: strides[0], :: strides[1], :, :: dilations[0], :: dilations[1]]
    result: np.ndarray = view.transpose(0, 1, 2, 4, 5, 3)
    return result


def merge_samples(array: np.ndarray) -> np.ndarray:
    """(S, N, ...) -> (S*N, ...): the sample axis joins the batch axis."""
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])
