"""Placement of buffers: never illegal, never below the bound, optimal where that is known."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.errors import InternalError
from boardfit.plan.arena import ArenaPlan, Buffer, plan_arena


def check(buffers: list[Buffer], overlaps: dict[tuple[str, str], int], plan: ArenaPlan) -> None:
    """Every pair obeys its rule; the plan is not smaller than its own bound."""
    assert set(plan.offsets) == {buffer.name for buffer in buffers}
    for buffer in buffers:
        assert plan.offsets[buffer.name] >= 0
        assert plan.offsets[buffer.name] % buffer.alignment == 0
        assert plan.offsets[buffer.name] + buffer.bytes <= plan.bytes
    for a, b in itertools.permutations(buffers, 2):
        if not a.meets(b):
            continue
        gap = plan.offsets[b.name] - plan.offsets[a.name]
        other = overlaps.get((b.name, a.name))
        legal = gap >= min(overlaps.get((a.name, b.name), a.bytes), a.bytes)
        legal = legal or -gap >= (b.bytes if other is None else min(other, b.bytes))
        assert legal, (a, b, plan.offsets)
    assert plan.bytes >= plan.lower_bound


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Buffer], dict[tuple[str, str], int]]:
    count = draw(st.integers(1, 7))
    buffers = []
    for index in range(count):
        first = draw(st.integers(0, 6))
        last = draw(st.integers(first, 7))
        alignment = draw(st.sampled_from([1, 4]))
        buffers.append(Buffer(f"b{index}", draw(st.integers(1, 60)), first, last, alignment))
    overlaps = {
        (a.name, b.name): draw(st.integers(0, 60))
        for a, b in itertools.permutations(buffers, 2)
        if a.first == b.last and a.last > b.last and a.first > b.first and draw(st.booleans())
    }
    # an output overwrites one input only, and an input is overwritten by one output only
    outputs: dict[tuple[str, str], int] = {}
    for (a, b), distance in overlaps.items():
        if all(a not in pair and b not in pair for pair in outputs):
            outputs[a, b] = distance
    return buffers, outputs


@settings(max_examples=200)
@given(problems())
def test_plans_are_legal(problem: tuple[list[Buffer], dict[tuple[str, str], int]]) -> None:
    buffers, overlaps = problem
    check(buffers, overlaps, plan_arena(buffers, overlaps))


def test_chain_shares_two_places() -> None:
    buffers = [Buffer(f"t{i}", size, i, i + 1) for i, size in enumerate([100, 60, 80, 40, 90])]
    plan = plan_arena(buffers)
    assert plan.bytes == plan.lower_bound == 160


def test_overlapping_chain_needs_little_more_than_its_largest_buffer() -> None:
    buffers = [Buffer(f"t{i}", 8000, i, i + 1) for i in range(6)]
    overlaps = {(f"t{i + 1}", f"t{i}"): 448 for i in range(5)}
    plan = plan_arena(buffers, overlaps)
    check(buffers, overlaps, plan)
    assert plan.lower_bound == 8448
    # every layer moves its output down by its distance: the chain slides through the arena
    assert plan.bytes <= 8000 + 5 * 448


def test_search_beats_first_fit() -> None:
    # sizes and lifetimes on which placing the largest first is not optimal
    buffers = [
        Buffer("a", 6, 0, 2, 1),
        Buffer("b", 5, 2, 5, 1),
        Buffer("c", 4, 0, 3, 1),
        Buffer("d", 3, 3, 5, 1),
        Buffer("e", 4, 5, 6, 1),
    ]
    plan = plan_arena(buffers)
    check(buffers, {}, plan)
    assert plan.optimal


def test_overlap_of_buffers_that_meet_longer_is_refused() -> None:
    with pytest.raises(InternalError, match="more than one step"):
        plan_arena([Buffer("x", 8, 0, 2), Buffer("y", 8, 1, 3)], {("y", "x"): 4})


def test_no_buffers() -> None:
    assert plan_arena([]).bytes == 0


def test_in_place_pairs_share_the_start_or_nothing() -> None:
    big, small, later = Buffer("in", 100, 0, 1), Buffer("out", 60, 1, 2), Buffer("later", 50, 2, 3)
    plan = plan_arena([big, small, later], same=[("out", "in")])
    assert plan.offsets["out"] == plan.offsets["in"]
    assert plan.bytes == plan.lower_bound == 110  # out ends at 60, the next one lies above it
    apart = plan_arena([big, small, later])
    assert apart.bytes == 160


def test_in_place_is_not_tied_where_that_costs_more() -> None:
    # wide may start 64 bytes below b, so b has to lie high; a is better kept where it is
    buffers = [Buffer("a", 64, 0, 1), Buffer("b", 64, 1, 2), Buffer("wide", 128, 2, 3), Buffer("early", 60, 0, 0)]
    plan = plan_arena(buffers, {("wide", "b"): 64}, [("b", "a")])
    assert plan.bytes == plan.lower_bound == 128
