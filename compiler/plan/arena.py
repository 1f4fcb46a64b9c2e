"""Where every buffer lies in the arena: buffers that live at the same time never overlap.

The problem is dynamic storage allocation, NP-hard (Garey and Johnson, SR2). First-fit placement in several orders,
then a bounded search over orders, comes with the lower bound: the most bytes that are live at any one step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import InternalError

SEARCH_LIMIT = 20_000
"""Placements the search may try when first-fit does not reach the lower bound."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """A piece of memory that is needed during steps first..last (both included).

    Attributes:
        name: unique.
        bytes: size, more than 0.
        first, last: steps.
        alignment: the offset is a multiple of it.
    """

    name: str
    bytes: int
    first: int
    last: int
    alignment: int = 4

    def __post_init__(self) -> None:
        if self.bytes < 1 or self.first > self.last or self.alignment < 1:
            raise InternalError(f"buffer '{self.name}': {self.bytes} bytes in steps {self.first} to {self.last}")

    def meets(self, other: Buffer) -> bool:
        """Whether both are live at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True)
class ArenaPlan:
    """Offsets of all buffers.

    Attributes:
        offsets: buffer name -> offset in bytes.
        bytes: size of the arena.
        lower_bound: no plan can be smaller: the most live bytes at one step.
        peak_step: a step at which that many bytes are live.
    """

    offsets: Mapping[str, int]
    bytes: int
    lower_bound: int
    peak_step: int

    @property
    def optimal(self) -> bool:
        """Whether the plan is proven to be the smallest."""
        return self.bytes == self.lower_bound


def plan_arena(buffers: Sequence[Buffer]) -> ArenaPlan:
    """Offsets for `buffers`; the same buffers give the same plan."""
    bound, step = live_peak(buffers)
    best: tuple[int, dict[str, int]] | None = None
    for order in _orders(buffers):
        size, offsets = _first_fit(order)
        if best is None or size < best[0]:
            best = (size, offsets)
        if size <= bound:
            break
    if best is None:
        return ArenaPlan({}, 0, 0, 0)
    if best[0] > bound:
        best = _search(buffers, bound, best)
    return ArenaPlan(best[1], best[0], bound, step)


def live_peak(buffers: Sequence[Buffer]) -> tuple[int, int]:
    """(most bytes live at one step, that step)."""
    peak, at = 0, 0
    for step in sorted({buffer.first for buffer in buffers}):
        live = sum(buffer.bytes for buffer in buffers if buffer.first <= step <= buffer.last)
        if live > peak:
            peak, at = live, step
    return peak, at


def _orders(buffers: Sequence[Buffer]) -> list[list[Buffer]]:
    """Orders in which first-fit does well; names break ties so that the result is deterministic."""
    keys = (
        lambda b: (-b.bytes, b.first, b.name),
        lambda b: (-b.bytes * (b.last - b.first + 1), b.first, b.name),
        lambda b: (b.first - b.last, -b.bytes, b.first, b.name),
        lambda b: (b.first, -b.bytes, b.name),
        lambda b: (-b.last, -b.bytes, b.name),
    )
    return [sorted(buffers, key=key) for key in keys]


def _place(buffer: Buffer, placed: Sequence[tuple[int, Buffer]]) -> int:
    """Lowest offset at which `buffer` meets none of `placed`, which is sorted by offset."""
    offset = 0
    for start, other in placed:
        if not buffer.meets(other):
            continue
        if start >= offset + buffer.bytes:
            break
        offset = max(offset, _align(start + other.bytes, buffer.alignment))
    return offset


def _align(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _first_fit(order: Sequence[Buffer]) -> tuple[int, dict[str, int]]:
    placed: list[tuple[int, Buffer]] = []
    for buffer in order:
        placed.append((_place(buffer, placed), buffer))
        placed.sort(key=lambda item: (item[0], item[1].name))
    size = max(offset + buffer.bytes for offset, buffer in placed) if placed else 0
    return size, {buffer.name: offset for offset, buffer in placed}


def _search(buffers: Sequence[Buffer], bound: int, best: tuple[int, dict[str, int]]) -> tuple[int, dict[str, int]]:
    """Depth-first search over placement orders, cut where a placement already reaches the best size.

    Some order of first-fit gives an optimal plan (sort an optimal plan by offset), so the search is exact if it
    ends before its limit.
    """
    order = sorted(buffers, key=lambda b: (-b.bytes, b.first, b.name))
    budget = [SEARCH_LIMIT]
    found = [best]

    def descend(placed: list[tuple[int, Buffer]], left: list[Buffer], top: int) -> None:
        if not left:
            found[0] = (top, {buffer.name: offset for offset, buffer in placed})
            return
        tried: set[tuple[int, int, int, int]] = set()
        for index, buffer in enumerate(left):
            if budget[0] <= 0 or found[0][0] <= bound:
                return
            shape = (buffer.bytes, buffer.first, buffer.last, buffer.alignment)
            if shape in tried:
                continue
            tried.add(shape)
            budget[0] -= 1
            offset = _place(buffer, placed)
            if max(top, offset + buffer.bytes) >= found[0][0]:
                continue
            following = sorted([*placed, (offset, buffer)], key=lambda item: (item[0], item[1].name))
            descend(following, left[:index] + left[index + 1 :], max(top, offset + buffer.bytes))

    descend([], order, 0)
    return found[0]
