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
    assert cycles(LAYER, board(FlashTiming(0, 16))) == 130_000
    assert cycles(LAYER, board(FlashTiming(0, 16), "cortex-m7")) < 100_000


def test_waits_cost_and_caches_help() -> None:
    bare = cycles(LAYER, board(FlashTiming(5, 16)))
    code = cycles(LAYER, board(FlashTiming(5, 16, instruction_cache=1024)))
    both = cycles(LAYER, board(FlashTiming(5, 16, instruction_cache=1024, data_cache=4096)))
    assert 130_000 < both < code < bare
    assert both == 130_000 + 5 * 2000 // 16  # each line of weights once


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
