"""In which order to execute a graph so that the fewest bytes are live at once.

A state is the set of executed steps; its live tensors follow from it, so the smallest peak over all orders is a
shortest path over states (Liberis and Lane 2019, "Neural networks on microcontrollers: saving memory at inference via
operator reordering"). Networks that are nearly chains have few states and are solved exactly; for wide ones the
search keeps the best states of each length and says that it did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

BEAM = 2000
"""States kept for each number of executed steps."""


@dataclass(frozen=True, slots=True)
class Step:
    """One layer as the search sees it.

    Attributes:
        reads, writes: tensors.
        scratch_bytes: memory only this step needs.
        overlap: tensor read -> distance below it at which the (first) output may start if the tensor dies here.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    scratch_bytes: int = 0
    overlap: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Order:
    """The result: indices of the steps in execution order, the peak of live bytes, and whether it is proven least."""

    steps: tuple[int, ...]
    peak: int
    exact: bool


def best_order(steps: Sequence[Step], sizes: Mapping[str, int], inputs: Sequence[str], outputs: Sequence[str]) -> Order:
    """The order with the smallest peak; among equals the given order is kept as far as possible.

    Args:
        steps: in some topological order.
        sizes: bytes of every tensor that occupies memory; others (constants) count nothing.
        inputs: tensors that are live at the start.
        outputs: tensors that stay live to the end.
    """
    makers = {tensor: index for index, step in enumerate(steps) for tensor in step.writes}
    needs = [{makers[t] for t in step.reads if t in makers} for step in steps]
    readers: dict[str, set[int]] = {}
    for index, step in enumerate(steps):
        for tensor in step.reads:
            readers.setdefault(tensor, set()).add(index)
    kept = set(outputs)
    start = frozenset[int]()
    live_at_start = frozenset(t for t in inputs if t in sizes)
    # state -> (peak, order, live tensors)
    states: dict[frozenset[int], tuple[int, tuple[int, ...], frozenset[str]]] = {
        start: (sum(sizes[t] for t in live_at_start), (), live_at_start)
    }
    exact = True
    for _ in steps:
        following: dict[frozenset[int], tuple[int, tuple[int, ...], frozenset[str]]] = {}
        for done, (peak, order, live) in states.items():
            for index, step in enumerate(steps):
                if index in done or not needs[index] <= done:
                    continue
                after = done | {index}
                dying = {t for t in step.reads if t in live and t not in kept and readers[t] <= after}
                made = [t for t in step.writes if t in sizes]
                cost = max(peak, step_bytes(step, sizes, live, dying, made))
                unread = {t for t in made if t not in kept and not readers.get(t, set()) - after}
                candidate = (cost, (*order, index), (live - dying) | (frozenset(made) - unread))
                if after not in following or candidate[:2] < following[after][:2]:
                    following[after] = candidate
        if len(following) > BEAM:
            exact = False
            best = sorted(following.items(), key=lambda item: item[1][:2])[:BEAM]
            following = dict(best)
        states = following
    peak, order, _ = next(iter(states.values()))
    return Order(order, peak, exact)


def step_bytes(step: Step, sizes: Mapping[str, int], live: frozenset[str], dying: set[str], made: Sequence[str]) -> int:
    """Bytes needed while a step runs: what is live, what it makes, its scratch, less the best overlap."""
    total = sum(sizes[t] for t in live) + sum(sizes[t] for t in made) + step.scratch_bytes
    saved = 0
    if made:
        first = sizes[made[0]]
        for tensor, distance in step.overlap.items():
            if tensor in dying:
                joined = max(first, min(distance, first) + sizes[tensor])
                saved = max(saved, first + sizes[tensor] - joined)
    return total - saved
