"""FIFO depths: no cycle lost, nothing locks up, and the simulator finds it where it does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.errors import InternalError
from boardfit.plan import stream_schedule
from boardfit.plan.stream_schedule import Channel, Process, StreamNetwork, pipeline, schedules
from boardfit.plan.stream_simulation import simulate

SIDE = 8


def every(name: str, words: int, cycles: int = 1, depth: int = 2, inputs: int = 1, outputs: int = 1) -> Process:
    """A pipeline that takes a word of each input and gives one at each output."""
    steps = np.arange(words)
    return pipeline(name, words, cycles, depth, (steps,) * inputs, (steps,) * outputs)


def window(name: str, cycles: int, kernel: int = 3) -> Process:
    """A convolution that reads a padded image and writes SIDE x SIDE words."""
    width = SIDE + kernel - 1
    corner = np.arange(SIDE) + kernel - 1
    writes = (corner[:, None] * width + corner).reshape(-1)
    return Process(name, width * width, cycles, cycles, (np.arange(width * width),), (writes,), cycles)


def padding(name: str, kernel: int = 3) -> Process:
    width = SIDE + kernel - 1
    inner = np.arange(SIDE) + kernel // 2
    reads = (inner[:, None] * width + inner).reshape(-1)
    return pipeline(name, width * width, 1, 2, (reads,), (np.arange(width * width),))


def residual(cycles: tuple[int, int]) -> StreamNetwork:
    """Copy, two convolutions on one side, nothing on the other, addition."""
    words = SIDE * SIDE
    return StreamNetwork(
        (
            every("copy", words, outputs=2),
            padding("pad1"),
            window("conv1", cycles[0]),
            padding("pad2"),
            window("conv2", cycles[1]),
            every("add", words, inputs=2),
        ),
        (
            Channel(0, 0, 1, 0),
            Channel(1, 0, 2, 0),
            Channel(2, 0, 3, 0),
            Channel(3, 0, 4, 0),
            Channel(4, 0, 5, 0),
            Channel(0, 1, 5, 1),
        ),
    )


@pytest.mark.parametrize("cycles", [(1, 1), (20, 3), (3, 20), (50, 50)])
def test_a_branch_holds_what_the_other_side_needs_and_no_cycle_is_lost(cycles: tuple[int, int]) -> None:
    network = residual(cycles)
    boundless = simulate(network, [10**6] * len(network.channels), 3)
    for found in schedules(network):
        run = simulate(network, found.depths, 3)
        assert not run.blocked
        assert run.ends == boundless.ends
        assert run.ends[0] == found.latency
        assert run.ends[1] - run.ends[0] == found.interval
        # two rows and some pixels of the copy wait while two kernels fill
        assert 2 * SIDE < found.depths[-1] <= 3 * SIDE + 8


def test_a_branch_that_is_too_shallow_locks_up() -> None:
    network = residual((1, 1))
    run = simulate(network, [2] * len(network.channels), 1)
    assert run.ends == ()
    assert run.blocked["copy"] == "a place in the FIFO to 'add'"
    assert run.blocked["add"] == "a word from 'conv2'"


def test_whether_it_locks_up_does_not_depend_on_cycles() -> None:
    for depth in range(2, 30):
        depths = [2, 2, 2, 2, 2, depth]
        ends = {bool(simulate(residual(cycles), depths, 1).blocked) for cycles in [(1, 1), (1, 9), (9, 1), (30, 30)]}
        assert len(ends) == 1


def test_a_chain_with_a_slow_reader_needs_small_fifos() -> None:
    network = StreamNetwork(
        (every("fast", 100), every("slow", 100, cycles=10), every("faster", 100)),
        (Channel(0, 0, 1, 0), Channel(1, 0, 2, 0)),
    )
    assert min((found.depths for found in schedules(network)), key=sum) == (2, 2)


def test_ends_that_do_not_agree_are_a_defect() -> None:
    with pytest.raises(InternalError, match="'a' sends 5 words, 'b' reads 4"):
        StreamNetwork((every("a", 5), every("b", 4)), (Channel(0, 0, 1, 0),))


@st.composite
def networks(draw: st.DrawFn) -> StreamNetwork:
    """Layers of processes of random speed, with copies that meet again."""
    words = draw(st.integers(1, 30))
    processes = [every("start", words, outputs=1)]
    channels: list[Channel] = []
    end = (0, 0)
    for block in range(draw(st.integers(1, 3))):
        speed = st.tuples(st.integers(1, 6), st.integers(1, 9))
        sides = draw(st.lists(st.lists(speed, max_size=3), min_size=1, max_size=3))
        copy = len(processes)
        processes.append(every(f"copy{block}", words, outputs=len(sides)))
        channels.append(Channel(*end, copy, 0))
        joins: list[tuple[int, int]] = []
        for port, side in enumerate(sides):
            source = (copy, port)
            for cycles, depth in side:
                index = len(processes)
                processes.append(every(f"p{index}", words, cycles, depth))
                channels.append(Channel(*source, index, 0))
                source = (index, 0)
            joins.append(source)
        join = len(processes)
        processes.append(every(f"join{block}", words, inputs=len(sides)))
        channels += [Channel(*source, join, port) for port, source in enumerate(joins)]
        end = (join, 0)
    return StreamNetwork(tuple(processes), tuple(channels))


@settings(max_examples=60, deadline=None)
@given(networks())
def test_depths_cost_no_cycle(network: StreamNetwork) -> None:
    boundless = simulate(network, [10**6] * len(network.channels), 2)
    for found in schedules(network):
        run = simulate(network, found.depths, 2)
        assert not run.blocked
        assert run.ends == boundless.ends == (found.latency, found.latency + found.interval)
        assert all(held <= depth for held, depth in zip(run.fullest, found.depths, strict=True))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.45, 0.6, 0.9, 1.5])
def test_long_schedules_do_not_wrap_around(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """One branch waits for a slower one, and has steps left that nobody reads, with ends around 2**31 cycles."""
    words = SIDE * SIDE
    most, steps = share * 2**31, np.arange(words)
    cycles, slow = round(0.9 * most / (4 * words)), round(most / (2 * words))
    waiting = Process("waiting", 2 * words, cycles, 3, (steps,), (steps,), cycles)
    network = StreamNetwork(
        (every("copy", words, outputs=2), waiting, every("slow", words, slow), every("add", words, inputs=2)),
        (Channel(0, 0, 1, 0), Channel(0, 1, 2, 0), Channel(1, 0, 3, 0), Channel(2, 0, 3, 1)),
    )
    found = schedules(network)
    monkeypatch.setattr(stream_schedule, "TIMES", (np.int64,))
    assert schedules(network) == found
