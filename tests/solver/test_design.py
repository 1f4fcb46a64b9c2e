"""Compression that makes a design fit, on the digits network and boards that are too small for it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import boardfit
from boardfit.api import fit
from boardfit.board import McuBoard, find_board
from boardfit.errors import BudgetError, UsageError
from boardfit.options import QuantizeOptions
from boardfit.solver import design
from boardfit.solver.forms import PLAIN, Form

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL, DATA = EXAMPLES / "digits.onnx", EXAMPLES / "digits_calibration.npz"


@pytest.fixture(autouse=True)
def _few_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told here does not depend on how many forms are tried."""
    monkeypatch.setattr(design, "FORMS", (PLAIN, Form(8, 0.7, 4), Form(4)))


def board_with(flash: int) -> McuBoard:
    found = find_board("nucleo-l4r5zi")
    assert isinstance(found, McuBoard)
    return replace(found, name="small", flash=replace(found.flash, bytes=flash))


def test_curve_ends_in_the_plain_design(tmp_path: Path) -> None:
    curve = fit(MODEL, "nucleo-l4r5zi", DATA, points=3, plot=tmp_path / "curve.png")
    assert isinstance(curve, design.Curve)
    assert curve.points[-1].predicted_loss == 0.0
    assert all(form.is_plain for form in curve.points[-1].forms.values())
    flash = [point.estimate.total.flash for point in curve.points]
    assert flash == sorted(flash)
    assert curve.best is not None
    smallest = curve.points[0]
    assert [reason.form for reason in smallest.reasons] == list(smallest.forms.values())
    assert all(reason.flash <= reason.plain_flash for reason in smallest.reasons)
    assert all(str(reason) == "loses nothing" for reason in curve.points[-1].reasons)
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"


def test_a_board_that_is_far_too_small() -> None:
    with pytest.raises(BudgetError) as problem:
        boardfit.compile(MODEL, board_with(2048), DATA, quantize=QuantizeOptions(max_drop=5.0))
    told = re.search(r"proven: no choice .* fits: the smallest takes ([\d,]+) bytes of flash", str(problem.value))
    assert told is not None and int(told[1].replace(",", "")) > 2048


def test_ram_that_no_form_of_weights_changes_is_no_proof() -> None:
    found = board_with(1 << 20)
    board = replace(found, ram=replace(found.ram, bytes=64), banks=())
    with pytest.raises(BudgetError, match=r"not proven, but of 2 choices .* bytes of RAM for 64\)"):
        boardfit.compile(MODEL, board, DATA, quantize=QuantizeOptions(max_drop=5.0))


def test_without_a_bound_nothing_is_compressed() -> None:
    with pytest.raises(BudgetError) as problem:
        boardfit.compile(MODEL, board_with(2048), DATA)
    assert "pruned" not in str(problem.value)


def test_data_is_needed() -> None:
    with pytest.raises(UsageError, match="no calibration data"):
        fit(MODEL, "nucleo-l4r5zi", None)


def test_a_design_that_fits_is_left_alone() -> None:
    """A bound allows a loss where it is needed, and asks for none."""
    plain = boardfit.compile(MODEL, "nucleo-l4r5zi", DATA)
    bounded = boardfit.compile(MODEL, "nucleo-l4r5zi", DATA, quantize=QuantizeOptions(max_drop=5.0))
    assert bounded.estimate.total == plain.estimate.total
