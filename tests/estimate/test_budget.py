"""The message of a design that does not fit names what is short, what is heavy and what would help most."""

from __future__ import annotations

from dataclasses import replace

import pytest

from boardfit.board import find_board
from boardfit.errors import BudgetError
from boardfit.estimate.budget import best_saving, check_budget, heaviest
from boardfit.estimate.report import Estimate, LayerEstimate, Saving
from boardfit.resources import Resources

BOARD = find_board("nucleo-f446re")
LAYERS = tuple(
    LayerEstimate(f"/layer{index}/Conv", "Conv2D", Resources(flash=1000 * index, ram=70_000 * (index % 3)))
    for index in range(6)
)


def _estimate(flash: int, ram: int, *savings: Saving) -> Estimate:
    total = Resources(flash=flash, ram=ram, cycles=10**9)
    return Estimate(BOARD.name, BOARD.budget, total, LAYERS, 0, BOARD.clock_mhz, savings=savings)


def _message(estimate: Estimate) -> list[str]:
    with pytest.raises(BudgetError) as caught:
        check_budget(estimate, BOARD, "m.onnx")
    return str(caught.value).splitlines()


def test_what_fits_passes_however_slow() -> None:
    check_budget(_estimate(524_288, 131_072), BOARD, "m.onnx")


def test_every_shortage_and_the_three_heaviest_nodes_of_the_worst() -> None:
    lines = _message(_estimate(600_000, 200_000))
    assert lines == [
        "m.onnx: does not fit ST NUCLEO-F446RE",
        "  flash: needs 600,000 bytes, has 524,288 (1.1 times)",
        "  RAM: needs 200,000 bytes, has 131,072 (1.5 times)",
        "  the heaviest nodes in RAM:",
        "    /layer2/Conv (Conv2D): 140,000",
        "    /layer5/Conv (Conv2D): 140,000",
        "    /layer1/Conv (Conv2D): 70,000",
        "hint: take a larger board: it would fit arduino-nano-33-ble",
    ]


def test_a_change_that_makes_it_fit_is_the_hint() -> None:
    small = Saving("give --optimize ram", Resources(flash=100, ram=1000))
    wrong = Saving("give --optimize size", Resources(flash=100, ram=190_000))
    assert _message(_estimate(1000, 200_000, wrong, small))[-1] == "hint: give --optimize ram; then it fits"


def test_a_change_that_is_not_enough_says_so() -> None:
    some = Saving("give --optimize ram", Resources(flash=1000, ram=150_000))
    assert _message(_estimate(1000, 200_000, some))[-1] == (
        "hint: give --optimize ram saves most (then still short: RAM 150,000), "
        "or take a larger board: it would fit arduino-nano-33-ble"
    )


def test_a_change_that_makes_it_worse_is_no_saving() -> None:
    worse = Saving("give --optimize speed", Resources(flash=1000, ram=300_000))
    assert best_saving(_estimate(1000, 200_000, worse)) is None


def test_too_large_for_every_board() -> None:
    assert _message(_estimate(10**9, 1000))[-1] == "hint: make the model smaller: fewer or narrower layers"


def test_layers_that_need_nothing_are_not_heavy() -> None:
    idle = tuple(replace(layer, resources=Resources()) for layer in LAYERS)
    assert heaviest(idle, "flash") == []
