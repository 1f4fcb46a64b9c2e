"""The execution order with the smallest peak, against all orders."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.plan.order import Step, best_order, step_bytes


def peak_of(
    order: tuple[int, ...], steps: list[Step], sizes: dict[str, int], inputs: list[str], outputs: list[str]
) -> int | None:
    """Peak of one order, or None if it reads what is not made yet."""
    live = frozenset(inputs)
    available = set(inputs)
    peak = sum(sizes[t] for t in live)
    left = list(order)
    for index in order:
        left.remove(index)
        step = steps[index]
        if not set(step.reads) <= available:
            return None
        still = {t for i in left for t in steps[i].reads} | set(outputs)
        dying = {t for t in step.reads if t in live and t not in still}
        peak = max(peak, step_bytes(step, sizes, live, dying, list(step.writes)))
        available |= set(step.writes)
        live = (live - dying) | frozenset(t for t in step.writes if t in still)
    return peak


@st.composite
def networks(draw: st.DrawFn) -> tuple[list[Step], dict[str, int], list[str], list[str]]:
    count = draw(st.integers(1, 5))
    sizes = {"x": draw(st.integers(1, 9))}
    steps: list[Step] = []
    for index in range(count):
        reads = tuple(sorted(draw(st.sets(st.sampled_from(sorted(sizes)), min_size=1, max_size=2))))
        sizes[f"t{index}"] = draw(st.integers(1, 9))
        overlap = {reads[0]: draw(st.integers(0, 9))} if draw(st.booleans()) else {}
        steps.append(Step(reads, (f"t{index}",), draw(st.integers(0, 3)), overlap))
    read = {t for step in steps for t in step.reads}
    return steps, sizes, ["x"], [t for t in sizes if t not in read]


@settings(max_examples=150)
@given(networks())
def test_no_order_is_better(network: tuple[list[Step], dict[str, int], list[str], list[str]]) -> None:
    steps, sizes, inputs, outputs = network
    found = best_order(steps, sizes, inputs, outputs)
    assert found.exact
    assert sorted(found.steps) == list(range(len(steps)))
    assert peak_of(found.steps, steps, sizes, inputs, outputs) == found.peak
    peaks = [peak_of(o, steps, sizes, inputs, outputs) for o in itertools.permutations(range(len(steps)))]
    assert found.peak == min(p for p in peaks if p is not None)


def test_a_chain_keeps_its_order() -> None:
    steps = [Step((f"t{i}",), (f"t{i + 1}",)) for i in range(30)]
    sizes = {f"t{i}": 10 for i in range(31)}
    found = best_order(steps, sizes, ["t0"], ["t30"])
    assert found.steps == tuple(range(30))
    assert found.peak == 20


def test_branches_run_one_after_the_other() -> None:
    # two branches that widen and narrow: finishing one first keeps one wide tensor live at a time
    steps = [
        Step(("x",), ("wide a",)),
        Step(("x",), ("wide b",)),
        Step(("wide a",), ("a",)),
        Step(("wide b",), ("b",)),
        Step(("a", "b"), ("y",)),
    ]
    sizes = {"x": 1, "wide a": 50, "wide b": 50, "a": 2, "b": 2, "y": 2}
    found = best_order(steps, sizes, ["x"], ["y"])
    assert found.peak < 60
    assert found.steps in ((0, 2, 1, 3, 4), (1, 3, 0, 2, 4))
