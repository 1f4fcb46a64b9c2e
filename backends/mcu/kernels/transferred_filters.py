"""Filters of a convolution that are others negated, mirrored, turned or with another bias: found in the raw values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from boardfit.compress.filter_transforms import filter_taps
from boardfit.ops.conv2d import Conv2DAttrs

from ..kernel import Site
from .common import linear_parameters

MOST_BASES = 0.75
"""Share of the filters that are stored at most: below it, leaving out copies saves more than telling of them costs."""


@dataclass(frozen=True, slots=True)
class Copy:
    """How an output channel is made.

    Attributes:
        base: which stored filter.
        transform: index into `boardfit.compress.filter_transforms.filter_taps`: how the filter lies on the image.
        negative: its product is subtracted.
    """

    base: int
    transform: int
    negative: bool


@dataclass(frozen=True, slots=True, eq=False)
class Filters:
    """The filters that are stored, and how every output channel is made from them.

    Attributes:
        bases: (filters, kh, kw, channels) int64; those used under the same transforms side by side.
        copies: one for each output channel.
        orders: transform -> for every tap of a stored filter the tap of the window it meets, (kh * kw,).
    """

    bases: np.ndarray
    copies: tuple[Copy, ...]
    orders: dict[int, np.ndarray]

    def span(self, transform: int) -> tuple[int, int]:
        """The first stored filter that a transform needs, and the one behind the last."""
        used = [copy.base for copy in self.copies if copy.transform == transform]
        return min(used), max(used) + 1


def find_copies(weights: np.ndarray) -> Filters:
    """Every filter that is, to the last bit, another one under a transform, up to its sign, is not stored again.

    Args:
        weights: (outputs, kh, kw, channels) integers, less their zero point.
    """
    outputs, height, width, channels = weights.shape
    flat = weights.reshape(outputs, height * width, channels).astype(np.int64)
    orders = [np.argsort(taps.reshape(-1)) for taps in filter_taps(height, width)]
    known: dict[bytes, int] = {}
    chosen: list[int] = []
    copies: list[Copy] = []
    for place, own in enumerate(flat):
        made = _made(own, orders, known)
        if made is None:
            known[own.tobytes()] = len(chosen)
            made = Copy(len(chosen), 0, negative=False)
            chosen.append(place)
        copies.append(made)
    used = sorted({copy.transform for copy in copies})
    turns: list[set[int]] = [set() for _ in chosen]
    for copy in copies:
        turns[copy.base].add(copy.transform)
    ranked = sorted(range(len(chosen)), key=lambda base: (sorted(turns[base]), base))
    new = {base: place for place, base in enumerate(ranked)}
    return Filters(
        flat[[chosen[base] for base in ranked]].reshape(-1, height, width, channels),
        tuple(Copy(new[copy.base], copy.transform, copy.negative) for copy in copies),
        {transform: orders[transform] for transform in used},
    )


def _made(own: np.ndarray, orders: list[np.ndarray], known: dict[bytes, int]) -> Copy | None:
    """A filter as a copy of a known one, or None."""
    for transform, order in enumerate(orders):
        base = own[order]
        for negative in (False, True):
            found = known.get((-base if negative else base).tobytes())
            if found is not None:
                return Copy(found, transform, negative)
    return None


def copies_of(site: Site) -> Filters:
    """The filters of a convolution."""

    def find() -> Filters:
        return find_copies(linear_parameters(site, site.attrs(Conv2DAttrs).activation).weights.astype(np.int64))

    return site.once("copies of filters", find)


def refuse_copies(filters: Filters) -> str | None:
    """Why storing each filter once saves too little, or None."""
    stored, outputs = len(filters.bases), len(filters.copies)
    if stored > MOST_BASES * outputs:
        return f"only {outputs - stored} of its {outputs} filters are copies of others"
    return None
