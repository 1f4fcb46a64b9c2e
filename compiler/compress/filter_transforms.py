"""Transforms under which filters of a convolution are copies of each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from ..ir.encoding import Tie


@dataclass(frozen=True, slots=True)
class Transform:
    """How a copy lies on the image, and its sign.

    Attributes:
        place: index into `filter_taps`.
        sign: 1 or -1.
    """

    place: int
    sign: int = 1


TRANSFORMS = {
    "multi-bias": Transform(0),
    "negation": Transform(0, -1),
    "mirror": Transform(1),
    "flip": Transform(2),
    "rotation-180": Transform(3),
    "rotation-90": Transform(4),
    "rotation-270": Transform(5),
}
"""Name in options -> what it is: mirrored left to right, flipped top to bottom, turned counterclockwise."""

SQUARE = 4
"""Transforms from here on need square filters."""


def filter_taps(height: int, width: int) -> tuple[np.ndarray, ...]:
    """Taps (height, width) of a filter as its mirror images and turns have them; the identity first.

    Left to right, top to bottom, both; for square filters a quarter turn each way and both diagonals.
    """
    grid = np.arange(height * width).reshape(height, width)
    found: tuple[np.ndarray, ...] = (grid, grid[:, ::-1], grid[::-1], grid[::-1, ::-1])
    if height == width:
        found += (np.rot90(grid), np.rot90(grid, 3), grid.T, grid[::-1, ::-1].T)
    return tuple(np.ascontiguousarray(taps) for taps in found)


def find_transform(name: str) -> Transform:
    """The transform of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in TRANSFORMS:
        raise UsageError(f"no transform of filters is called '{name}'", hint=f"one of: {', '.join(TRANSFORMS)}")
    return TRANSFORMS[name]


def weight_order(shape: tuple[int, ...], transform: Transform) -> np.ndarray:
    """(kh * kw * channels,) which weight of a filter each weight of its copy is; `shape` (out, kh, kw, channels)."""
    _, height, width, channels = shape
    taps = filter_taps(height, width)[transform.place].reshape(-1)
    order: np.ndarray = (taps[:, None] * channels + np.arange(channels)).reshape(-1)
    return order


@dataclass(frozen=True, slots=True)
class Group:
    """A filter and its copies: (output channel, transform) of each; the first one's transform is the identity."""

    members: tuple[tuple[int, Transform], ...]


def tie_groups(shape: tuple[int, ...], groups: tuple[Group, ...]) -> Tie:
    """The tie of all weights (out, kh, kw, channels): groups share a filter, other filters are their own."""
    outputs, depth = shape[0], int(np.prod(shape[1:]))
    indices = np.full((outputs, depth), -1, np.int32)
    signs = np.ones((outputs, depth), np.int8)
    count = 0
    for group in groups:
        for channel, transform in group.members:
            indices[channel] = count * depth + weight_order(shape, transform)
            signs[channel] = transform.sign
        count += 1
    for channel in range(outputs):
        if indices[channel, 0] < 0:
            indices[channel] = count * depth + np.arange(depth)
            count += 1
    return Tie(indices.reshape(-1), signs.reshape(-1))
