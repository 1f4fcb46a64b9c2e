"""The cycle model of microcontrollers: waits for the flash, caches, cores."""

from __future__ import annotations

from dataclasses import replace

import pytest

from boardfit.board import FlashTiming, McuBoard, find_board
from boardfit.estimate.mcu import McuFootprint, McuLayer, cycles, mcu_estimate

LAYER = McuLayer("/conv/Conv", "Conv2D", "conv2d/patch", flash=2000, ram=500, instructions=100_000)


def board(timing: FlashTiming, core: str = "cortex-m4") -> McuBoard:
    found = find_board("nucleo-l4r5zi")
    assert isinstance(found, McuBoard)
    return replace(found, flash_timing=timing, core=core)


def test_without_waits_only_the_core_counts() -> None:
    assert cycles(LAYER, board(FlashTiming(0, 16))) == 140_000
    assert cycles(LAYER, board(FlashTiming(0, 16), "cortex-m7")) < 100_000


def test_waits_cost_and_caches_help() -> None:
    bare = cycles(LAYER, board(FlashTiming(5, 16)))
    code = cycles(LAYER, board(FlashTiming(5, 16, instruction_cache=1024)))
    both = cycles(LAYER, board(FlashTiming(5, 16, instruction_cache=1024, data_cache=4096)))
    assert 140_000 < both < code < bare
    assert both == 140_000 + 5 * 2000 // 16  # each line of weights once


def test_a_known_mix_counts_its_events() -> None:
    mix = {"instructions": 1.0, "loads": 0.2, "transfers": 0.1, "branches": 0.05}
    layer = replace(LAYER, mix=mix, constants_read=0.0)
    assert cycles(layer, board(FlashTiming(0, 16))) == round(100_000 * (1 + 0.2 + 0.1 + 2 * 0.05))
    assert cycles(layer, board(FlashTiming(0, 16), "cortex-m55")) == 150_000  # no timing: the average


def test_constants_that_do_not_fit_the_cache_are_read_at_every_use() -> None:
    layer = replace(LAYER, mix={"instructions": 1.0}, constants_read=0.5)
    timing = FlashTiming(5, 8, instruction_cache=1024, data_cache=256)
    assert cycles(layer, board(timing)) == 100_000 + 5 * 50_000 // 8


def test_the_band_says_what_is_known_of_the_core() -> None:
    known = McuFootprint([replace(LAYER, mix={"instructions": 1.0})], 1, 1, 1, 1, measured=True)
    bands = {
        core: mcu_estimate(board(FlashTiming(0, 16), core), known).bands["cycles"]
        for core in ("cortex-m4", "cortex-m33", "cortex-m55")
    }
    assert bands["cortex-m4"] == (90_000, 125_000)
    assert bands["cortex-m33"] == (75_000, 140_000)
    low, high = bands["cortex-m55"]
    assert (low, high) == (round(150_000 * 0.65), round(150_000 * 1.5))


def test_slower_flash_takes_longer() -> None:
    times = [cycles(LAYER, board(FlashTiming(waits, 16))) for waits in range(8)]
    assert times == sorted(times) and times[0] < times[-1]


def test_totals_are_sums_with_bands() -> None:
    target = board(FlashTiming(5, 16, 1024, 256))
    found = mcu_estimate(target, McuFootprint([LAYER, LAYER], 4000, 1500, 800, 200, measured=False))
    assert (found.total.flash, found.total.ram) == (5500, 1000)
    assert found.total.cycles == 2 * cycles(LAYER, target)
    low, high = found.bands["flash"]
    assert (low, high) == (5350, 5650)
    assert set(mcu_estimate(target, McuFootprint([LAYER], 1, 1, 1, 1, measured=True)).bands) == {"cycles"}
    assert found.latency_seconds == pytest.approx(found.total.cycles / 120e6)
