"""Where every buffer lies in the arena: buffers that live at the same time do not overlap, except where a layer
overwrites the input it consumes behind its own reading (see overlap.py).

The problem is dynamic storage allocation, NP-hard (Garey and Johnson, SR2). First-fit placement in several orders,
then a bounded search over orders, comes with a lower bound: the bytes that any plan needs at one step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from ..errors import InternalError

CLIMB_LIMIT = 1_500
"""Orders the random walk may try."""

NEAR_ENOUGH = 1.01
"""A plan this close to the lower bound is not worth the search."""

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
        lower_bound: no plan can be smaller.
        peak_step: a step that needs that many bytes.
    """

    offsets: Mapping[str, int]
    bytes: int
    lower_bound: int
    peak_step: int

    @property
    def optimal(self) -> bool:
        """Whether the plan is proven to be the smallest."""
        return self.bytes == self.lower_bound


Overlaps = Mapping[tuple[str, str], int]
"""(output buffer, dying input buffer) -> distance: the output may start that many bytes below the input."""


def plan_arena(
    buffers: Sequence[Buffer], overlaps: Overlaps | None = None, same: Collection[tuple[str, str]] = ()
) -> ArenaPlan:
    """Offsets for `buffers`; the same buffers give the same plan.

    Args:
        buffers: what is to be placed.
        overlaps: pairs that may overlap although they meet. The output's first step must be the input's last.
        same: further pairs (output, dying input) that may overlap if they start at the same offset: the layer works
            in place, element by element, but in no particular order.

    Raises:
        InternalError: an overlap between buffers that meet at more than one step.
    """
    rules = _Separation(buffers, overlaps or {}, same)
    bound, step = lower_bound(buffers, {**dict.fromkeys(same, 0), **(overlaps or {})})
    best: tuple[int, dict[str, int]] | None = None
    best_order: list[Buffer] = []
    for order in _orders(buffers):
        size, offsets = _first_fit(order, rules)
        if best is None or size < best[0]:
            best, best_order = (size, offsets), order
        if size <= bound:
            break
    if best is None:
        return ArenaPlan({}, 0, 0, 0)
    if best[0] > bound:
        best = _climb(best_order, rules, bound, best)
    if best[0] > bound * NEAR_ENOUGH:
        best = _search(buffers, rules, bound, best)
    return ArenaPlan(best[1], best[0], bound, step)


class _Separation:
    """How far apart two buffers must start: the one rule every placement obeys."""

    def __init__(self, buffers: Sequence[Buffer], overlaps: Overlaps, same: Collection[tuple[str, str]]) -> None:
        self.overlaps = overlaps
        self.same = frozenset(same) | {(b, a) for a, b in same}
        known = {buffer.name: buffer for buffer in buffers}
        for output, consumed in (*overlaps, *same):
            if output in known and consumed in known and known[output].first != known[consumed].last:
                raise InternalError(f"'{output}' cannot overlap '{consumed}': they meet at more than one step")

        self.neighbours: dict[str, list[tuple[str, int, int, bool]]] = {
            one.name: [
                (other.name, self._below(one, other), self._below(other, one), (one.name, other.name) in self.same)
                for other in buffers
                if other is not one and one.meets(other)
            ]
            for one in buffers
        }
        """Buffer -> those it meets: (name, distance if below that one, distance if above, same offset legal)."""

    def _below(self, lower: Buffer, upper: Buffer) -> int:
        """Smallest legal (offset of `upper` - offset of `lower`) with `lower` first."""
        distance = self.overlaps.get((lower.name, upper.name))
        return lower.bytes if distance is None else min(distance, lower.bytes)


def lower_bound(buffers: Sequence[Buffer], overlaps: Overlaps) -> tuple[int, int]:
    """(bytes every plan needs, a step that needs them).

    At each step the live buffers are disjoint, except for one output and the inputs it may overwrite: of those, the
    largest union that the pairs force is counted, which is never more than what they occupy.
    """
    known = {buffer.name: buffer for buffer in buffers}
    pairs: dict[int, list[tuple[Buffer, Buffer, int]]] = {}
    for (output, consumed), distance in overlaps.items():
        if output in known and consumed in known:  # they meet at one step only
            pairs.setdefault(known[output].first, []).append((known[output], known[consumed], distance))
    changes: dict[int, int] = {}
    for buffer in buffers:
        changes[buffer.first] = changes.get(buffer.first, 0) + buffer.bytes
        changes[buffer.last + 1] = changes.get(buffer.last + 1, 0) - buffer.bytes
    starts = {buffer.first for buffer in buffers}
    peak, at, live = 0, 0, 0
    for step in sorted(changes):
        live += changes[step]
        if step not in starts:
            continue
        here = pairs.get(step, ())
        joined = {buffer.name: buffer.bytes for o, i, _ in here for buffer in (o, i)}
        union = max((max(o.bytes, min(d, o.bytes) + i.bytes) for o, i, d in here), default=0)
        needed = live - sum(joined.values()) + union
        if needed > peak:
            peak, at = needed, step
    return peak, at


def _orders(buffers: Sequence[Buffer]) -> list[list[Buffer]]:
    """Orders in which first-fit does well; names break ties so that the result is deterministic."""
    keys = (
        lambda b: (-b.bytes, b.first, b.name),
        lambda b: (-b.bytes * (b.last - b.first + 1), b.first, b.name),
        lambda b: (b.first - b.last, -b.bytes, b.first, b.name),
        lambda b: (b.first, -b.bytes, b.name),
        lambda b: (-b.last, -b.bytes, b.name),
        lambda b: (-b.first, -b.bytes, b.name),  # outputs before inputs: they lie below them
    )
    return [sorted(buffers, key=key) for key in keys]


def _place(buffer: Buffer, placed: Mapping[str, int], rules: _Separation) -> int:
    """Lowest offset at which `buffer` is legal beside all of `placed`."""
    forbidden: list[tuple[int, int]] = []
    for name, under, over, joined in rules.neighbours[buffer.name]:
        start = placed.get(name)
        if start is not None:
            # in place: the very same offset is legal
            forbidden += [(start - under, start), (start, start + over)] if joined else [(start - under, start + over)]
    forbidden.sort()
    offset = 0
    for after, until in forbidden:  # offsets strictly between the two are illegal
        if after < offset < until:
            offset = _align(until, buffer.alignment)
    return offset


def _align(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _first_fit(order: Sequence[Buffer], rules: _Separation, limit: int | None = None) -> tuple[int, dict[str, int]]:
    """(bytes, offsets); given up, with too many bytes and some offsets missing, as soon as `limit` is exceeded."""
    placed: dict[str, int] = {}
    size = 0
    for buffer in order:
        offset = placed[buffer.name] = _place(buffer, placed, rules)
        size = max(size, offset + buffer.bytes)
        if limit is not None and size > limit:
            break
    return size, placed


def _climb(
    order: list[Buffer], rules: _Separation, bound: int, best: tuple[int, dict[str, int]]
) -> tuple[int, dict[str, int]]:
    """Random walk over placement orders: a buffer at the top of the arena, or one that meets it, is placed earlier.

    Orders that are no worse are kept. Seeded, so that the same buffers give the same plan.
    """
    random = Random(0)
    current = best[0]
    for _ in range(CLIMB_LIMIT):
        top = [b for b in order if best[1][b.name] + b.bytes == best[0]]
        moved = random.choice(top)
        if random.random() < 0.5:
            moved = random.choice([b for b in order if b.meets(moved)])
        at = order.index(moved)
        to = random.randrange(len(order))
        changed = [*order[:at], *order[at + 1 :]]
        changed.insert(to, moved)
        size, offsets = _first_fit(changed, rules, current)
        if size <= current:
            order, current = changed, size
        if size <= best[0]:
            best = (size, offsets)
        if size <= bound:
            break
    return best


def _search(
    buffers: Sequence[Buffer], rules: _Separation, bound: int, best: tuple[int, dict[str, int]]
) -> tuple[int, dict[str, int]]:
    """Depth-first search over placement orders, cut where a placement already reaches the best size.

    Some order of first-fit gives an optimal plan (sort an optimal plan by offset), so the search is exact if it
    ends before its limit.
    """
    order = sorted(buffers, key=lambda b: (-b.bytes, b.first, b.name))
    budget = [SEARCH_LIMIT]
    found = [best]

    def descend(placed: dict[str, int], left: list[Buffer], top: int) -> None:
        if not left:
            found[0] = (top, placed)
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
            offset = _place(buffer, placed, rules)
            if max(top, offset + buffer.bytes) >= found[0][0]:
                continue
            following = {**placed, buffer.name: offset}
            descend(following, left[:index] + left[index + 1 :], max(top, offset + buffer.bytes))

    descend({}, order, 0)
    return found[0]
